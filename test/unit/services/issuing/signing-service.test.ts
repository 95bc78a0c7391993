import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, parseCertificate } from '../../../../src/common/x509/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  selector,
} from '../../../support/services-world.ts';
import {
  rejectsWith,
  key,
  csrDer,
  server,
  item,
  codes,
  ask,
  delegateOf,
} from './signing-support.ts';

test('an agent gets what its own entries and node sets give, and one answer for all else', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1', ['node:zone:edge']);
  await w.addEntry({
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:edge')],
  });
  await w.addEntry({
    id: 'set-core',
    spiffeId: id('/nodes/core'),
    parentId: server,
    selectors: [selector('node:zone:core')],
  });
  await w.addEntry({ id: 'own', spiffeId: id('/own'), parentId: agentId('n1') });
  await w.addEntry({ id: 'shared', spiffeId: id('/shared'), parentId: id('/nodes/edge') });
  await w.addEntry({ id: 'other', spiffeId: id('/other'), parentId: agentId('n2') });
  await w.addEntry({ id: 'core', spiffeId: id('/core'), parentId: id('/nodes/core') });
  await w.addEntry({
    id: 'short',
    spiffeId: id('/short'),
    parentId: agentId('n1'),
    expiresAt: w.clock.now() + 10,
  });
  w.clock.advance(10_000);
  const outcomes = await w.services.svids.signX509(
    caller,
    ['own', 'shared', 'other', 'core', 'short', 'none', 'set-core'].map((entryId) => item(entryId)),
  );
  assert.deepEqual(codes(outcomes), [
    id('/own'),
    id('/shared'),
    ...Array.from({ length: 5 }, () => 'ENTRY_NOT_AUTHORIZED'),
  ]);
  const refusals = outcomes.filter((each) => !each.ok);
  assert.ok(refusals.every(({ refusalId }) => refusalId !== ''));
  assert.equal(
    (await w.audit('request.refused')).filter(({ actor }) => actor === agentId('n1')).length,
    5,
  );
  const detail = await w.services.agents.get(local, agentId('n1'));
  assert.deepEqual(
    [
      detail.obtainable.map((entry) => entry.id).sort(),
      detail.obtainableTotal,
      detail.liveCertificates,
    ],
    [['own', 'shared'], 2, 3],
  );
});

test('a template is filled from the attested selectors and allowed values alone', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({
    id: 'user',
    spiffeId: id('/user/{unix.user}'),
    parentId: agentId('n1'),
    placeholders: { 'unix.user': ['alice', 'bob'] },
    selectors: [selector('unix:gid:100')],
  });
  const gid = selector('unix:gid:100');
  const user = (name: string) => ({ type: 'unix', value: `user:${name}` });
  const outcomes = await w.services.svids.signX509(caller, [
    item('user', { selectors: [gid, user('alice')] }),
    item('user', { selectors: [gid, user('carol')] }),
    item('user', { selectors: [gid, user('alice/../root')] }),
    item('user', { selectors: [gid] }),
    item('user', { selectors: [gid, user('alice'), user('bob')] }),
    item('user', { selectors: [user('alice')] }),
    item('user', { selectors: [gid, user('alice\n')] }),
    item('user', { selectors: [gid, user('{unix.user}')] }),
  ]);
  assert.deepEqual(codes(outcomes), [
    id('/user/alice'),
    ...Array.from({ length: 5 }, () => 'ENTRY_NOT_AUTHORIZED'),
    'SELECTOR_INVALID',
    'ENTRY_NOT_AUTHORIZED',
  ]);
});

test('subject, names, kind and life come from the entry', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({
    id: 'e',
    spiffeId: id('/web'),
    parentId: agentId('n1'),
    dnsNames: ['web.mesh.test'],
    x509TtlSeconds: 120,
  });
  await w.addEntry({ id: 'a', spiffeId: id('/boss'), parentId: agentId('n1'), admin: true });
  const outcomes = await w.services.svids.signX509(caller, [
    item('e'),
    item('e', { ttlSeconds: 60 }),
    item('e', { ttlSeconds: 121 }),
    item('e', { ttlSeconds: -1 }),
    item('a'),
    item('e', { csrDer: createCsr(key, { uriSan: id('/boss') }) }),
    item('e', { csrDer: Buffer.concat([csrDer, Buffer.from([0])]) }),
    item('e', { requestId: 'no such/id' }),
    item('e', { replacesSerial: 'xyz' }),
  ]);
  assert.deepEqual(codes(outcomes), [
    id('/web'),
    id('/web'),
    'TTL_OUT_OF_RANGE',
    'TTL_OUT_OF_RANGE',
    id('/boss'),
    'CSR_IDENTITY_MISMATCH',
    'CSR_MALFORMED',
    'INVALID_REQUEST',
    'INVALID_REQUEST',
  ]);
  const [first, second, , , boss] = outcomes;
  assert.ok(first?.ok && second?.ok && boss?.ok);
  assert.deepEqual([first.leaf.lifetimeSeconds, second.leaf.lifetimeSeconds], [120, 60]);
  assert.deepEqual(unwrap(parseCertificate(first.leaf.chainDer[0] as Buffer)).dnsSans, [
    'web.mesh.test',
  ]);
  assert.equal((await w.store.certificates.bySerial(first.leaf.serial))?.kind, 'workload');
  assert.equal((await w.store.certificates.bySerial(boss.leaf.serial))?.kind, 'admin');
});

