import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { runCli } from '../../../src/cli/program.ts';
import type { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, systemClock, uuidv7 } from '../../../src/common/runtime/index.ts';
import { actKinds } from '../../../src/common/tlog/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { Pruner } from '../../../src/services/index.ts';
import { openStore } from '../../support/open-store.ts';
import {
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { until } from '../../support/until.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;

async function cli(
  server: TestServer,
  args: readonly string[],
  options: { readonly signal?: AbortSignal; readonly out?: string[] } = {},
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const out = options.out ?? [];
  const err: string[] = [];
  const code = await runCli(['--json', '--server-socket', server.server.adminSocketPath, ...args], {
    env: {},
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    readStdin: async () => '',
    ask: async () => undefined,
    terminal: { isTerminal: false, columns: 200, color: false },
    signal: options.signal ?? new AbortController().signal,
    now: () => Math.floor(Date.now() / 1000),
    dependencies: {} as never,
  });
  return { code, out: out.join(''), err: err.join('') };
}

async function issue(
  server: TestServer,
  agent: Credential,
  entryId: string,
  times: number,
): Promise<void> {
  const items = await Promise.all(
    Array.from({ length: times }, async () => {
      const { privateKey } = await generateKeyPairAsync('ec-p256');
      return {
        requestId: uuidv7(),
        entryId,
        csrDer: createCsr(privateKey),
        selectors: [{ type: 'unix', value: 'uid:1000' }],
      };
    }),
  );
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    { items },
  );
  assert.ok(results.every((result) => result.svid));
}

const checkpointFile = (server: TestServer): string => join(server.dir, 'data', 'checkpoints.log');
const newestSize = (server: TestServer): number => {
  const last = existsSync(checkpointFile(server))
    ? readFileSync(checkpointFile(server), 'utf8').trimEnd().split('\n').at(-1)
    : undefined;
  return last === undefined || last === ''
    ? 0
    : Number((JSON.parse(last) as { checkpoint: string }).checkpoint.split('\n')[1]);
};

const newestSequence = async (server: TestServer): Promise<number> => {
  const { records } = await server.admin('Audit/ListAuditRecords', {
    page: { size: 1 },
    newestFirst: true,
  });
  return records[0]!.sequence;
};

const quiet = async (server: TestServer): Promise<void> => {
  const newest = await newestSequence(server);
  await until(() => newestSize(server) >= newest);
};

