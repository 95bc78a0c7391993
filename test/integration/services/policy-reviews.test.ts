import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CliContext } from '../../../src/cli/context.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import { entryCertificate } from '../../support/entry-certificate.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import {
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { until } from '../../support/until.ts';

const td = `spiffe://${testTrustDomain}`;
let server: TestServer;
let agent: Credential;
let web: Credential;
let boss: Credential;
before(async () => {
  server = await startTestServer();
  web = await entryCertificate(server, { id: 'web', spiffeId: `${td}/web` });
  agent = await server.joinAgent('node-9');
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'api', spiffeId: `${td}/api`, parentId: agent.spiffeId, selectors: ['unix:uid:0'] },
    ],
  });
  boss = await server.mint(`${td}/boss`, { ttlSeconds: 3600 });
  await token();
});
after(() => server?.[Symbol.asyncDispose]());

const token = (): Promise<unknown> =>
  unaryCall(server.client(agent), '/meshca.issuer.v1.AgentIssuer/SignJwtSvid', {
    requestId: uuidv7(),
    entryId: 'api',
    audience: ['billing'],
  });
const policy = (...rules: readonly object[]): string => JSON.stringify({ meshcaPolicy: 1, rules });
const all = { name: 'all', effect: 'allow' };
const noBoss = { name: 'no-boss', effect: 'deny', spiffeIds: [`${td}/boss`] };
const noTokens = { name: 'no-tokens', effect: 'deny', kinds: ['jwt-svid'], message: 'no tokens' };
const narrow = policy(all, noBoss, noTokens);

function file(text: string, name = 'policy.yaml'): string {
  const path = join(server.dir, name);
  writeFileSync(path, text);
  return path;
}
const run = (...args: readonly string[]): Promise<CommandEnd> =>
  runCommand(server, ['policy', ...args]);

async function parsed<T>(...args: readonly string[]): Promise<T> {
  const { code, out, err } = await run(...args, '--json');
  assert.equal(code, 0, err);
  return JSON.parse(out) as T;
}
interface Replayed {
  readonly groups: readonly Readonly<Record<string, string | number>>[];
  readonly totals: Readonly<Record<string, number>>;
}
const refusalOf = async (call: Promise<unknown>): Promise<string> => {
  const error = await call.then(
    () => assert.fail('it was not refused'),
    (thrown: unknown) => PkiError.from(thrown),
  );
  return String(error.detail['refusalId']);
};

test('a replay under the built-in policy says who would lose what, by identity, rule and caller', async () => {
  const path = file(narrow);
  const { groups, totals } = await parsed<Replayed>('replay', path, '--since', '1h');
  assert.deepEqual(
    groups.map(({ change, identity, kind, rule, caller, count }) => [
      ...[change, identity, kind, rule, count],
      String(caller).replace(/^uid:\d+$/, 'uid'),
    ]),
    [
      ['lost', `${td}/api`, 'jwt-svid', 'no-tokens', 1, agent.spiffeId],
      ['lost', `${td}/boss`, 'workload', 'no-boss', 1, 'uid'],
    ],
  );
  // two agents and the server are not subject to it
  assert.deepEqual([totals['decided'], totals['lost'], totals['older']], [3, 2, 0]);
  assert.deepEqual([totals['differing'], totals['unproven']], [0, 0]);
  const terminal = { isTerminal: true, columns: 80, color: false };
  const shown = await runCommand(server, ['policy', 'replay', path], { terminal });
  assert.match(shown.out, /would be denied:/);
  assert.match(shown.out, /2 that were issued/);
  assert.ok(shown.out.split('\n').every((line) => line.length <= 80));
});

test('an audit export is replayed without a server, and an altered one is refused', async () => {
  const path = file(narrow);
  const online = await parsed<Replayed>('replay', path);
  let exported = '';
  let offline: Replayed = { groups: [], totals: {} };
  // records that wait for the tree are vouched for by nothing but the file
  await until(async () => {
    exported = join(server.dir, `audit-${uuidv7()}.jsonl`);
    assert.equal((await runCommand(server, ['audit', 'export', '--out', exported])).code, 0);
    offline = await parsed<Replayed>('replay', path, '--export', exported);
    return offline.totals['unproven'] === 0;
  });
  assert.deepEqual(offline.groups, online.groups);
  assert.equal(offline.totals['lost'], 2);
  const text = readFileSync(exported, 'utf8');
  const altered = text.replace('\\"callerClass\\":\\"agent\\"', '\\"callerClass\\":\\"admin\\"');
  assert.notEqual(altered, text);
  const refused = await run('replay', path, '--export', file(altered, 'altered.jsonl'));
  assert.match(refused.err, /error AUDIT_INVALID/);
  assert.equal(refused.out, '');
});

