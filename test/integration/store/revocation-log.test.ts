import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { PkiError, unwrap } from '../../../src/common/errors/index.ts';
import { silentLogger, uuidv7, type Logger } from '../../../src/common/runtime/index.ts';
import {
  createCsr,
  generateKeyPairAsync,
  parseCrl,
  type ParsedCrl,
} from '../../../src/common/x509/index.ts';
import { replaceDatabase } from '../../../src/store/index.ts';
import { openStore } from '../../support/open-store.ts';
import {
  mayFinish,
  activeAuthority,
  event,
  intent,
  issued,
  ManualClock,
  signed,
  start,
} from '../../compliance/store/fixtures.ts';
import {
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { until } from '../../support/until.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;
const config = { issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' } };
const databaseOf = (server: TestServer): string => join(server.dir, 'data', 'meshca.db');

/** Whoever can write to the file, while a server has it open or not. */
function sql(path: string, ...statements: readonly string[]): void {
  const database = new DatabaseSync(path, { timeout: 5000 });
  try {
    for (const statement of statements) database.exec(statement);
  } finally {
    database.close();
  }
}

/** Keeps the alerts about objects that are not in the log. */
function listening(): { readonly logger: Logger; readonly alerts: Set<string> } {
  const alerts = new Set<string>();
  const logger: Logger = {
    ...silentLogger,
    error: (fields: object) => {
      const { code, kind, id: object } = fields as Record<string, string>;
      if (code === 'OBJECT_NOT_IN_LOG') alerts.add(`${kind} ${object}`);
    },
    child: () => logger,
  };
  return { logger, alerts };
}

async function revocable(
  server: TestServer,
  agent: Credential,
  entryId: string,
  changes: object = {},
): Promise<Credential> {
  await server.admin('Entries/CreateEntries', {
    entries: [
      {
        id: entryId,
        spiffeId: id(`/${entryId}`),
        parentId: agent.spiffeId,
        selectors: ['unix:uid:1000'],
        profile: 'revocable',
        ...changes,
      },
    ],
  });
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    {
      items: [
        {
          requestId: uuidv7(),
          entryId,
          csrDer: createCsr(privateKey),
          selectors: [{ type: 'unix', value: 'uid:1000' }],
        },
      ],
    },
  );
  assert.ok(results[0]!.svid, JSON.stringify(results[0]!.refusal));
  return {
    spiffeId: id(`/${entryId}`),
    serial: results[0]!.svid.serial,
    chainDer: results[0]!.svid.chainDer,
    privateKey,
  };
}

async function issuerCrl(server: TestServer): Promise<ParsedCrl> {
  const { authorities } = await server.admin('Authorities/ListAuthorities', {});
  const issuing = authorities.find((each) => each.kind === 'issuing' && each.state === 'active');
  const response = await fetch(
    `http://127.0.0.1:${server.server.httpPorts.plain}/crl/${issuing!.id}.crl`,
  );
  return unwrap(parseCrl(Buffer.from(await response.arrayBuffer())));
}

async function crlWith(server: TestServer, serial: string): Promise<ParsedCrl> {
  let crl = await issuerCrl(server);
  await until(
    async () => (crl = await issuerCrl(server)).revoked.has(serial),
    `${serial} on the CRL`,
  );
  return crl;
}

const calls = (server: TestServer, as: Credential): Promise<string> =>
  codeOf(
    unaryCall(server.client(as), '/meshca.admin.v1.Entries/ListEntries', {
      page: { size: 10, token: '' },
    }),
  );
const revoke = (server: TestServer, serial: string): Promise<unknown> =>
  server.admin('Certificates/RevokeCertificate', { serial });

test('SQL can neither undo a revocation nor add one, on the CRL or at the server', async () => {
  const { logger, alerts } = listening();
  await using server = await startTestServer({ logger, config });
  const path = databaseOf(server);
  const agent = await server.joinAgent('node-1');
  const [gone, moved, good, admin] = [
    await revocable(server, agent, 'gone'),
    await revocable(server, agent, 'moved'),
    await revocable(server, agent, 'good'),
    await revocable(server, agent, 'admin', { admin: true }),
  ];
  const later = [
    await revocable(server, agent, 'later-1'),
    await revocable(server, agent, 'later-2'),
  ];
  await server.admin('Roles/PutRole', {
    role: { name: 'all', verbs: ['*'], prefixes: [id('/')], members: [admin.spiffeId] },
  });
  assert.equal(await calls(server, admin), 'resolved');
  for (const { serial } of [gone, moved, admin]) await revoke(server, serial);
  let number = (await crlWith(server, admin.serial)).number;
  const refused = await calls(server, admin);
  assert.notEqual(refused, 'resolved');
  assert.equal(alerts.size, 0);

  sql(
    path,
    `DELETE FROM revocations WHERE serial IN (x'${gone.serial}', x'${admin.serial}')`,
    `UPDATE revocations SET authority_id = 'another', not_after = 1, shard = 5 WHERE serial = x'${moved.serial}'`,
    "INSERT INTO revocations SELECT serial, authority_id, 'keyCompromise', 1, 'uid:0', " +
      `not_after, shard FROM certificates WHERE serial = x'${good.serial}'`,
    // who was revoked would be looked at no more, if that rested on the profile in his row
    `UPDATE certificates SET profile = 'short-lived' WHERE serial = x'${admin.serial}'`,
    // and the CRL that names them is forgotten
    'DELETE FROM crls',
  );
  const stands = async (another: Credential, when: string): Promise<void> => {
    await revoke(server, another.serial);
    const crl = await crlWith(server, another.serial);
    for (const { serial } of [gone, moved, admin]) assert.ok(crl.revoked.has(serial), when);
    assert.ok(!crl.revoked.has(good.serial), when);
    assert.ok(crl.number > number, when);
    number = crl.number;
    assert.equal(await calls(server, admin), refused, when);
    await until(
      () => [gone, moved, good, admin].every(({ serial }) => alerts.has(`revocation ${serial}`)),
      `the alerts ${when}`,
    );
  };
  await stands(later[0] as Credential, 'while it runs');
  alerts.clear();
  await server.stop();
  // an older CRL of the same key would be as good a signature
  sql(path, `UPDATE crls SET number = 1, der = x'3000'`);
  await server.restart();
  assert.ok([...alerts].some((alert) => alert.startsWith('crl ')));
  for (const { serial } of [gone, moved, admin])
    assert.ok((await issuerCrl(server)).revoked.has(serial));
  await stands(later[1] as Credential, 'after a restart');

  await revoke(server, gone.serial);
  assert.ok(
    (await server.admin('Certificates/GetCertificate', { serial: moved.serial })).revokedAt > 0,
  );
  await revoke(server, good.serial);
  assert.ok(
    (await crlWith(server, good.serial)).revoked.has(good.serial),
    'a forged row is not in the way of the real one',
  );
});

test('a certificate whose inventory row was altered by SQL is not revoked by what the row says', async () => {
  await using server = await startTestServer({ config });
  const agent = await server.joinAgent('node-1');
  const target = await revocable(server, agent, 'web');
  for (const change of [
    `authority_id = 'another'`,
    'shard = shard + 1',
    `profile = 'short-lived'`,
    'not_after = 1999999999',
  ]) {
    sql(
      databaseOf(server),
      `CREATE TABLE kept AS SELECT * FROM certificates WHERE serial = x'${target.serial}'`,
      `UPDATE certificates SET ${change} WHERE serial = x'${target.serial}'`,
    );
    assert.equal(await codeOf(revoke(server, target.serial)), 'OBJECT_NOT_IN_LOG', change);
    sql(
      databaseOf(server),
      'UPDATE certificates SET (authority_id, profile, not_after, shard) = (SELECT ' +
        `authority_id, profile, not_after, shard FROM kept) WHERE serial = x'${target.serial}'`,
      'DROP TABLE kept',
    );
  }
  assert.equal(await codeOf(revoke(server, target.serial)), 'resolved');
});

test('the last check before a certificate is released finds the caller revoked though the row is gone', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-revoked-'));
  const path = join(directory, 'store.db');
  const open = () =>
    openStore({ path, clock: new ManualClock(), logger: silentLogger, pid: process.pid });
  let store = await open();
  try {
    const authority = await activeAuthority(store);
    const caller = await issued(store, authority.id, { notAfter: start + 3000 });
    await store.revocations.revoke(
      { serial: caller.serial, reason: 'keyCompromise', revokedAt: start, revokedBy: 'uid:0' },
      event('certificate.revoked'),
    );
    sql(path, 'DELETE FROM revocations');
    for (const when of ['running', 'opened again']) {
      const asked = intent({ authorityId: authority.id });
      await store.issuance.recordIntents([asked]);
      const [outcome] = await store.issuance.finish([
        signed(asked, [mayFinish(authority.id), { kind: 'caller', serial: caller.serial }]),
      ]);
      assert.deepEqual(
        [outcome?.state, outcome?.state === 'withheld' && outcome.code],
        ['withheld', 'CERTIFICATE_REVOKED'],
        when,
      );
      await store.close();
      store = await open();
    }
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test('a key stays blocked though its row is gone, while the server runs and after it opens again', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-blocked-'));
  const path = join(directory, 'store.db');
  const { logger, alerts } = listening();
  const open = () =>
    openStore({ path, clock: new ManualClock(), logger: silentLogger, pid: process.pid });
  let store = await open();
  try {
    const { id: authorityId } = await activeAuthority(store);
    const publicKeySha256 = 'cd'.repeat(32);
    const key = { publicKeySha256, reason: 'stolen', blockedAt: start, blockedBy: 'uid:0' };
    await store.blockedKeys.block(key, event('key.blocked'));
    sql(path, 'DELETE FROM blocked_keys');
    for (const when of ['running', 'opened again']) {
      assert.deepEqual(store.blockedKeys.get(publicKeySha256), key, when);
      const asked = intent({ authorityId, publicKeySha256 });
      await store.issuance.recordIntents([asked]);
      const [outcome] = await store.issuance.finish([
        signed(asked, [mayFinish(authorityId), { kind: 'key', publicKeySha256 }]),
      ]);
      assert.equal(outcome?.state === 'withheld' && outcome.code, 'KEY_BLOCKED', when);
      store.objects.onMismatch(({ kind, id: object }) =>
        logger.error({ code: 'OBJECT_NOT_IN_LOG', kind, id: object }, ''),
      );
      assert.deepEqual((await store.blockedKeys.list({ size: 10 })).items, [key], when);
      await store.close();
      store = await open();
    }
    assert.deepEqual([...alerts], [`blocked-key ${publicKeySha256}`]);
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test('when an authority was activated and tainted is part of what the log commits to', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-authority-'));
  const path = join(directory, 'store.db');
  const store = await openStore({
    path,
    clock: new ManualClock(),
    logger: silentLogger,
    pid: process.pid,
  });
  try {
    const { id: authorityId } = await activeAuthority(store);
    // reads of one turn of the loop share a snapshot
    const proven = (): Promise<boolean> =>
      setImmediate()
        .then(() => store.authorities.byId(authorityId))
        .then(
          (found) => found !== undefined && store.objects.prove('authority', found) !== undefined,
          (thrown: unknown) => {
            assert.equal(PkiError.from(thrown).code, 'OBJECT_NOT_IN_LOG');
            return false;
          },
        );
    assert.equal(await proven(), true);
    for (const column of [
      'activated_at',
      'tainted_at',
      'published_at',
      'taint_window_seconds',
      'scope',
      'not_after',
    ]) {
      const database = new DatabaseSync(path);
      const before = (
        database.prepare(`SELECT ${column} AS value FROM authorities`).get() as {
          value: string | number | null;
        }
      ).value;
      database
        .prepare(`UPDATE authorities SET ${column} = ?`)
        .run(column === 'scope' ? '{"share":1}' : 12345);
      assert.equal(await proven(), false, column);
      database.prepare(`UPDATE authorities SET ${column} = ?`).run(before);
      database.close();
      assert.equal(await proven(), true);
    }
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test('what was revoked since a backup is revoked again when it is restored, and numbers of CRLs grow on', async () => {
  await using server = await startTestServer({ config });
  const agent = await server.joinAgent('node-1');
  const certificates: Credential[] = [];
  for (const name of ['a', 'b', 'd']) certificates.push(await revocable(server, agent, name));
  const [a, b, d] = certificates as [Credential, Credential, Credential];
  await revoke(server, a.serial);
  await crlWith(server, a.serial);
  const backup = join(server.dir, 'older.db');
  sql(databaseOf(server), `VACUUM INTO '${backup}'`);
  const c = await revocable(server, agent, 'c');
  const publicKeySha256 = 'ab'.repeat(32);
  await server.admin('Keys/BlockKey', { publicKeySha256, reason: 'stolen' });
  for (const { serial } of [b, c]) {
    await revoke(server, serial);
    await crlWith(server, serial);
  }
  const { number } = await issuerCrl(server);
  await server.stop();
  const checkpoints = (await readFile(join(server.dir, 'data', 'checkpoints.log'), 'utf8'))
    .trim()
    .split('\n');
  const size = Number(
    (JSON.parse(checkpoints.at(-1) as string) as { checkpoint: string }).checkpoint.split('\n')[1],
  );
  replaceDatabase({
    path: databaseOf(server),
    from: backup,
    pid: process.pid,
    now: Math.floor(Date.now() / 1000),
  });
  await server.restart({ acceptRestore: size });
  const { blocked } = await server.admin('Keys/GetKey', { publicKeySha256 });
  assert.equal(blocked?.reason, 'stolen', 'also a key that was blocked in the lost time');
  await revoke(server, d.serial);
  const after = await crlWith(server, d.serial);
  assert.ok(after.number > number, `${after.number} after ${number}`);
  for (const { serial } of [a, b, c])
    assert.ok(after.revoked.has(serial), 'also one whose certificate is of the lost time');
});
