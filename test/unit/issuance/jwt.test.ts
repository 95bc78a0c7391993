import assert from 'node:assert/strict';
import { factsOf } from '../../../src/issuance/policy-request.ts';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { systemRandom } from '../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import type { SignOutcome } from '../../../src/hsm/signing-port.ts';
import {
  createJwtIssuer,
  type IssuancePolicy,
  type JwtRequest,
} from '../../../src/issuance/index.ts';
import type { FinishOutcome, JwtSvidRecord } from '../../../src/store/ports/index.ts';
import { FakeClock } from '../../support/agent.ts';
import { authority, newKey } from './authorities-support.ts';
import { passThroughPolicy } from '../../support/pass-through-policy.ts';

function world(issuancePolicy: IssuancePolicy = passThroughPolicy) {
  const clock = new FakeClock();
  const { record } = authority(clock, 'issuing', newKey(), {
    ...authority(clock, 'root', newKey()),
    key: newKey(),
    id: 'r',
  });
  const log: string[] = [];
  const records: JwtSvidRecord[] = [];
  const answers: { signed: SignOutcome; recorded: FinishOutcome } = {
    signed: { ok: true, signature: Buffer.from('sig') },
    recorded: { state: 'issued' },
  };
  const hooks = { onRaise: (): void => {}, signals: [] as (AbortSignal | undefined)[] };
  const jwt = createJwtIssuer({
    issuancePolicy,
    quotas: { ends: () => [] },
    store: {
      raiseJwtExpiry: async () => {
        log.push('raised');
        hooks.onRaise();
      },
      recordJwtSvids: async (items) => {
        log.push('recorded');
        records.push(...items);
        return items.map(() => answers.recorded);
      },
    },
    signers: {
      sign: async (items, signal) => {
        hooks.signals.push(signal);
        log.push('signed');
        return items.map(() => answers.signed);
      },
    },
    authority: () => ({ ...record, kind: 'jwt' }),
    clock,
    random: systemRandom,
    issuer: 'https://ca.mesh.test',
  });
  const request: JwtRequest = {
    caller: { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' },
    spiffeId: SpiffeId.of('spiffe://mesh.test/web'),
    audience: ['db'],
    ttlSeconds: 60,
    entryId: 'e',
    holder: 'spiffe://mesh.test/meshca/agent/n1',
    rights: [{ kind: 'entry', id: 'e', revision: 2 }],
    reason: {},
  };
  return Object.assign(hooks, {
    jwt,
    log,
    records,
    answers,
    request,
    authorityId: record.id,
    clock,
  });
}

test('the expiry is raised before a token is signed, and the token recorded before its release', async () => {
  const w = world();
  const { token } = await w.jwt.issue(w.request);
  assert.equal(token.split('.').length, 3);
  assert.deepEqual(w.log, ['raised', 'signed', 'recorded']);
  assert.deepEqual(w.records[0]?.rights, [
    { kind: 'authority', id: w.authorityId, states: ['active', 'old'] },
    { kind: 'entry', id: 'e', revision: 2 },
    { kind: 'policy', version: 0 },
  ]);
  await w.jwt.issue(w.request);
  assert.deepEqual(w.log.slice(3), ['signed', 'recorded'], 'the step is not raised again');
});

test('a token that nobody waits for is not signed; the signers learn when its caller goes', async () => {
  const w = world();
  const gone = AbortSignal.abort(new PkiError('CANCELLED', 'the client has gone'));
  await assert.rejects(w.jwt.issue({ ...w.request, signal: gone }), { code: 'CANCELLED' });
  assert.deepEqual(w.log, []);
  const going = new AbortController();
  w.onRaise = () => going.abort(new PkiError('CANCELLED', 'the client has gone'));
  await assert.rejects(w.jwt.issue({ ...w.request, signal: going.signal }), { code: 'CANCELLED' });
  assert.deepEqual(w.log, ['raised']);
  const { signal } = new AbortController();
  await w.jwt.issue({ ...w.request, signal });
  assert.equal(w.signals[0], signal);
});

test('a token that the policy denies is neither signed nor recorded', async () => {
  const w = world({
    decide: (request, caller) =>
      request.type === 'jwt' && caller.class === 'agent'
        ? { allowed: false, version: 3, reason: 'no tokens for agents' }
        : {
            allowed: true,
            version: 3,
            basis: { facts: factsOf(request, caller, 5)!, factsSha256: 'ab', rule: 'all' },
          },
  });
  await assert.rejects(w.jwt.issue(w.request), { code: 'POLICY_DENIED' });
  assert.deepEqual(w.log, []);
  const other = await w.jwt.issue({ ...w.request, caller: { class: 'admin', name: 'a' } });
  assert.ok(other.token);
  assert.deepEqual(w.records[0]?.rights.at(-1), { kind: 'policy', version: 3 });
  const { policyVersion, policyAt, policyFacts, policyRule, callerClass, callerName } =
    w.records[0]?.event.detail ?? {};
  assert.deepEqual([policyVersion, policyAt, policyFacts, policyRule], [3, 5, 'ab', 'all']);
  assert.deepEqual([callerClass, callerName], ['admin', 'a']);
});

test('a token whose right ended meanwhile is not released, nor one that was not signed', async () => {
  const w = world();
  w.answers.recorded = { state: 'withheld', code: 'ENTRY_CHANGED', message: 'changed' };
  await assert.rejects(w.jwt.issue(w.request), { code: 'ENTRY_CHANGED' });
  w.answers.signed = { ok: false, kind: 'failed', code: 'HSM_UNAVAILABLE', message: 'gone' };
  await assert.rejects(w.jwt.issue(w.request), { code: 'HSM_UNAVAILABLE' });
  assert.equal(w.records.length, 1);
});

test('near the end of the JWT authority a token is cut to it, on record; past it none is signed', async () => {
  const w = world();
  const [days, left] = [40 * 86_400, 20];
  w.clock.advance((days - left) * 1000);
  const { issuedAt, expiresAt } = await w.jwt.issue(w.request);
  assert.equal(expiresAt - issuedAt, left);
  assert.deepEqual(
    [w.records[0]?.event.detail['cutFromSeconds'], w.records[0]?.event.detail['cutToSeconds']],
    [60, left],
  );
  w.clock.advance(left * 1000);
  w.log.length = 0;
  await assert.rejects(w.jwt.issue(w.request), { code: 'ISSUER_ENDED' });
  assert.deepEqual(w.log, []);
});