test('an export verifies, and whatever is done to the records or the file is found and named', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
    ],
  });
  await issue(server, agent, 'web', 300);
  await quiet(server);
  const early = JSON.parse(
    readFileSync(checkpointFile(server), 'utf8').trimEnd().split('\n').at(-1) as string,
  ) as { checkpoint: string };
  await issue(server, agent, 'web', 300);
  await quiet(server);
  const path = join(server.dir, 'export.jsonl');
  assert.equal((await cli(server, ['audit', 'export', '--out', path])).code, 0);
  assert.notEqual(
    (await cli(server, ['audit', 'export', '--out', path])).code,
    0,
    'no file is overwritten',
  );
  const good = await cli(server, ['audit', 'verify', path]);
  assert.equal(good.code, 0, good.err);
  const verdict = JSON.parse(good.out) as {
    size: number;
    complete: string;
    verifierKey: string;
    waiting: number;
  };
  assert.ok(
    verdict.size > 600 &&
      verdict.complete.startsWith(`complete up to record ${verdict.size} of the tree, time `),
  );
  assert.equal(
    (
      await cli(server, [
        'audit',
        'verify',
        path,
        '--key',
        verdict.verifierKey,
        '--since',
        checkpointFile(server),
      ])
    ).code,
    0,
  );

  const lines = readFileSync(path, 'utf8').split('\n');
  const at = (sequence: number): number =>
    lines.findIndex((line) => line.includes(`"type":"record","sequence":${sequence},`));
  const tampered = join(server.dir, 'tampered.jsonl');
  const since = join(server.dir, 'since.note');
  writeFileSync(since, early.checkpoint);
  const verdictOf = async (
    change: (lines: string[]) => string[] | void,
    args: readonly string[] = [],
  ): Promise<string> => {
    const copy = [...lines];
    writeFileSync(tampered, (change(copy) ?? copy).join('\n'));
    const { code, err, out } = await cli(server, ['audit', 'verify', tampered, ...args]);
    if (code === 0) return `verified ${out}`;
    const { error } = JSON.parse(err) as { error: { code: string; sequence?: number } };
    return `${error.code} ${error.sequence ?? ''}`.trim();
  };
  const edit = (copy: string[], sequence: number, from: string, to: string): void => {
    const line = copy[at(sequence)] as string;
    assert.ok(line.includes(from));
    copy[at(sequence)] = line.replaceAll(from, to);
  };
  assert.equal(
    await verdictOf((copy) => edit(copy, 400, '/web', '/wab')),
    'AUDIT_INVALID 400',
    'changed',
  );
  assert.equal(
    await verdictOf((copy) =>
      edit(copy, 400, '"kind":"certificate.issued"', '"kind":"certificate.refused"'),
    ),
    'AUDIT_INVALID 400',
    'a column that says something else',
  );
  assert.equal(
    await verdictOf((copy) => void copy.splice(at(123), 1)),
    'AUDIT_INVALID 123',
    'deleted',
  );
  assert.equal(
    await verdictOf((copy) => {
      const [one, other] = [copy[at(50)] as string, copy[at(51)] as string];
      const canonicalOf = (line: string): string => /"canonical":.*$/.exec(line)?.[0] as string;
      copy[at(50)] = one.replace(canonicalOf(one), () => canonicalOf(other));
      copy[at(51)] = other.replace(canonicalOf(other), () => canonicalOf(one));
    }),
    'AUDIT_INVALID 50',
    'swapped',
  );
  const cut = (copy: string[]): string[] => {
    const end = copy.findIndex((line) => line.includes(JSON.stringify(early.checkpoint)));
    assert.ok(end > 0);
    const size = Number(early.checkpoint.split('\n')[1]);
    return [...copy.slice(0, end + 1), JSON.stringify({ type: 'end', size })];
  };
  assert.match(
    await verdictOf(cut),
    /^verified .*complete up to record/s,
    'a tail that was cut at an older checkpoint shows only against a later one',
  );
  assert.equal(
    await verdictOf(cut, ['--since', checkpointFile(server)]),
    'AUDIT_INVALID',
    'and so it does',
  );
  assert.match(await verdictOf(cut, ['--since', since]), /^verified/);
  assert.equal(
    await verdictOf((copy) => {
      const position = copy.findLastIndex((line) => line.includes('"type":"checkpoint"'));
      copy[position] = (copy[position] as string).replace(
        /(\\u2014|—) (\S+) .{12}/,
        (text) => `${text.slice(0, -4)}AAAA`,
      );
    }),
    'AUDIT_INVALID',
    'forged checkpoint',
  );
  assert.equal(await verdictOf((copy) => void copy.splice(-2, 1)), 'AUDIT_INVALID', 'no end');
  const other = verdict.verifierKey.replace(/\+[0-9a-f]{8}\+/, '+00000000+');
  assert.notEqual((await cli(server, ['audit', 'verify', path, '--key', other])).code, 0);
});

