import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { AgentCaller, DelegateCaller, EndedCallers } from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;

/** The holder of a certificate that this agent gets by an entry. */
async function holderOf(w: ServicesWorld, agent: AgentCaller, entryId: string) {
  const csrDer = createCsr(newKey());
  const [outcome] = await w.services.svids.signX509(agent, [
    { requestId: uuidv7(), entryId, csrDer, ttlSeconds: 0, replacesSerial: '', selectors: [] },
  ]);
  assert.ok(outcome?.ok);
  return w.callerOf(outcome.leaf);
}

const delegateControl = (w: ServicesWorld) =>
  w.services.delegations.create(local, {
    clientId: id('/control'),
    patterns: [id('/ns/**')],
    maxTtlSeconds: 600,
    keyTypes: [],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
  });

test('the class of a caller comes from the record of its certificate', async () => {
  await using w = await createServicesWorld();
  assert.equal((await w.joinAgent('n1')).caller.class, 'agent');
  assert.equal((await w.mint('/admins/alice', true)).class, 'admin');
  assert.equal((await w.mint('/web', false)).class, 'workload');
});

test('a certificate with a known serial and other content is unknown, and so is one that was never issued', async () => {
  await using w = await createServicesWorld();
  const announced: string[] = [];
  w.store.objects.onMismatch(({ id: object }) => announced.push(object));
  const { caller } = await w.joinAgent('n1');
  const foreign = { sha256: 'ab'.repeat(32), uri: caller.spiffeId, notBefore: 0 };
  await assert.rejects(
    w.services.callers.resolve({ ...foreign, serial: caller.serial }, 'x'),
    rejectsWith('CERTIFICATE_UNKNOWN'),
  );
  await assert.rejects(
    w.services.callers.resolve({ ...foreign, serial: 'ff'.repeat(16) }, 'x'),
    rejectsWith('CERTIFICATE_UNKNOWN'),
  );
  assert.deepEqual(announced, [], 'nobody touched the inventory');
});

test('no workload gets the name of an agent, admin or server, or becomes more by its name', async () => {
  await using w = await createServicesWorld();
  for (const path of [
    '/meshca/agent/n1',
    '/meshca/server',
    '/meshca/agent/x509pop/aa',
    '/meshca',
  ]) {
    await assert.rejects(w.mint(path, false), rejectsWith('SPIFFE_ID_RESERVED'));
    await assert.rejects(w.mint(path, true), rejectsWith('SPIFFE_ID_RESERVED'));
  }
  await w.mint('/ops', true);
  assert.equal(
    (await w.mint('/ops', false)).class,
    'workload',
    'the same name as an admin, without his kind',
  );
});

test('a delegation makes its client a delegate until it ends, but never a client signed by a delegate', async () => {
  await using w = await createServicesWorld();
  const client = await w.mint('/control/istiod', false);
  assert.equal(client.class, 'workload');
  const delegation = await w.services.delegations.create(local, {
    clientId: id('/control/istiod'),
    patterns: [id('/ns/**'), id('/control/**')],
    maxTtlSeconds: 600,
    keyTypes: [],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
  });
  const delegate = await w.services.callers.stillStands(client);
  assert.equal(delegate.class, 'delegate');
  const { outcomes } = await w.services.signing.sign(delegate as DelegateCaller, [
    {
      requestId: uuidv7(),
      spiffeId: id('/control/istiod'),
      dnsNames: [],
      ips: [],
      profile: '',
      csrDer: createCsr(newKey()),
      ttlSeconds: 0,
    },
  ]);
  assert.ok(outcomes[0]?.ok);
  const posing = await w.callerOf(outcomes[0].leaf);
  assert.equal(posing.class, 'workload');
  assert.equal(posing.kind, 'delegated');
  await w.services.delegations.revoke(local, delegation.id, 'test');
  assert.equal((await w.services.callers.stillStands(delegate)).class, 'workload');
  await w.services.delegations.create(local, {
    clientId: id('/control/istiod'),
    patterns: [id('/ns/**')],
    maxTtlSeconds: 600,
    keyTypes: [],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: w.clock.now() + 60,
  });
  assert.equal((await w.services.callers.stillStands(delegate)).class, 'delegate');
  w.clock.advance(61_000);
  assert.equal(
    (await w.services.callers.stillStands(delegate)).class,
    'workload',
    'its end was announced by nobody',
  );
});

