import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemRandom } from '../../../../src/common/runtime/index.ts';
import { AuthoritySources } from '../../../../src/issuance/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { openStore } from '../../../support/open-store.ts';
import { day, newKey, OneKeyToken, trustDomain } from '../authorities-support.ts';

async function world() {
  const clock = new FakeClock();
  const store = await openStore({ path: ':memory:', clock, logger: silentLogger, pid: 1 });
  await store.meta.claim(trustDomain.name, clock.now());
  const token = new OneKeyToken(newKey());
  const sources = new AuthoritySources({
    authorities: store.authorities,
    audit: store.audit,
    rotations: store.rotations,
    blockedKeys: store.blockedKeys,
    openIssuingToken: token.open,
    trustDomain,
    plan: { keyType: 'ec-p256', lifeSeconds: 90 * day },
    minimumLifeSeconds: day,
    clock,
    random: systemRandom,
    logger: silentLogger,
    changed: () => Promise.resolve(),
  });
  const request = (signal?: AbortSignal) => sources.request({ actor: 'uid:0', signal });
  return { store, token, request, [Symbol.asyncDispose]: () => store.close() };
}

const left = new PkiError('CANCELLED', 'the client has gone');

test('a caller who has gone requests no authority, and no token is opened', async () => {
  await using w = await world();
  await assert.rejects(w.request(AbortSignal.abort(left)), { code: 'CANCELLED' });
  assert.deepEqual([await w.store.authorities.list(), w.token.opened], [[], 0]);
});

test('a caller who goes while another request is under way requests no authority', async () => {
  await using w = await world();
  const caller = new AbortController();
  const first = w.request();
  const second = w.request(caller.signal);
  caller.abort(left);
  await assert.rejects(second, { code: 'CANCELLED' });
  const { authority, csrDer } = await first;
  assert.ok(csrDer.length > 0);
  assert.deepEqual(
    (await w.store.authorities.list()).map(({ id }) => id),
    [authority.id],
  );
  assert.deepEqual([w.token.opened, w.token.closed], [1, 1]);
});
