import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { policySha256 } from '../../../src/common/policy/index.ts';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { codeOf, startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';

const td = `spiffe://${testTrustDomain}`;
let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server?.[Symbol.asyncDispose]());

const policy = (...rules: readonly object[]): string => JSON.stringify({ meshcaPolicy: 1, rules });
const allowAll = { name: 'all', effect: 'allow' };
const noRoot = {
  name: 'no-boss',
  effect: 'deny',
  message: 'not by hand',
  spiffeIds: [`${td}/boss`],
};

async function run(...args: readonly string[]): Promise<CommandEnd> {
  return runCommand(server, ['policy', ...args]);
}
function activate(text: string): Promise<CommandEnd> {
  const file = join(server.dir, 'policy.yaml');
  writeFileSync(file, text);
  return run('activate', file, '--reason', 'a test', '--yes');
}
const minted = (path: string): Promise<string> => codeOf(server.mint(`${td}${path}`));
/** What the newest record of this kind states of the policy. */
async function decisionIn(kind: string): Promise<readonly unknown[]> {
  const args = ['audit', 'list', '--kind', kind, '--json'];
  const { code, out } = await runCommand(server, args);
  assert.equal(code, 0, out);
  const records = JSON.parse(out) as readonly {
    readonly sequence: number;
    readonly detail: Readonly<Record<string, unknown>>;
  }[];
  const [newest] = records.toSorted((left, right) => right.sequence - left.sequence);
  const { policyVersion, policyRule, policyFacts } = newest?.detail ?? {};
  return [policyVersion, policyRule, /^[0-9a-f]{64}$/.test(String(policyFacts))];
}

test('without a policy everything is issued that the rights allow', async () => {
  assert.equal(await minted('/boss'), 'resolved');
  assert.match((await run('show')).out, /the built-in policy/);
  assert.match((await run('list')).out, /no policy was activated/);
});

test('an activated policy narrows at once, on record, and outlasts a restart', async () => {
  const { code, out, err } = await activate(policy(noRoot, allowAll));
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /version 1 of the policy is in force/);
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  assert.equal(await minted('/web'), 'resolved');
  await server.restart();
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  assert.equal(await minted('/web'), 'resolved');
  assert.match((await run('show')).out, /version +1, in force/);
});

test('agents, the server and its authorities are not subject to it', async () => {
  assert.equal((await activate(policy({ ...noRoot, spiffeIds: [`${td}/**`] }))).code, 0);
  assert.equal(await minted('/web'), 'POLICY_DENIED');
  assert.ok((await server.joinAgent('node-1')).serial);
  await server.restart();
  assert.equal(await minted('/web'), 'POLICY_DENIED');
  assert.ok((await server.joinAgent('node-2')).serial);
});

test('a rollback puts an earlier version in force as a new one', async () => {
  const { code, out } = await run('rollback', '1', '--reason', 'too narrow', '--yes');
  assert.equal(code, 0);
  assert.match(out, /version 3 of the policy/);
  assert.equal(await minted('/web'), 'resolved');
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  const versions = JSON.parse((await run('list', '--json')).out) as readonly {
    readonly version: number;
    readonly inForce: boolean;
  }[];
  assert.deepEqual(
    versions.map(({ version, inForce }) => [version, inForce]),
    [
      [3, true],
      [2, false],
      [1, false],
    ],
  );
});

test('a policy with faults, an old version and a caller without rights change nothing', async () => {
  const faulty = await activate(policy({ ...allowAll, kind: ['workload'] }));
  assert.match(faulty.err, /error POLICY_INVALID/);
  const call = (version: number, text = policy(allowAll)) =>
    codeOf(server.admin('Policies/ActivatePolicy', { text, version, reason: 'x' }));
  assert.equal(await call(2), 'CONFLICT');
  const unknown = await runCommand(server, ['policy', 'show', '99']);
  assert.equal(unknown.code, 3);
  assert.match(unknown.err, /meshca policy list/);
  assert.equal(await call(3, 'nonsense'), 'POLICY_INVALID');
  assert.equal(
    await codeOf(
      server.admin('Policies/ActivatePolicy', { text: policy(allowAll), version: 3, reason: '' }),
    ),
    'INVALID_REQUEST',
  );
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
});

test('records state the version, the rule and the facts of each decision', async () => {
  await minted('/web');
  assert.deepEqual(await decisionIn('certificate.issued'), [3, 'all', true]);
  await minted('/boss');
  assert.deepEqual(await decisionIn('certificate.refused'), [3, 'no-boss', true]);
});

test('a policy that was altered or taken away in the database lets nothing pass', async () => {
  const path = join(server.config.dataDir, 'meshca.db');
  const kept = foreignSql(path, (database) => {
    const row = database.prepare('SELECT * FROM issuance_policies WHERE version = 3').get();
    database.exec('DELETE FROM issuance_policies WHERE version = 3');
    return row as Record<string, string | number | Buffer>;
  });
  // the process knows it, and the row of the version before grants nothing
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  assert.notEqual(await minted('/web'), 'resolved');
  const columns = Object.keys(kept);
  foreignSql(path, (database) =>
    database
      .prepare(
        `INSERT INTO issuance_policies (${columns.join()}) VALUES (${columns.map(() => '?').join()})`,
      )
      .run(...Object.values(kept)),
  );
  assert.equal(await minted('/web'), 'resolved');
  foreignSql(path, (database) =>
    database.prepare('UPDATE issuance_policies SET sha256 = zeroblob(32) WHERE version = 3').run(),
  );
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  assert.equal(await minted('/web'), 'OBJECT_NOT_IN_LOG');
});

test('a start with an altered policy issues only what is subject to none, until another is activated', async () => {
  const sha256 = (value: Buffer) =>
    foreignSql(join(server.config.dataDir, 'meshca.db'), (database) =>
      database.prepare('UPDATE issuance_policies SET sha256 = ? WHERE version = 3').run(value),
    );
  sha256(Buffer.from(policySha256(policy(noRoot, allowAll)), 'hex'));
  await server.stop();
  foreignSql(join(server.config.dataDir, 'meshca.db'), (database) =>
    database
      .prepare('UPDATE issuance_policies SET text = ? WHERE version = 3')
      .run(policy(allowAll)),
  );
  await server.restart();
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  assert.equal(await minted('/web'), 'POLICY_DENIED');
  assert.ok((await server.joinAgent('node-3')).serial);
  assert.match((await run('show')).err, /error OBJECT_NOT_IN_LOG/);
  const text = policy(noRoot, allowAll);
  await server.admin('Policies/ActivatePolicy', { text, version: 3, reason: 'put right' });
  assert.equal(await minted('/web'), 'resolved');
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
});

test('no character of a policy moves the cursor of who reads it, or shows another text', async () => {
  const text = `# deny \u202eyned\u202c \u009b2J\ttext\n${policy(allowAll)}\n`;
  assert.equal((await activate(text)).code, 0);
  const { out } = await run('show');
  assert.match(out, /# deny \ufffdyned\ufffd \ufffd2J {2}text\n/);
  const json = (await run('show', '--json')).out;
  assert.ok(!/[\u0080-\u009f\u202a-\u202e]/.test(json));
  assert.equal((JSON.parse(json) as { readonly text: string }).text, text);
  const file = join(server.dir, 'policy.yaml');
  const refused = await run('activate', file, '--reason', 'a\u001b[2Jb', '--yes');
  assert.match(refused.err, /error INVALID_REQUEST/);
});