test('rights end with notAfter, a ban, an eviction, a newer session and a distrusted root', async () => {
  await using w = await createServicesWorld({ agentTtlSeconds: 100 });
  const ended: EndedCallers[] = [];
  w.services.callers.onEnded((each) => ended.push(each));
  const first = await w.joinAgent('n1');
  const second = await w.joinAgent('n1');
  await assert.rejects(
    w.services.callers.stillStands(first.caller),
    rejectsWith('AGENT_SUPERSEDED'),
  );
  assert.deepEqual(
    ended.map((each) => each.kind === 'identity' && each.beforeGeneration),
    [1, 2],
  );
  await w.services.agents.ban(local, agentId('n1'), 'stolen');
  await assert.rejects(w.services.callers.stillStands(second.caller), rejectsWith('AGENT_BANNED'));
  await w.services.agents.evict(local, agentId('n1'), 'clean');
  await assert.rejects(w.services.callers.stillStands(second.caller), rejectsWith('AGENT_EVICTED'));
  const third = await w.joinAgent('n1');
  await assert.rejects(
    w.services.callers.stillStands(second.caller),
    rejectsWith('AGENT_SUPERSEDED'),
  );
  assert.equal((await w.services.callers.stillStands(third.caller)).class, 'agent');
  w.clock.advance(101_000);
  await assert.rejects(
    w.services.callers.stillStands(third.caller),
    rejectsWith('CERTIFICATE_EXPIRED'),
  );
  const admin = await w.mint('/a', true);
  w.setAuthorities({
    roots: [],
    all: [{ ...w.issuing, kind: 'root', state: 'revoked' }, w.issuing],
  });
  assert.equal(ended.at(-1)?.kind, 'recheck');
  await assert.rejects(w.services.callers.stillStands(admin), rejectsWith('CHAIN_UNTRUSTED'));
});

test('what a node holds gives no rights once its agent is banned or evicted', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  for (const [entryId, path, admin] of [
    ['boss', '/boss', true],
    ['plane', '/control', false],
  ] as const)
    await w.addEntry({ id: entryId, spiffeId: id(path), parentId: agentId('n1'), admin });
  await delegateControl(w);
  const [boss, plane] = [await holderOf(w, caller, 'boss'), await holderOf(w, caller, 'plane')];
  assert.deepEqual([boss.class, plane.class], ['admin', 'delegate']);
  const minted = await w.mint('/control', false);
  const refused = async (code: string): Promise<void> => {
    for (const each of [boss, plane])
      await assert.rejects(w.services.callers.stillStands(each), rejectsWith(code));
  };
  await w.services.agents.ban(local, agentId('n1'), 'stolen');
  await refused('AGENT_BANNED');
  assert.equal((await w.services.callers.stillStands(minted)).class, 'delegate', 'on no node');
  await w.services.agents.evict(local, agentId('n1'), 'clean');
  await refused('AGENT_EVICTED');
  await w.joinAgent('n1');
  assert.equal((await w.services.callers.stillStands(plane)).class, 'delegate');
});

test('a ban of the node ends a signature of its control plane that is under way', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'plane', spiffeId: id('/control'), parentId: agentId('n1') });
  await delegateControl(w);
  const plane = (await holderOf(w, caller, 'plane')) as DelegateCaller;
  w.beforeSigning(async () => {
    await w.services.agents.ban(local, agentId('n1'), 'stolen');
  });
  const { outcomes } = await w.services.signing.sign(plane, [
    {
      requestId: uuidv7(),
      spiffeId: id('/ns/a'),
      dnsNames: [],
      ips: [],
      profile: '',
      csrDer: createCsr(newKey()),
      ttlSeconds: 0,
    },
  ]);
  assert.equal(outcomes[0]?.ok === false && outcomes[0].error.code, 'AGENT_BANNED');
});

