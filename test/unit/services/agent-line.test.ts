import assert from 'node:assert/strict';
import { sign, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import type { PkiError } from '../../../src/common/errors/index.ts';
import { attestationMessage } from '../../../src/common/wire/index.ts';
import { createCsr, spkiOf } from '../../../src/common/x509/index.ts';
import type {
  AgentCaller,
  AgentSvid,
  EndedCallers,
  SyncConnection,
} from '../../../src/services/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    (error as PkiError).code === code;

interface Held {
  readonly caller: AgentCaller;
  readonly key: KeyObject;
  readonly serial: string;
}

async function renewed(w: ServicesWorld, { caller }: Pick<Held, 'caller'>): Promise<Held> {
  const key = newKey();
  const { leaf } = await w.services.attestation.renew(caller, {
    requestId: uuidv7(),
    csrDer: createCsr(key),
    agentVersion: '1',
  });
  return { caller: (await w.callerOf(leaf)) as AgentCaller, key, serial: leaf.serial };
}

async function joined(w: ServicesWorld): Promise<Held> {
  const { caller, svid, key } = await w.joinAgent('n1');
  return { caller, key, serial: svid.leaf.serial };
}

/** A welcomed sync session. `kept`: undefined for an agent that never says what it keeps. */
async function use(
  w: ServicesWorld,
  { caller }: Pick<Held, 'caller'>,
  kept?: string,
): Promise<{ readonly connection: SyncConnection; error: () => PkiError | undefined }> {
  let error: PkiError | undefined;
  const connection = await w.services.sync.open(
    caller,
    {
      protocolVersion: 1,
      agentVersion: '1',
      capabilities: [],
      position: undefined,
      bundleSequence: 1,
      survivedOutageSeconds: 0,
      keptSerial: kept,
    },
    { send: () => true, close: (why) => void (error = why) },
  );
  return { connection, error: () => error };
}

async function recover(w: ServicesWorld, { key, serial }: Held): Promise<AgentSvid> {
  const fresh = newKey();
  const exchange = w.services.attestation.open({
    peer: '192.0.2.1:1',
    serverCertificateSha256: Buffer.alloc(32),
  });
  const step = await exchange.start({
    protocolVersion: 1,
    agentVersion: '1',
    requestId: uuidv7(),
    csrDer: createCsr(fresh),
    evidence: { kind: 'expired-svid', spiffeId: agentId('n1'), serial },
  });
  assert.ok(step.kind === 'challenge');
  const { nonce, trustDomainName, serverCertificateSha256 } = step;
  const message = attestationMessage({
    nonce,
    trustDomainName,
    serverCertificateSha256,
    newSpkiDer: spkiOf(fresh),
  });
  const answered = await exchange.answer(sign('sha256', message, key));
  assert.ok(answered.kind === 'svid');
  return answered.svid;
}

const stands = async (w: ServicesWorld, { caller }: Pick<Held, 'caller'>): Promise<string> =>
  w.services.callers.stillStands(caller).then(
    () => 'full',
    (error: PkiError) => error.code,
  );

const kinds = async (w: ServicesWorld): Promise<readonly string[]> =>
  (await w.audit()).map(({ kind }) => kind).filter((kind) => /^agent\.(first|kept)/.test(kind));

test('the first use of a renewed SVID is on record before the welcome, and refuses the older at every call', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  const first = await use(w, a);
  const b = await renewed(w, a);
  assert.deepEqual([await stands(w, a), await stands(w, b)], ['full', 'full']);
  const ended: EndedCallers[] = [];
  w.services.callers.onEnded((each) => ended.push(each));
  await use(w, b);
  assert.deepEqual(await kinds(w), ['agent.first-use', 'agent.first-use']);
  assert.deepEqual([await stands(w, a), await stands(w, b)], ['AGENT_SUPERSEDED', 'full']);
  assert.equal(first.error()?.code, 'AGENT_SUPERSEDED', 'its stream ends');
  assert.deepEqual(
    ended.map((each) => each.kind === 'identity' && [...(each.exceptSerials ?? [])]),
    [[b.serial]],
  );
  await assert.rejects(use(w, a), rejectsWith('AGENT_SUPERSEDED'));
  await assert.rejects(renewed(w, a), rejectsWith('AGENT_SUPERSEDED'));
  await use(w, b);
  assert.equal((await kinds(w)).length, 2, 'a use that is on record makes no further one');
});

