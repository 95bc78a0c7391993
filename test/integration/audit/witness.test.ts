import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { verifyExport, parseVerifierKey } from '../../../src/common/tlog/index.ts';
import { unwrap, type PkiError } from '../../../src/common/errors/index.ts';
import { serverStreamCall, startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';
import { TestWitness } from '../../support/witness.ts';

const exported = async (server: TestServer): Promise<string[]> => {
  const chunks: Buffer[] = [];
  await serverStreamCall(
    server.adminClient(),
    '/meshca.admin.v1.Audit/ExportAudit',
    {},
    (message: { data: Buffer }) => void chunks.push(message.data),
  );
  return Buffer.concat(chunks).toString('utf8').split('\n');
};

const verifierKeyOf = (lines: readonly string[]): string =>
  (JSON.parse(lines[0] as string) as { verifierKey: string }).verifierKey;

const metric = async (server: TestServer, name: string): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
  return Number(new RegExp(`^${name}\\{[^}]*\\} ([0-9]+)`, 'm').exec(text)?.[1] ?? -1);
};

test('a witness cosigns only consistent checkpoints, and the export has verified cosignatures', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-witness-'));
  await using witness = await TestWitness.start('witness.example/w1', join(dir, 'state.json'));
  try {
    await using server = await startTestServer({
      config: { audit: { witnesses: [{ url: witness.url, key: witness.key }] } },
    });
    const key = unwrap(parseVerifierKey(witness.key));
    // it does not know the log yet: nobody is kept from working
    await until(async () => (await metric(server, 'meshca_audit_witness_failures')) >= 1);
    assert.ok((await server.admin('Server/GetStatus')).ready);
    await server.joinAgent('node-1');
    const before = await exported(server);
    assert.deepEqual((await verifyExport(before, { witnesses: [key] })).cosigned, [
      { witness: 'witness.example/w1', size: 0, time: 0 },
    ]);
    witness.know(verifierKeyOf(before));
    await until(async () => (await metric(server, 'meshca_audit_witness_size')) > 0);
    const cosigned = await verifyExport(await exported(server), { witnesses: [key] });
    assert.ok((cosigned.cosigned[0]?.size ?? 0) > 0);
    assert.ok(Math.abs((cosigned.cosigned[0]?.time ?? 0) - Date.now() / 1000) < 60);

    // a restarted server learns from the 409 what the witness holds, and goes on with a proof from
    // there
    await server.restart();
    await server.joinAgent('node-2');
    const seen = witness.requests.length;
    await until(async () =>
      witness.requests.slice(seen).some(({ old, status }) => status === 200 && old > 0),
    );
    assert.ok(witness.requests.some(({ status }) => status === 409));
    await until(
      async () => (await server.admin('Server/GetStatus')).provenBy === 'witness.example/w1',
      'what the witness held shows that the database is the one of before',
    );
    const lines = await exported(server);
    await verifyExport(lines, { witnesses: [key] });

    // a cosignature that somebody changed
    const forged = lines.map((line) =>
      line.replace(
        /(witness\.example\/w1 [A-Za-z0-9+/]{60})(.)/,
        (_, head: string, letter: string) => `${head}${letter === 'A' ? 'B' : 'A'}`,
      ),
    );
    await assert.rejects(
      verifyExport(forged, { witnesses: [key] }),
      (error: PkiError) => error.code === 'AUDIT_INVALID',
    );
    assert.ok(await verifyExport(forged), 'who knows no witness ignores its lines');

    // what it should not do counts as a failure and changes nothing
    for (const mood of ['wrong-key', 'late', 'broken'] as const) {
      await server.restart();
      witness.mood = mood;
      const failures = await metric(server, 'meshca_audit_witness_failures');
      await server.admin('Tokens/CreateJoinToken', { agentName: `after-${mood}` });
      await until(async () => (await metric(server, 'meshca_audit_witness_failures')) > failures);
      assert.ok((await server.admin('Server/GetStatus')).ready, mood);
      witness.mood = 'honest';
    }
    await verifyExport(await exported(server), { witnesses: [key] });

    // it has seen more than this database has: said, not believed, since the number is not signed
    await server.restart();
    const state = JSON.parse(readFileSync(join(dir, 'state.json'), 'utf8')) as Record<
      string,
      { size: number }
    >;
    for (const each of Object.values(state)) each.size += 1_000_000;
    writeFileSync(join(dir, 'state.json'), JSON.stringify(state));
    const failures = await metric(server, 'meshca_audit_witness_failures');
    await server.admin('Tokens/CreateJoinToken', { agentName: 'last' });
    await until(async () => (await metric(server, 'meshca_audit_witness_failures')) > failures);
    assert.ok((await server.admin('Server/GetStatus')).ready);
    witness.mood = 'silent';
    // a start or a stop that waited for the answer would take the whole time limit of the request,
    // each time
    let fastestMs = Infinity;
    for (let tries = 0; tries < 4 && fastestMs >= 9_000; tries += 1) {
      const started = performance.now();
      await server.restart();
      fastestMs = Math.min(fastestMs, performance.now() - started);
    }
    assert.ok(
      fastestMs < 9_000,
      `a witness that does not answer holds up neither stop nor start: ${fastestMs} ms`,
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