test('a renewed agent keeps its session, and its standing costs no query while nothing changes', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const { leaf } = await w.services.attestation.renew(caller, {
    requestId: uuidv7(),
    csrDer: createCsr(newKey()),
    agentVersion: '1',
  });
  const renewed = (await w.callerOf(leaf)) as AgentCaller;
  assert.equal(renewed.generation, caller.generation);
  assert.notEqual(renewed.serial, caller.serial);
  assert.equal((await w.services.callers.stillStands(caller)).class, 'agent');
  const read = w.store.certificates.bySerial;
  let reads = 0;
  Object.assign(w.store.certificates, {
    bySerial: (serial: string) => {
      reads += 1;
      return read(serial);
    },
  });
  for (let call = 0; call < 10; call += 1) await w.services.callers.stillStands(renewed);
  assert.equal(reads, 0);
});

test('two holders of one agent key end with one: who is welcomed first with what he renewed', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const renew = () =>
    w.services.attestation.renew(caller, {
      requestId: uuidv7(),
      csrDer: createCsr(newKey()),
      agentVersion: '1',
    });
  const thief = await w.callerOf((await renew()).leaf);
  const owner = (await w.callerOf((await renew()).leaf)) as AgentCaller;
  assert.equal((await w.services.callers.stillStands(thief)).class, 'agent');
  await w.services.sync.open(
    owner,
    {
      protocolVersion: 1,
      agentVersion: '1',
      capabilities: [],
      position: undefined,
      bundleSequence: 1,
      survivedOutageSeconds: 0,
    },
    { send: () => true, close: () => {} },
  );
  await assert.rejects(w.services.callers.stillStands(thief), rejectsWith('AGENT_SUPERSEDED'));
  assert.equal((await w.services.callers.stillStands(owner)).class, 'agent');
});

test('a banned or superseded agent that tries is on record under its name, at a bounded rate', async () => {
  await using w = await createServicesWorld({ refusalRate: { perSecond: 1, burst: 5 } });
  const first = await w.joinAgent('n1');
  await w.joinAgent('n1');
  await assert.rejects(
    w.services.callers.stillStands(first.caller),
    rejectsWith('AGENT_SUPERSEDED'),
  );
  const banned = await w.joinAgent('n2');
  await w.services.agents.ban(local, agentId('n2'), '');
  for (let call = 0; call < 20; call += 1)
    await assert.rejects(
      w.services.callers.stillStands(banned.caller),
      rejectsWith('AGENT_BANNED'),
    );
  const refused = await w.audit('request.refused');
  assert.deepEqual(
    [agentId('n1'), agentId('n2')].map(
      (actor) => refused.filter((record) => record.actor === actor).length,
    ),
    [1, 5],
  );
});

test('an admin by entry ends with the entry or its flag', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const entryId = await w.addEntry({
    spiffeId: id('/admins/bob'),
    parentId: agentId('n1'),
    admin: true,
  });
  const admin = await holderOf(w, caller, entryId);
  assert.equal(admin.class, 'admin');
  await w.services.entries.delete(local, [entryId]);
  await assert.rejects(w.services.callers.stillStands(admin), rejectsWith('CALLER_NOT_ADMITTED'));
});

test('the admin socket admits uid 0, the server and configured uids, and nobody else', async () => {
  await using w = await createServicesWorld({ adminUids: [1001] });
  for (const uid of [0, 990, 1001])
    assert.equal(w.services.callers.local({ uid, gid: 1, pid: 1 }).class, 'local');
  for (const uid of [1000, 65534, -1])
    assert.throws(
      () => w.services.callers.local({ uid, gid: 0, pid: 1 }),
      rejectsWith('CALLER_NOT_ADMITTED'),
    );
});