test('a replay of a time that makes no sense is refused, and one of a time without records is empty', async () => {
  const path = file(narrow);
  for (const args of [
    ['--since', '1h', '--from', '2026-01-01'],
    ['--from', 'yesterday'],
    ['--from', '2026-02-01', '--to', '2026-01-01'],
  ])
    assert.match((await run('replay', path, ...args)).err, /error INVALID_REQUEST/);
  const none = await parsed<Replayed>('replay', path, '--from', '2020-01-01', '--to', '2020-01-02');
  assert.deepEqual([none.groups, none.totals['records']], [[], 0]);
});

test('an interrupted replay ends at once', async () => {
  const interrupted = new AbortController();
  interrupted.abort();
  const given: Partial<CliContext> = { signal: interrupted.signal };
  const { code } = await runCommand(server, ['policy', 'replay', file(narrow)], given);
  assert.equal(code, 130);
});

test('an activation names the live identities that would lose renewal, and asks', async () => {
  const path = file(narrow);
  const args = ['policy', 'activate', path, '--reason', 'a test'];
  const asked: string[] = [];
  const no = await runCommand(server, args, {
    ask: async (question) => {
      asked.push(question);
      return false;
    },
  });
  assert.match(no.err, /error CANCELLED/);
  assert.match(no.out, /\/boss .*no-boss/);
  assert.match(no.out, /\/api .*no-tokens/);
  assert.doesNotMatch(no.out, /\/web/);
  assert.match(
    asked.join(),
    /^2 live identities \(2 certificates\) would lose their renewal\. Put/,
  );
  const dry = await parsed<{ renewalTotals: Record<string, unknown> }>(
    ...args.slice(1),
    '--dry-run',
  );
  assert.deepEqual(dry.renewalTotals, {
    identities: 2,
    certificates: 2,
    live: 3,
    unknown: 0,
    unproven: 0,
    records: dry.renewalTotals['records'],
    complete: true,
    version: 0,
  });
  assert.match((await run('show')).out, /built-in/);
  const done = await parsed<{ version: number; renewalLosses: readonly { identity: string }[] }>(
    ...args.slice(1),
    '--yes',
  );
  assert.equal(done.version, 1);
  assert.deepEqual(done.renewalLosses.map(({ identity }) => identity).toSorted(), [
    `${td}/api`,
    `${td}/boss`,
  ]);
});

test('what the policy in force denies already is no loss of the next one', async () => {
  const wider = file(policy(all, noBoss));
  const { out } = await run('activate', wider, '--reason', 'x', '--dry-run');
  assert.equal(out, '');
  const stale = server.admin('Policies/ActivatePolicy', { text: narrow, version: 0, reason: 'x' });
  assert.equal(await codeOf(stale), 'CONFLICT');
});

test('refusals are on record with their facts: a replay says what would be allowed', async () => {
  await refusalOf(server.mint(`${td}/boss`));
  await refusalOf(token());
  const { groups } = await parsed<Replayed>('replay', file(policy(all)));
  assert.deepEqual(
    groups
      .map(({ change, identity, kind, rule }) => [change, identity, kind, rule].join(' '))
      .toSorted(),
    [`gained ${td}/api jwt-svid all`, `gained ${td}/boss workload all`],
  );
});