test('rows changed in the database of a running server are named in the next export', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
    ],
  });
  await issue(server, agent, 'web', 20);
  await quiet(server);
  const sql = (text: string): void => {
    const database = new DatabaseSync(join(server.dir, 'data', 'meshca.db'), { timeout: 5000 });
    database.exec(
      'DROP TRIGGER IF EXISTS audit_refuses_update; DROP TRIGGER IF EXISTS audit_refuses_delete',
    );
    database.exec(text);
    database.close();
  };
  const verify = async (
    name: string,
  ): Promise<{
    code: number;
    error: { code: string; sequence?: number } | undefined;
    out: string;
  }> => {
    const path = join(server.dir, `${name}.jsonl`);
    assert.equal((await cli(server, ['audit', 'export', '--out', path])).code, 0);
    const { code, err, out } = await cli(server, ['audit', 'verify', path]);
    return {
      code,
      error:
        err === ''
          ? undefined
          : (JSON.parse(err) as { error: { code: string; sequence?: number } }).error,
      out,
    };
  };
  assert.equal((await verify('good')).code, 0);
  const next = (await newestSequence(server)) + 1;
  sql(
    `INSERT INTO audit SELECT ${next}, time_ms, time_high_ms, actor, kind, subject, ` +
      'canonical, sha256 FROM audit WHERE sequence = 9',
  );
  await issue(server, agent, 'web', 1);
  await until(() => newestSize(server) >= next);
  const foreign = await verify('foreign');
  assert.equal(foreign.code, 1, 'a record that no server wrote is counted');
  assert.deepEqual(
    (JSON.parse(foreign.out) as { out: { sequence: number }[] }).out.map(
      ({ sequence }) => sequence,
    ),
    [next],
  );
  sql('DELETE FROM audit WHERE sequence = 8');
  assert.equal((await verify('deleted')).error?.sequence, 8);
});

test('watch shows each record and new holders; search finds by identity, serial, actor and kind', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  const second = await server.joinAgent('node-2');
  for (const [entryId, parent] of [
    ['web', agent],
    ['web-2', second],
  ] as const) {
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          id: entryId,
          spiffeId: id('/web'),
          parentId: parent.spiffeId,
          selectors: ['unix:uid:1000'],
        },
      ],
    });
  }
  await issue(server, agent, 'web', 1);
  const stop = new AbortController();
  const out: string[] = [];
  const watching = cli(server, ['audit', 'watch', '--identity', id('/web')], {
    signal: stop.signal,
    out,
  });
  const seen = (): { kind: string; newHolder: boolean; detail: { serial: string } }[] =>
    out
      .join('')
      .split('\n')
      .filter((line) => line !== '')
      .map(
        (line) =>
          JSON.parse(line) as { kind: string; newHolder: boolean; detail: { serial: string } },
      );
  // the first that is seen shows that it watches
  await until(async () => {
    await issue(server, agent, 'web', 1);
    return seen().length > 0;
  }, 'it watches');
  await issue(server, second, 'web-2', 1);
  await until(() => seen().some(({ newHolder }) => newHolder));
  const before = seen().length;
  await issue(server, second, 'web-2', 1);
  await until(() => seen().length > before);
  stop.abort();
  assert.equal((await watching).code, 130);
  assert.equal(seen().filter(({ newHolder }) => newHolder).length, 1);
  assert.ok(seen().every(({ kind }) => kind === 'certificate.issued'));
  const serial = seen()[0]?.detail.serial as string;
  const found = async (...args: string[]): Promise<{ canonical: string }[]> =>
    JSON.parse((await cli(server, ['audit', 'search', ...args])).out) as { canonical: string }[];
  const bySerial = await found('--serial', serial);
  assert.ok(bySerial.length === 1 && bySerial[0]?.canonical.includes(serial));
  assert.ok((await found('--identity', id('/web'), '--kind', 'entry.created')).length === 2);
  assert.ok((await found('--actor', second.spiffeId, '--kind', 'certificate.issued')).length >= 2);
  assert.deepEqual(await found('--identity', id('/nobody')), []);
  const refusal = async (subject: string): Promise<string> =>
    String(
      await server.admin('Certificates/MintX509Svid', { spiffeId: subject }).then(
        () => '',
        (error: PkiError) => error.detail['refusalId'],
      ),
    );
  const refused = await refusal(id('/meshca/server'));
  assert.equal((await found('--refusal', refused)).length, 1);
  assert.deepEqual(await found('--refusal', refused, '--kind', 'certificate.refused'), []);
  assert.deepEqual(await found('--refusal', uuidv7()), []);
  const listed = async (...args: string[]): Promise<number[]> =>
    (JSON.parse((await cli(server, ['audit', 'list', ...args])).out) as { sequence: number }[]).map(
      ({ sequence }) => sequence,
    );
  const all = await listed('--limit', '1000');
  const { records } = (await server.admin('Audit/ListAuditRecords', {
    page: { size: 500, token: '' },
    newestFirst: true,
  })) as { records: { kind: string; sequence: number }[] };
  const ofKind = (isWanted: (kind: string) => boolean): number[] =>
    records.filter(({ kind }) => isWanted(kind)).map(({ sequence }) => sequence);
  assert.deepEqual(await listed('--limit', '3'), all.slice(0, 3), 'the newest ones');
  assert.deepEqual(
    all,
    all.toSorted((a, b) => b - a),
    'the newest first',
  );
  assert.deepEqual(await listed('--limit', '2', '--oldest'), [1, 2]);
  assert.deepEqual(
    await listed('--limit', '1000', '--kind', 'certificate.*', '--kind', 'entry.created'),
    ofKind((kind) => kind === 'entry.created' || kind.startsWith('certificate.')),
  );
  assert.deepEqual(
    await listed('--limit', '1000', '--not-kind', 'certificate.*'),
    ofKind((kind) => !kind.startsWith('certificate.')),
  );
  assert.deepEqual(
    await listed('--limit', '1000', '--acts'),
    ofKind((kind) => (actKinds as readonly string[]).includes(kind)),
  );
  const typo = await cli(server, ['audit', 'list', '--kind', 'certificate.isued']);
  assert.equal(typo.code, 2);
  assert.match(typo.err, /did you mean certificate\.issued/);
  const [newest] = all as [number];
  const shown = JSON.parse((await cli(server, ['audit', 'show', String(newest)])).out) as {
    sequence: number;
    detail: object;
    canonical: string;
  };
  assert.equal(shown.sequence, newest);
  assert.ok(shown.canonical.includes(JSON.stringify(shown.detail).slice(1, 40)));
  assert.equal((await cli(server, ['audit', 'show', '999999'])).code, 3);
});