test('the end of a stream whose agent goes on with its next SVID is no refusal on record', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  const first = await use(w, a);
  await use(w, await renewed(w, a));
  const error = first.error() as PkiError;
  await w.services.refusals.refused(a.caller, 'Sync', error);
  assert.deepEqual(await w.audit('request.refused'), []);
  assert.equal(error.code, 'AGENT_SUPERSEDED');
});

test('a copy that shows a superseded SVID again is on record once, and its refusals are counted', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a);
  await use(w, await renewed(w, a));
  const shown = { ...a, caller: { ...a.caller, peer: '192.0.2.9:1' } };
  for (let tries = 0; tries < 3; tries += 1)
    assert.equal(await stands(w, shown), 'AGENT_SUPERSEDED');
  assert.equal((await w.audit('request.refused')).length, 1);
  await w.services.refusals.flush();
  const [summary] = await w.audit('requests.refused');
  assert.match(summary?.canonical.toString() ?? '', /Connect AGENT_SUPERSEDED 2/);
});

test('the older SVID renews again while no newer is used; an unused sibling dies with the use of another', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a);
  const b = await renewed(w, a);
  const c = await renewed(w, a);
  assert.deepEqual(
    [await stands(w, a), await stands(w, b), await stands(w, c)],
    ['full', 'full', 'full'],
  );
  await use(w, b);
  assert.deepEqual(
    [await stands(w, a), await stands(w, b), await stands(w, c)],
    ['AGENT_SUPERSEDED', 'full', 'AGENT_SUPERSEDED'],
  );
  await assert.rejects(use(w, c), rejectsWith('AGENT_SUPERSEDED'));
});

test('what the older SVID has begun to sign is withheld when a newer is used meanwhile', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a);
  const b = await renewed(w, a);
  const entryId = await w.addEntry({ spiffeId: id('/web'), parentId: agentId('n1') });
  const signed = (caller: AgentCaller) =>
    w.services.svids.signX509(caller, [
      {
        requestId: uuidv7(),
        entryId,
        csrDer: createCsr(newKey()),
        ttlSeconds: 0,
        selectors: [],
        replacesSerial: '',
      },
    ]);
  w.beforeSigning(async () => void (await use(w, b)));
  const [late] = await signed(a.caller);
  assert.equal(late?.ok === false && late.error.code, 'AGENT_SUPERSEDED');
  const [own] = await signed(b.caller);
  assert.equal(own?.ok, true);
});

test('a superseded SVID from the one on disk on may only recover, and an older one may do nothing', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a, a.serial);
  const b = await renewed(w, a);
  await use(w, b, b.serial);
  const c = await renewed(w, b);
  const session = await use(w, c, b.serial);
  assert.deepEqual(
    [await stands(w, a), await stands(w, b), await stands(w, c)],
    ['AGENT_SUPERSEDED', 'AGENT_SUPERSEDED', 'full'],
  );
  await assert.rejects(recover(w, a), rejectsWith('AGENT_SUPERSEDED'));
  const { leaf } = await recover(w, b);
  assert.equal(session.error()?.code, 'AGENT_SUPERSEDED', 'the other session ends');
  assert.equal(await stands(w, c), 'AGENT_SUPERSEDED');
  const back = (await w.callerOf(leaf)) as AgentCaller;
  assert.equal(back.generation, c.caller.generation + 1);
  await use(w, { caller: back }, back.serial);
  await assert.rejects(recover(w, b), rejectsWith('AGENT_SUPERSEDED'));
  const [record] = await w.audit('agent.recovered');
  assert.ok(record?.canonical.includes(`"endedInUse":"${c.serial}"`), 'an operator sees it');
});