test('explain shows which rule decided a certificate, a token or a refusal, and why the others did not', async () => {
  const refused = await run('explain', await refusalOf(server.mint(`${td}/boss`)));
  assert.equal(refused.code, 0, refused.err);
  assert.match(refused.out, /recorded +denied by version 1, rule no-boss/);
  assert.match(refused.out, /deny no-boss matches/);
  assert.match(refused.out, /deny no-tokens does not match: kinds \(it has workload\)/);
  const jwt = await run('explain', await refusalOf(token()));
  assert.match(jwt.out, /audiences +billing/);
  assert.match(jwt.out, /deny no-tokens matches/);
  const serial = await run('explain', web.serial);
  assert.match(serial.out, /recorded +allowed by the built-in policy/);
  const { rules, allowed } = await parsed<{ rules: readonly object[]; allowed: boolean }>(
    'explain',
    boss.serial,
    '--policy',
    'in-force',
  );
  assert.deepEqual([rules.length, allowed], [3, false]);
  for (const [id, code] of [
    [agent.serial, 'INVALID_REQUEST'],
    ['0'.repeat(32), 'NOT_FOUND'],
    [uuidv7(), 'NOT_FOUND'],
    ['boss', 'INVALID_REQUEST'],
  ] as const)
    assert.match((await run('explain', id)).err, new RegExp(`error ${code}`), id);
});

test('explain decides one request of a file by any policy', async () => {
  const request = file(`{kind: workload, spiffeId: ${td}/boss, ttl: 1h}`, 'request.yaml');
  const inForce = await run('explain', '--request', request);
  assert.match(inForce.out, /decision +denied by version 1, rule no-boss/);
  const offline = await run('explain', '--request', request, '--policy', file(policy(all)));
  assert.match(offline.out, /allow all matches/);
  const faulty = file('{kind: workloads, spiffeid: x}', 'faulty.yaml');
  assert.match((await run('explain', '--request', faulty)).err, /error POLICY_INVALID.*faulty/s);
  assert.match((await run('explain')).err, /error INVALID_REQUEST/);
});

test('diff tells versions and files apart in words', async () => {
  const changed = policy(all, { ...noBoss, spiffeIds: [`${td}/boss`, `${td}/chief`] });
  const { out } = await run('diff', 'in-force', file(changed));
  assert.match(out, /rule no-boss \(deny\) was changed\n  spiffeIds has also .*\/chief/);
  assert.match(out, /rule no-tokens \(deny\) was removed/);
  assert.match((await run('diff', '1', file(narrow))).out, /have the same rules/);
});

test('a rollback shows the losses too', async () => {
  const activated = await run('activate', file(policy(all)), '--reason', 'wide', '--yes');
  assert.match(activated.out, /version 2 of the policy/);
  await server.mint(`${td}/boss`);
  const { code, out } = await run('rollback', '1', '--reason', 'narrow again', '--yes');
  assert.equal(code, 0);
  assert.match(out, /would lose their renewal/);
  assert.match(out, /\/boss/);
});

test('an operator in a hurry leaves the look at the losses out', async () => {
  const args = ['policy', 'activate', file(policy(all, noBoss)), '--reason', 'now', '--no-losses'];
  const { out, err } = await runCommand(server, args, {
    ask: async (question) => {
      assert.match(question, /^Put the policy of/);
      return false;
    },
  });
  assert.equal(out, '');
  assert.match(err, /error CANCELLED/);
});

test('all of it requires policy.read on the whole trust domain', async () => {
  await server.admin('Roles/PutRole', {
    role: {
      name: 'readers',
      verbs: ['audit.read'],
      prefixes: [`${td}/`],
      members: [`${td}/reader`],
    },
  });
  const reader = await server.mint(`${td}/reader`, { admin: true });
  const client = server.client(reader);
  const denied = unaryCall(client, '/meshca.admin.v1.Policies/GetPolicyDecision', {
    id: boss.serial,
  });
  assert.equal(await codeOf(denied), 'ROLE_MISSING');
});

test('a policy that can not be read is replaced by its number', async () => {
  const path = join(server.config.dataDir, 'meshca.db');
  foreignSql(path, (database) =>
    database.prepare('UPDATE issuance_policies SET text = ? WHERE version = 3').run(policy(all)),
  );
  const args = ['activate', file(policy(all, noBoss)), '--reason', 'put right', '--yes'];
  const lost = await run(...args);
  assert.match(lost.err, /error OBJECT_NOT_IN_LOG/);
  assert.match(lost.err, /--over VERSION/);
  const { code, out, err } = await run(...args, '--over', '3');
  assert.equal(code, 0, err);
  assert.match(out, /version 4 of the policy is in force/);
});