test('a log verifies after certificates and checkpoints were pruned, also against an older checkpoint', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
    ],
  });
  await issue(server, agent, 'web', 30);
  await quiet(server);
  const since = join(server.dir, 'since');
  writeFileSync(since, readFileSync(checkpointFile(server)));
  await server.stop();
  const store = await openStore({
    path: join(server.dir, 'data', 'meshca.db'),
    clock: systemClock,
    logger: silentLogger,
    pid: process.pid,
  });
  // as if it were ten years later
  const clock = {
    ...systemClock,
    now: () => systemClock.now() + 315_360_000,
    nowMs: () => systemClock.nowMs() + 315_360_000_000,
  };
  const events: string[] = [];
  const audit = {
    append: (all: readonly { readonly kind: string }[]) =>
      Promise.resolve(void events.push(...all.map(({ kind }) => kind))),
  };
  const removed = await new Pruner({
    clockBelieved: () => true,
    store: { ...store, audit },
    keepSeconds: 90 * 86_400,
    keepOrdersSeconds: 90 * 86_400,
    holder: 'test',
    clock,
    logger: silentLogger,
  }).round();
  assert.ok(removed.certificates >= 31, JSON.stringify(removed));
  assert.equal(
    (await store.certificates.list({ spiffeId: id('/web') }, 'created', { size: 10 })).items.length,
    0,
  );
  await store.close();
  await server.restart();
  const later = await server.joinAgent('node-2');
  assert.ok(later.serial);
  await quiet(server);
  const path = join(server.dir, 'pruned.jsonl');
  assert.equal((await cli(server, ['audit', 'export', '--out', path])).code, 0);
  const { code, out, err } = await cli(server, ['audit', 'verify', path, '--since', since]);
  assert.equal(code, 0, err);
  const verdict = JSON.parse(out) as { size: number };
  assert.ok(verdict.size > 40);
  assert.deepEqual(events, ['inventory.pruned']);
});
