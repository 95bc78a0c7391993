import assert from 'node:assert/strict';
import graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import type { TestTokens } from './softhsm.ts';

/** Gives a token another PIN, as an operator does beside a running server. */
export function changePin(tokens: TestTokens, label: string, from: string, to: string): void {
  process.env['SOFTHSM2_CONF'] = tokens.environment.SOFTHSM2_CONF;
  const module = graphene.Module.load(tokens.modulePath);
  module.initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
  try {
    const slots = module.getSlots(true);
    const slot = Array.from({ length: slots.length }, (_, index) => slots.items(index)).find(
      (each) => each.getToken().label === label,
    );
    assert.ok(slot !== undefined);
    const session = slot.open(
      graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION,
    );
    session.login(from);
    session.setPin(from, to);
  } finally {
    module.finalize();
    delete process.env['SOFTHSM2_CONF'];
  }
}