test('the report that a later SVID is on the disk ends the recovery by an older one, and is on record', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a, a.serial);
  const b = await renewed(w, a);
  const { connection } = await use(w, b, a.serial);
  await connection.agent({ survivedOutageSeconds: 0, keptSerial: b.serial });
  assert.deepEqual((await kinds(w)).toSorted(), [
    'agent.first-use',
    'agent.first-use',
    'agent.kept',
  ]);
  await assert.rejects(recover(w, a), rejectsWith('AGENT_SUPERSEDED'));
  await connection.agent({ survivedOutageSeconds: 5 });
  assert.equal((await kinds(w)).length, 3, 'what it does not say has not changed');
});

test('an agent that was off until expiry after a lost answer recovers with the SVID on its disk', async () => {
  await using w = await createServicesWorld({ agentTtlSeconds: 60, recoveryGraceSeconds: 600 });
  const a = await joined(w);
  await use(w, a, a.serial);
  await renewed(w, a);
  w.clock.advance(120_000);
  await recover(w, a);
  const { leaf } = await recover(w, a);
  await use(w, { caller: (await w.callerOf(leaf)) as AgentCaller }, leaf.serial);
  await assert.rejects(recover(w, a), rejectsWith('AGENT_SUPERSEDED'));
});

test('two clones: who is welcomed with a renewal first stays, and the other never comes back', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a, a.serial);
  const mine = await renewed(w, a);
  const his = await renewed(w, a);
  await use(w, mine, mine.serial);
  for (const held of [a, his]) {
    assert.equal(await stands(w, held), 'AGENT_SUPERSEDED');
    await assert.rejects(recover(w, held), rejectsWith('AGENT_SUPERSEDED'));
  }
  assert.equal(await stands(w, mine), 'full');
});

test('a superseded clone that is the right one comes back by an eviction and a new token', async () => {
  await using w = await createServicesWorld();
  const a = await joined(w);
  await use(w, a, a.serial);
  const his = await renewed(w, a);
  await use(w, his, his.serial);
  await assert.rejects(use(w, a, a.serial), rejectsWith('AGENT_SUPERSEDED'));
  await w.services.agents.evict(local, agentId('n1'), 'the other is the copy');
  const back = await joined(w);
  await use(w, back, back.serial);
  assert.equal(await stands(w, back), 'full');
  for (const older of [a, his]) {
    assert.equal(await stands(w, older), 'AGENT_SUPERSEDED');
    await assert.rejects(recover(w, older), rejectsWith('AGENT_SUPERSEDED'));
  }
});

/** A world whose database is a file. */
function remainsFor(t: TestContext): ServicesWorld['remains'] {
  const folder = mkdtempSync(join(tmpdir(), 'meshca-line-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { path: join(folder, 'meshca.db'), keys: new Map() };
}

test('first use and what is kept outlive a restart of the server', async (t) => {
  const remains = remainsFor(t);
  const { a, b } = await (async () => {
    await using w = await createServicesWorld({}, remains);
    const first = await joined(w);
    await use(w, first, first.serial);
    const second = await renewed(w, first);
    await use(w, second, first.serial);
    return { a: first, b: second };
  })();
  await using w = await createServicesWorld({}, remains);
  assert.deepEqual([await stands(w, a), await stands(w, b)], ['AGENT_SUPERSEDED', 'full']);
  await recover(w, a);
});

test('a line that somebody else alters, or takes away, makes no older SVID good and stops what rests on it', async (t) => {
  const remains = remainsFor(t);
  await using w = await createServicesWorld({}, remains);
  const a = await joined(w);
  await use(w, a, a.serial);
  const b = await renewed(w, a);
  await use(w, b, b.serial);
  for (const sql of [
    `UPDATE agent_lines SET in_use = NULL, svids = '[{"serial":"${a.serial}","renewed":null}]'`,
    `UPDATE agent_lines SET kept = '${a.serial}'`,
    'DELETE FROM agent_lines',
  ]) {
    foreignSql(remains.path, (database) => database.exec(sql));
    w.setAuthorities({});
    for (const held of [a, b]) assert.equal(await stands(w, held), 'OBJECT_NOT_IN_LOG', sql);
    await assert.rejects(use(w, b, b.serial), rejectsWith('OBJECT_NOT_IN_LOG'));
    await assert.rejects(recover(w, a), rejectsWith('OBJECT_NOT_IN_LOG'));
  }
});
