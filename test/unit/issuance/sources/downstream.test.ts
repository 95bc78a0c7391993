import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { decisionIn } from '../../../../src/common/policy/index.ts';
import { systemRandom, uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, sha256Hex, spkiOf } from '../../../../src/common/x509/index.ts';
import {
  builtInPolicy,
  signDownstream,
  type DownstreamGrant,
  type DownstreamRequest,
  type IssuancePolicy,
} from '../../../../src/issuance/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import {
  authority,
  day,
  newKey,
  OneKeyToken,
  recordedWorld,
  trustDomain,
} from '../authorities-support.ts';
import { passThroughPolicy } from '../../../support/pass-through-policy.ts';

function world(policy: (clock: FakeClock) => IssuancePolicy = () => passThroughPolicy) {
  const clock = new FakeClock();
  const keys = { root: newKey(), issuing: newKey() };
  const root = authority(clock, 'root', keys.root);
  const issuing = authority(clock, 'issuing', keys.issuing, {
    certificate: root.certificate,
    key: keys.root,
    id: root.record.id,
  });
  const store = recordedWorld(clock);
  const token = new OneKeyToken(keys.root);
  const dependencies = {
    authorities: { list: () => Promise.resolve([root.record, issuing.record]) },
    recorded: store.recorded,
    issuancePolicy: policy(clock),
    issuance: { findRequest: () => Promise.resolve(undefined) },
    openToken: token.open,
    trustDomain,
    clockSkewSeconds: 300,
    clock,
    random: systemRandom,
  };
  const grant: DownstreamGrant = {
    entryId: 'e1',
    spiffeId: 'spiffe://mesh.test/ca',
    holder: 'spiffe://mesh.test/meshca/agent/n1',
    rights: [{ kind: 'entry', id: 'e1', revision: 4 }],
    maximumLifeSeconds: 7 * day,
    ownKeySha256: 'cd'.repeat(32),
    repeatable: () => true,
    reason: { entry: 'e1' },
  };
  const ask = (csrKey: KeyObject, over: Partial<DownstreamRequest> = {}) =>
    signDownstream(
      {
        caller: { class: 'workload', name: 'spiffe://mesh.test/nested' },
        requestId: uuidv7(clock.nowMs()),
        csrDer: createCsr(csrKey),
        grant,
        ...over,
      },
      dependencies,
    );
  return { ...store, clock, keys, token, grant, ask };
}

test('the key of any authority here certifies nobody, and no token is opened for it', async () => {
  const { keys, ask, intents, token } = world();
  for (const key of [keys.root, keys.issuing])
    await assert.rejects(ask(key), { code: 'KEY_RESERVED' });
  assert.deepEqual([intents.length, token.opened], [0, 0]);
});

test('neither does the key of the SVID that asks', async () => {
  const { grant, ask } = world();
  const key = newKey();
  await assert.rejects(ask(key, { grant: { ...grant, ownKeySha256: sha256Hex(spkiOf(key)) } }), {
    code: 'KEY_RESERVED',
  });
});

test('the rights of the grant go into the transaction that releases, together with who signed', async () => {
  const { ask, finished, intents, grant } = world();
  const made = await ask(newKey());
  const [item] = finished;
  assert.ok(item?.kind === 'signed');
  assert.deepEqual(item.rights, [
    { kind: 'authority', id: made.authorityId, states: ['active', 'old'] },
    { kind: 'key', publicKeySha256: intents[0]?.publicKeySha256 },
    ...grant.rights,
    { kind: 'policy', version: 0 },
  ]);
  assert.deepEqual(
    [intents[0]?.entryId, intents[0]?.holder, intents[0]?.kind],
    ['e1', grant.holder, 'authority'],
  );
});

test('the record has the facts that a policy decides by, without a SPIFFE ID or a life of its own', async () => {
  const { ask, finished } = world(builtInPolicy);
  await ask(newKey());
  const [item] = finished;
  assert.ok(item?.kind === 'signed');
  const decision = decisionIn(item.event);
  assert.ok(decision.type === 'decided');
  const { kind, caller, callerName, spiffeId, profile, keyType, ttlSeconds, entryId } =
    decision.facts;
  assert.deepEqual(
    { kind, caller, callerName, spiffeId, profile, keyType, ttlSeconds, entryId },
    {
      kind: 'downstream',
      caller: 'workload',
      callerName: 'spiffe://mesh.test/nested',
      spiffeId: undefined,
      profile: 'downstream',
      keyType: 'ec-p256',
      ttlSeconds: undefined,
      entryId: 'e1',
    },
  );
});

test('a caller who has gone gets no CA certificate, and no token is opened', async () => {
  const { ask, intents, token } = world();
  const signal = AbortSignal.abort(new PkiError('CANCELLED', 'the client has gone'));
  await assert.rejects(ask(newKey(), { signal }), { code: 'CANCELLED' });
  assert.deepEqual([intents.length, token.opened], [0, 0]);
});

test('a right that ended while the token signed keeps the certificate back, with the code that says which', async () => {
  const { ask, finished, ending } = world();
  ending.code = 'ENTRY_CHANGED';
  await assert.rejects(ask(newKey()), { code: 'ENTRY_CHANGED' });
  assert.equal(finished.length, 1);
});

test('what the token did not sign ends as abandoned at once, and the token is closed', async () => {
  const { ask, finished, intents, token } = world();
  token.failing = true;
  await assert.rejects(ask(newKey()), { code: 'HSM_UNAVAILABLE' });
  assert.deepEqual(
    finished.map((item) => [item.kind, item.serial]),
    [['abandoned', intents[0]?.serial]],
  );
  assert.equal(token.closed, token.opened);
});

test('its default life is the longest allowed, and a longer request is refused, never shortened', async () => {
  const { clock, ask, grant } = world();
  assert.equal((await ask(newKey())).notAfter, clock.now() + 7 * day);
  assert.equal(
    (await ask(newKey(), { grant: { ...grant, maximumLifeSeconds: 80 * day } })).notAfter,
    clock.now() + 40 * day,
  );
  await assert.rejects(ask(newKey(), { lifeSeconds: 7 * day + 1 }), { code: 'TTL_OUT_OF_RANGE' });
  await assert.rejects(
    ask(newKey(), { grant: { ...grant, maximumLifeSeconds: 80 * day }, lifeSeconds: 41 * day }),
    { code: 'ISSUER_LIFETIME' },
  );
});
