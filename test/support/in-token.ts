import assert from 'node:assert/strict';
import graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import type { TestTokens } from './softhsm.ts';

/**
 * Works in a session of a token, with its PIN. Runs in this process, which has the module for the
 * time of the call.
 */
export function inToken<T>(
  {
    tokens,
    token,
  }: {
    readonly tokens: TestTokens;
    readonly token: { readonly tokenLabel: string; readonly pin: string };
  },
  work: (session: graphene.Session) => T,
): T {
  process.env['SOFTHSM2_CONF'] = tokens.environment.SOFTHSM2_CONF;
  const module = graphene.Module.load(tokens.modulePath);
  module.initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
  try {
    const slots = module.getSlots(true);
    const slot = Array.from({ length: slots.length }, (_, index) => slots.items(index)).find(
      (each) => each.getToken().label === token.tokenLabel,
    );
    assert.ok(slot !== undefined);
    const session = slot.open(
      graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION,
    );
    session.login(token.pin);
    return work(session);
  } finally {
    module.finalize();
    delete process.env['SOFTHSM2_CONF'];
  }
}
