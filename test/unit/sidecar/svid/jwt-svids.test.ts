import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import type { Identity } from '../../../../sidecar/ports/entries.ts';
import { JwtSvids } from '../../../../sidecar/svid/index.ts';
import { entryOf, FakeClock, settle } from '../../../support/agent.ts';
import { trustDomain, uid } from './svids-support.ts';

test('JWT-SVIDs are shared per audience set, reused to half of life, and served in an outage of the CA', async () => {
  const clock = new FakeClock();
  const cache = new SyncedEntryCache({ trustDomain, clock, logger: silentLogger });
  cache.applySnapshot([entryOf('e0', ['unix:uid:0'])]);
  let [calls, away] = [0, false];
  const jwt = new JwtSvids({
    cache,
    clock,
    logger: silentLogger,
    size: 3,
    onSigned: () => {},
    sign: () => {
      calls += 1;
      return away
        ? Promise.reject(new PkiError('UNREACHABLE', 'away'))
        : Promise.resolve({
            token: `t${calls}`,
            spiffeId: 'spiffe://td/e0',
            issuedAt: clock.now(),
            expiresAt: clock.now() + 300,
            serverTime: clock.now(),
          });
    },
  });
  const [who] = cache.match(uid(0));
  const fetch = (...audience: string[]): Promise<string> =>
    jwt.fetch(who as Identity, audience, uid(0)).then(({ token }) => token);
  assert.deepEqual(await Promise.all([fetch('a', 'b'), fetch('b', 'a'), fetch('a', 'b', 'a')]), [
    't1',
    't1',
    't1',
  ]);
  assert.equal(await fetch('a'), 't2');
  clock.advance(110_000);
  assert.equal(await fetch('a', 'b'), 't1', 'past a third it is still given');
  await settle();
  assert.equal(await fetch('a', 'b'), 't3', 'and the next one was made meanwhile');
  away = true;
  clock.advance(200_000);
  assert.equal(await fetch('a', 'b'), 't3');
  clock.advance(96_000);
  await assert.rejects(fetch('a', 'b'), { code: 'UNREACHABLE' });
  away = false;
  for (const audience of ['c', 'd', 'e', 'f']) await fetch(audience);
  assert.equal(jwt.size, 3);
  cache.applyChanges([], ['e0']);
  assert.equal(jwt.size, 0);
});
