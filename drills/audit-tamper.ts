import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { PkiError } from '../src/common/errors/index.ts';
import { uuidv7 } from '../src/common/runtime/index.ts';
import { verifyExport, type ExportVerdict } from '../src/common/tlog/index.ts';
import { createCsr, generateKeyPairAsync } from '../src/common/x509/index.ts';
import {
  serverStreamCall,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../test/support/server.ts';
import { insertRow, readRow } from '../test/support/foreign-sql.ts';
import { patienceMs, until } from '../test/support/until.ts';
import { Breaches, type Drill } from './drill.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;
type Found =
  | { readonly verdict: ExportVerdict }
  | { readonly code: string; readonly sequence: number | undefined };

/**
 * Plays an attacker who can write to the database: alters the log in each way, and writes entries
 * by SQL. The export of the running server must name the record, the server must not start on an
 * altered log, and nothing may be signed for the entries.
 */
export const auditTamper: Drill = {
  name: 'audit-tamper',
  promise:
    'whatever is done to the log is found and named, and who writes to the database mints nothing',
  options: ['--records N   issuances to make before (short: 300, else 5000)'],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  run: async ({ short, options, say, signal }) => {
    const breaches = new Breaches();
    const wanted = Number(options['records'] ?? (short ? 300 : 5_000));
    await using server = await startTestServer();
    const agent = await server.joinAgent('node-1');
    await server.admin('Entries/CreateEntries', {
      entries: [
        { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
      ],
    });
    for (let done = 0; done < wanted && !signal.aborted; done += 100) {
      await sign(server, agent, 'web', Math.min(100, wanted - done));
      if (done % 200 === 0) await settled(server);
    }
    const listed = await activation(server);
    await settled(server);
    const full = await exported(server);
    const whole = await verified(full);
    breaches.expect(
      'verdict' in whole,
      `the log of a full run does not verify: ${JSON.stringify(whole)}`,
    );
    if (!('verdict' in whole)) return { figures: { records: 0 }, broken: breaches.list };
    const { verdict } = whole;
    say(`${verdict.size} records under ${verdict.checkpoints} checkpoints verify`);

    let named = 0;
    const expectNamed = async (
      what: string,
      found: Found,
      sequence?: number,
      code = 'AUDIT_INVALID',
    ): Promise<void> => {
      const good =
        'code' in found &&
        found.code === code &&
        (sequence === undefined || found.sequence === sequence);
      breaches.expect(good, `${what}: ${JSON.stringify(found)}`);
      if (good) named += 1;
      say(
        `${what}: ${good ? 'found' : 'NOT FOUND'}${sequence === undefined ? '' : ` at record ${sequence}`}`,
      );
    };
    const middle = Math.floor(verdict.size / 2);
    const touched = async (
      change: string,
      undo: (database: DatabaseSync) => void,
    ): Promise<Found> => {
      sql(server, (database) => database.exec(change));
      const found = await verified(await exported(server));
      sql(server, undo);
      return found;
    };
    const row = sql(server, (database) =>
      database.prepare('SELECT * FROM audit WHERE sequence = ?').get(middle),
    ) as Record<string, string | number | Uint8Array>;
    const putBack = (database: DatabaseSync): void =>
      void database
        .prepare('INSERT OR REPLACE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
        .run(...Object.values(row));
    await expectNamed(
      'changed row',
      await touched(
        'UPDATE audit SET canonical = CAST(replace(CAST(canonical AS TEXT), \'"actor"\', ' +
          `'"aktor"') AS BLOB) WHERE sequence = ${middle}`,
        putBack,
      ),
      middle,
    );
    await expectNamed(
      'changed column',
      await touched(`UPDATE audit SET actor = 'uid:0' WHERE sequence = ${middle}`, putBack),
      middle,
    );
    await expectNamed(
      'deleted row',
      await touched(`DELETE FROM audit WHERE sequence = ${middle}`, putBack),
      middle,
    );
    const swap =
      `UPDATE audit SET sequence = -1 WHERE sequence = ${middle}; UPDATE audit SET sequence = ` +
      `${middle} WHERE sequence = ${middle + 1}; UPDATE audit SET sequence = ${middle + 1} ` +
      'WHERE sequence = -1';
    await expectNamed(
      'swapped rows',
      await touched(swap, (database) => database.exec(swap)),
      middle,
    );
    const note = sql(server, (database) =>
      database.prepare('SELECT size, note FROM log_checkpoints ORDER BY size DESC LIMIT 1').get(),
    ) as { size: number; note: string };
    const forged = note.note.replace(
      /\n(\S{43}=)\n/,
      (_, root: string) => `\n${root.startsWith('A') ? 'B' : 'A'}${root.slice(1)}\n`,
    );
    await expectNamed(
      'forged checkpoint',
      await touched(
        `UPDATE log_checkpoints SET note = '${forged}' WHERE size = ${note.size}`,
        (database) =>
          void database
            .prepare('UPDATE log_checkpoints SET note = ? WHERE size = ?')
            .run(note.note, note.size),
      ),
    );
    const part = sql(server, (database) =>
      database
        .prepare('SELECT sha256, deflated FROM activation_evidence_parts WHERE sha256 = ?')
        .get(listed.evidence),
    ) as { sha256: string; deflated: Uint8Array };
    const other = deflateRawSync(
      Buffer.from(inflateRawSync(part.deflated).toString('utf8').replace('node-1', 'node-2')),
    ).toString('hex');
    const partBack = (database: DatabaseSync): void =>
      void database
        .prepare('INSERT OR REPLACE INTO activation_evidence_parts VALUES (?, 0, ?)')
        .run(part.sha256, part.deflated);
    await expectNamed(
      'changed list of who had confirmed',
      await touched(
        `UPDATE activation_evidence_parts SET deflated = x'${other}' WHERE sha256 = '${part.sha256}'`,
        partBack,
      ),
      listed.sequence,
      'EVIDENCE_INVALID',
    );
    await expectNamed(
      'list of who had confirmed taken away',
      await touched(
        `DELETE FROM activation_evidence_parts WHERE sha256 = '${part.sha256}'`,
        partBack,
      ),
      listed.sequence,
      'EVIDENCE_INVALID',
    );
    const older =
      full.flatMap((line, index) => (line.includes('"type":"checkpoint"') ? [index] : [])).at(-2) ??
      0;
    const cut = [
      ...full.slice(0, older + 1),
      JSON.stringify({
        type: 'end',
        size: Number((JSON.parse(full[older] as string) as { note: string }).note.split('\n')[1]),
      }),
    ];
    breaches.expect(
      'verdict' in (await verified(cut)),
      'a tail cut at an older checkpoint shows without a later one: then what does --since prove?',
    );
    await expectNamed('tail cut at an older valid checkpoint', await verified(cut, note.note));
    breaches.expect(
      'verdict' in (await verified(await exported(server))),
      'the log does not verify after everything was put back',
    );

    sql(server, (database) => {
      insertRow(database, 'entries', {
        ...readRow(database, 'entries', `id = 'web'`),
        id: 'forged',
        spiffe_id: id('/admin'),
      });
      database.exec(`UPDATE entries SET spiffe_id = '${id('/other')}' WHERE id = 'web'`);
    });
    let signed = 0;
    const nothing = async (when: string): Promise<void> => {
      for (const entry of ['forged', 'web']) {
        const count = await sign(server, agent, entry, 1);
        signed += count;
        breaches.expect(
          count === 0,
          `an entry that was ${entry === 'web' ? 'changed' : 'inserted'} by SQL signed ${when}`,
        );
      }
    };
    await nothing('on the running server');
    await server.restart();
    await nothing('after a restart');
    say(`${signed} certificates for entries that were put in or changed past the log`);

    await server.stop();
    const good = await readFile(databaseOf(server));
    let refusedStarts = 0;
    for (const change of [
      `DELETE FROM audit WHERE sequence = ${middle}`,
      `UPDATE audit SET kind = kind, canonical = x'00' WHERE sequence = ${middle}`,
      'DELETE FROM log_checkpoints',
    ]) {
      await writeFile(databaseOf(server), good);
      for (const suffix of ['-wal', '-shm']) await writeFile(`${databaseOf(server)}${suffix}`, '');
      sql(server, (database) => database.exec(change));
      const code = await startOn(server);
      breaches.expect(code === 'AUDIT_INVALID', `the server did not refuse to start: ${code}`);
      if (code === 'AUDIT_INVALID') refusedStarts += 1;
      await server.stop();
    }
    return {
      figures: {
        records: verdict.size,
        checkpoints: verdict.checkpoints,
        tampered: 8,
        named,
        signedForForged: signed,
        refusedStarts,
      },
      broken: breaches.list,
    };
  },
};

const databaseOf = (server: TestServer): string => join(server.dir, 'data', 'meshca.db');

/** Writes without the server and without the triggers that would stop a mistake. */
function sql<T>(server: TestServer, work: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(databaseOf(server), { timeout: patienceMs });
  try {
    database.exec(
      'DROP TRIGGER IF EXISTS audit_refuses_update; DROP TRIGGER IF EXISTS audit_refuses_delete',
    );
    return work(database);
  } finally {
    database.close();
  }
}

/**
 * Starts the server on an altered log, and returns the code of its refusal. What a snapshot stands
 * for is read after the start (docs/decisions/0008): then the server signs no more, and its next
 * start is refused.
 */
async function startOn(server: TestServer): Promise<string> {
  const attempt = (): Promise<string> =>
    server.restart().then(
      () => 'started',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
  const first = await attempt();
  if (first !== 'started') return first;
  await until(async () => {
    const { reasons } = await server.admin('Server/GetStatus');
    return (reasons as readonly string[]).some((reason) => reason.includes('AUDIT_INVALID'));
  }, 'the running server finds the change');
  await server.stop();
  return attempt();
}

/** Returns how many requests were signed. */
async function sign(
  server: TestServer,
  agent: Credential,
  entryId: string,
  times: number,
): Promise<number> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const csrDer = createCsr(privateKey);
  const items = Array.from({ length: times }, () => ({
    requestId: uuidv7(),
    entryId,
    csrDer,
    selectors: [{ type: 'unix', value: 'uid:1000' }],
  }));
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    { items },
  );
  return (results as { svid: unknown }[]).filter(({ svid }) => svid).length;
}

/** Activates an intermediate without the only node, which is on record. */
async function activation(
  server: TestServer,
): Promise<{ readonly evidence: string; readonly sequence: number }> {
  await server.admin('Authorities/RotateAuthorities', {
    kind: 'issuing',
    force: true,
    reason: 'the drill has no agent',
  });
  let found: { readonly evidence: string; readonly sequence: number } | undefined;
  await until(async () => {
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'authority.active',
      newestFirst: true,
      page: { size: 1 },
    });
    const { detail } = JSON.parse(records[0]!.canonical.toString('utf8').split('\n')[1]!) as {
      detail: { evidence?: string };
    };
    if (detail.evidence !== undefined)
      found = { evidence: detail.evidence, sequence: records[0]!.sequence };
    return found !== undefined;
  }, 'the intermediate signs');
  return found as NonNullable<typeof found>;
}

async function settled(server: TestServer): Promise<void> {
  await until(() => {
    const { size, last } = sql(server, (database) =>
      database
        .prepare(
          'SELECT (SELECT sequence FROM log_head) AS size, (SELECT max(sequence) FROM audit) AS last',
        )
        .get(),
    ) as { size: number; last: number };
    return size >= last;
  }, 'the sequencer takes the records');
}

async function exported(server: TestServer): Promise<string[]> {
  const chunks: Buffer[] = [];
  await serverStreamCall(
    server.adminClient(),
    '/meshca.admin.v1.Audit/ExportAudit',
    {},
    (message: { data: Buffer }) => void chunks.push(message.data),
  );
  return Buffer.concat(chunks)
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
}

async function verified(lines: readonly string[], since?: string): Promise<Found> {
  try {
    return { verdict: await verifyExport(lines, since === undefined ? {} : { since }) };
  } catch (thrown) {
    const error = PkiError.from(thrown);
    return { code: error.code, sequence: error.detail['sequence'] as number | undefined };
  }
}
