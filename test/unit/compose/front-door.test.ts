import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import type { ClockStanding } from '../../../src/domain/index.ts';
import { FrontDoor } from '../../../src/compose/front-door.ts';
import { FakeClock } from '../../support/agent.ts';

import { authority, day, newKey } from '../issuance/authorities-support.ts';

/** A door that is open, over an issuing authority that ends `issuerDays` from now. */
async function door(
  advice: 'hsm' | 'external' | 'upstream',
  days: Record<'root' | 'issuing', number>,
  beginsIn = 0,
) {
  const clock = new FakeClock();
  const state: { standing: ClockStanding } = { standing: 'believed' };
  const rootKey = newKey();
  const root = authority(clock, 'root', rootKey);
  const issuing = authority(clock, 'issuing', newKey(), {
    certificate: root.certificate,
    key: rootKey,
    id: root.record.id,
  });
  const ends = (record: typeof root.record, left: number, token = record.token) => ({
    ...record,
    token,
    notAfter: clock.now() + left * day,
  });
  const above = ends(root.record, days.root, advice === 'hsm' ? 'root' : 'external');
  const issuer = { ...ends(issuing.record, days.issuing), notBefore: clock.now() + beginsIn };
  const front = new FrontDoor({
    authorities: { issuing: () => issuer, rootOf: () => above, onChange: () => () => {} },
    clock,
    logger: silentLogger,
    certify: () => Promise.resolve(),
    open: () => Promise.resolve({ address: 'a', port: 1, close: () => Promise.resolve() }),
    opened: () => {},
    gate: { isOpen: true, refusal: () => undefined, onChange: () => () => {} },
    advice,
    clockStanding: () => state.standing,
    failure: () => undefined,
  });
  await front.start();
  return { clock, front, state };
}

test('a server that listens is unready from the end of its issuer on, and says why and the command', async () => {
  const { clock, front, state } = await door('hsm', { root: 100, issuing: 10 });
  clock.advance((10 * day - 1) * 1000);
  assert.equal(front.reason(), undefined);
  clock.advance(1_000);
  assert.match(
    front.reason() ?? '',
    /^ISSUER_ENDED: the issuing authority .* ended at .*; run "meshca authority rotate --kind issuing"$/,
  );
  state.standing = 'unproven';
  assert.match(
    front.reason() ?? '',
    /accept-clock --reason TEXT" first; run "meshca authority rotate/,
  );
  clock.advance(90 * day * 1000);
  assert.match(
    front.reason() ?? '',
    /the root authority .*rotate --kind root --force --reason TEXT/,
  );
});

test('a server whose clock went back behind the begin of its issuer says so, and what to do', async () => {
  const { clock, front } = await door('hsm', { root: 100, issuing: 10 }, day);
  assert.match(
    front.reason() ?? '',
    /^NO_ISSUER: the issuing authority .* begins at .*, and the clock of this server says .*; Set the clock of the server right/,
  );
  clock.advance(day * 1000);
  assert.equal(front.reason(), undefined);
});

test('where others certify the issuing authority, the reason of its end names what brings the next', async () => {
  for (const [advice, command] of [
    ['external', /meshca authority csr --kind issuing/],
    ['upstream', /meshca authority request/],
  ] as const) {
    const { clock, front } = await door(advice, { root: 10, issuing: 10 });
    clock.advance(11 * day * 1000);
    assert.match(front.reason() ?? '', command);
  }
});
