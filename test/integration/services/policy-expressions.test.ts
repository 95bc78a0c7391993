import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Logger } from '../../../src/common/runtime/index.ts';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { runCommand } from '../../support/command.ts';
import { codeOf, startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';

const td = `spiffe://${testTrustDomain}`;
const alerts: unknown[] = [];
const logger: Logger = {
  ...silentLogger,
  error: (fields) => {
    if ('rule' in fields) alerts.push(fields);
  },
  child: () => logger,
};
let server: TestServer;
before(async () => {
  server = await startTestServer({ logger });
});
after(() => server?.[Symbol.asyncDispose]());

async function activate(when: string): Promise<void> {
  const file = join(server.dir, 'policy.yaml');
  const rules = [{ name: 'by-expression', effect: 'allow', when }];
  writeFileSync(file, JSON.stringify({ meshcaPolicy: 1, rules }));
  const args = ['policy', 'activate', file, '--reason', 'a test', '--yes'];
  const { code, err } = await runCommand(server, args);
  assert.deepEqual([code, err], [0, '']);
}
const minted = (path: string): Promise<string> => codeOf(server.mint(`${td}${path}`));

async function counted(name: string): Promise<readonly string[]> {
  const answer = await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`);
  return (await answer.text()).split('\n').filter((line) => line.startsWith(`${name}{`));
}

test('an expression decides each issuance, also after a restart', async () => {
  await activate('request.path.size() == 2 && request.path[0] == "ns"');
  assert.equal(await minted('/ns/web'), 'resolved');
  assert.equal(await minted('/web'), 'POLICY_DENIED');
  await server.restart();
  assert.equal(await minted('/ns/web'), 'resolved');
  assert.equal(await minted('/web'), 'POLICY_DENIED');
});

test('an expression that fails denies, counts and is announced, until another policy is activated', async () => {
  await activate('request.path[1] == "web"');
  assert.equal(await minted('/ns/web'), 'resolved');
  assert.deepEqual(alerts, []);
  assert.equal(await minted('/web'), 'POLICY_FAILED');
  assert.equal(await minted('/web'), 'POLICY_FAILED');
  assert.deepEqual(alerts, [
    {
      code: 'POLICY_FAILED',
      version: 2,
      rule: 'by-expression',
      reason: 'it reads an item beyond the end of a list',
      alert: true,
    },
  ]);
  assert.deepEqual(await counted('meshca_policy_failures_total'), [
    'meshca_policy_failures_total{rule="by-expression"} 2',
  ]);
  assert.ok(
    (await counted('meshca_policy_denials_total')).includes(
      'meshca_policy_denials_total{rule="by-expression"} 2',
    ),
  );
  await activate('request.path.exists(segment, segment == "web")');
  assert.equal(await minted('/web'), 'resolved');
});

test('a policy whose expression has a misspelt field is refused at the server as well', async () => {
  const rules = [{ name: 'misspelt', effect: 'allow', when: 'request.spiffeid == "x"' }];
  const call = server.admin('Policies/ActivatePolicy', {
    text: JSON.stringify({ meshcaPolicy: 1, rules }),
    version: 3,
    reason: 'a test',
  });
  assert.equal(await codeOf(call), 'POLICY_INVALID');
  assert.equal(await minted('/web'), 'resolved');
});