test('the same request and key get the recorded certificate again, and a batch states each request once', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  const same = item('e');
  const [first] = await w.services.svids.signX509(caller, [same]);
  const [again] = await w.services.svids.signX509(caller, [same]);
  assert.ok(first?.ok && again?.ok);
  assert.equal(again.leaf.serial, first.leaf.serial);
  const fresh = item('e');
  assert.deepEqual(codes(await w.services.svids.signX509(caller, [fresh, fresh])), [
    id('/web'),
    'INVALID_REQUEST',
  ]);
});

test('a request without an ID gets one, and a certificate of its own each time', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  const nameless = item('e', { requestId: '' });
  const outcomes = await w.services.svids.signX509(caller, [nameless, nameless]);
  const delegated = await w.services.signing.sign(await delegateOf(w), [
    ask('/ns/a/sa/web', { requestId: '' }),
    ask('/ns/a/sa/web', { requestId: '' }),
  ]);
  const serials = [...outcomes, ...delegated.outcomes].map((each) =>
    each.ok ? each.leaf.serial : each.error.code,
  );
  assert.equal(new Set(serials).size, 4);
  assert.ok(
    [...outcomes, ...delegated.outcomes].every(
      (each) => each.ok && /^[0-9a-f-]{36}$/.test(each.requestId),
    ),
    serials.join(),
  );
});

test('a ban, a deleted or changed entry, and a newer session while signing release nothing', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const entry = { id: 'e', spiffeId: id('/web'), parentId: agentId('n1') };
  await w.addEntry(entry);
  const during = async (act: () => Promise<unknown>): Promise<string> => {
    w.beforeSigning(async () => void (await act()));
    return codes(await w.services.svids.signX509(caller, [item('e')]))[0] as string;
  };
  assert.equal(
    await during(() => w.services.entries.update(local, entryInput({ ...entry, hint: 'x' }), 0)),
    'ENTRY_CHANGED',
  );
  assert.equal(await during(() => w.services.entries.delete(local, ['e'])), 'ENTRY_NOT_AUTHORIZED');
  await w.addEntry(entry);
  assert.equal(await during(() => w.services.agents.ban(local, agentId('n1'), '')), 'AGENT_BANNED');
  await assert.rejects(w.services.svids.signX509(caller, [item('e')]), rejectsWith('AGENT_BANNED'));
  await w.services.agents.evict(local, agentId('n1'), '');
  const next = (await w.joinAgent('n1')).caller;
  w.beforeSigning(async () => void (await w.joinAgent('n1')));
  assert.deepEqual(codes(await w.services.svids.signX509(next, [item('e')])), ['AGENT_SUPERSEDED']);
  await assert.rejects(
    w.services.svids.signX509(next, [item('e')]),
    rejectsWith('AGENT_SUPERSEDED'),
  );
});

test('batches are bounded, and a caller that signs too much waits while others do not', async () => {
  await using w = await createServicesWorld({ signingRate: { perSecond: 10, burst: 5 } });
  const { caller } = await w.joinAgent('n1');
  const other = (await w.joinAgent('n2')).caller;
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  await assert.rejects(
    w.services.svids.signX509(
      caller,
      Array.from({ length: 501 }, () => item('e')),
    ),
    rejectsWith('REQUEST_TOO_LARGE'),
  );
  await assert.rejects(w.services.svids.signX509(caller, []), rejectsWith('INVALID_REQUEST'));
  await w.services.svids.signX509(
    caller,
    Array.from({ length: 5 }, () => item('e')),
  );
  await assert.rejects(w.services.svids.signX509(caller, [item('e')]), rejectsWith('RATE_LIMITED'));
  assert.deepEqual(codes(await w.services.svids.signX509(other, [item('e')])), [
    'ENTRY_NOT_AUTHORIZED',
  ]);
  w.clock.advance(1000);
  assert.deepEqual(codes(await w.services.svids.signX509(caller, [item('e')])), [id('/web')]);
});

test('JWT-SVIDs are for entries of the agent, with audiences and lives inside the limits', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1'), jwtTtlSeconds: 60 });
  await w.addEntry({ id: 'other', spiffeId: id('/other'), parentId: agentId('n2') });
  const jwt = (over: object = {}) =>
    w.services.svids.signJwt(caller, {
      requestId: uuidv7(),
      entryId: 'e',
      audience: ['a', 'b', 'a'],
      ttlSeconds: 0,
      selectors: [],
      ...over,
    });
  assert.equal((await jwt()).spiffeId, id('/web'));
  assert.deepEqual(w.jwts[0]?.audience, ['a', 'b']);
  assert.equal(w.jwts[0]?.ttlSeconds, 60);
  assert.deepEqual(
    w.jwts[0]?.rights.find(({ kind }) => kind === 'agent'),
    { kind: 'agent', spiffeId: agentId('n1'), generation: 1 },
  );
  await assert.rejects(jwt({ entryId: 'other' }), rejectsWith('ENTRY_NOT_AUTHORIZED'));
  await assert.rejects(jwt({ ttlSeconds: 61 }), rejectsWith('TTL_OUT_OF_RANGE'));
  for (const audience of [
    [],
    [''],
    ['x'.repeat(513)],
    ['\u20ac'.repeat(171)],
    ['db\u202e'],
    ['a\u2028b'],
    Array.from({ length: 17 }, (_, index) => `a${index}`),
  ])
    await assert.rejects(jwt({ audience }), rejectsWith('INVALID_REQUEST'));
});
