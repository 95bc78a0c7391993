import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../../src/cli/program.ts';
import { testContext } from '../../support/command.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'meshca-policy-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

async function run(...args: readonly string[]) {
  const { context, seen } = testContext({ now: () => Date.parse('2026-11-30T09:30:00Z') / 1000 });
  const code = await runCli(['policy', ...args], context);
  return { code, ...seen };
}

const policy = (production: string): string => `
meshcaPolicy: 1
description: short lives in production
rules:
  - name: no-rsa
    effect: deny
    keyTypes: [rsa-2048, rsa-3072, rsa-4096]
  - name: production
    effect: allow
    spiffeIds: [spiffe://td.test/ns/${production}/**]
    ttl: {max: 1h}
`;
const cases = `
cases:
  - name: web of production
    expect: allow
    rule: production
    request: {kind: workload, spiffeId: spiffe://td.test/ns/prod/web, ttl: 1h}
  - name: a life too long
    expect: deny
    request: {kind: workload, spiffeId: spiffe://td.test/ns/prod/web, ttl: 2h}
  - name: an RSA key
    expect: deny
    rule: no-rsa
    request: {kind: workload, spiffeId: spiffe://td.test/ns/prod/web, ttl: 1h, keyType: rsa-2048}
`;

test('a policy with faults is refused with each of them, and passes once they are mended', async () => {
  const faulty = policy('prod').replace('keyTypes', 'keyType').replace('max: 1h', 'max: 1 h');
  const path = file('faulty.yaml', faulty);
  const refused = await run('check', path);
  assert.match(refused.err, /error POLICY_INVALID/);
  assert.ok(refused.err.includes(path));
  const flat = refused.err.replaceAll(/\s+/g, ' ');
  assert.match(flat, /rules "no-rsa": unknown key "keyType"; did you mean keyTypes/);
  assert.match(flat, /rules "production" ttl.max: "1 h" is no duration/);
  const taken = await run('check', file('faulty.yaml', policy('prod')));
  assert.equal(taken.code, 0, taken.err);
  assert.match(taken.out, /1 allow, 1 deny/);
});

test('a check as JSON has the digest, and the conditions of each rule', async () => {
  const { code, out } = await run('check', file('policy.yaml', policy('prod')), '--json');
  assert.equal(code, 0);
  const { rules, sha256 } = JSON.parse(out);
  assert.match(sha256, /^[0-9a-f]{64}$/);
  assert.deepEqual(rules, [
    { name: 'no-rsa', effect: 'deny', conditions: ['keyTypes'] },
    { name: 'production', effect: 'allow', conditions: ['spiffeIds', 'ttl'] },
  ]);
});

test('a case that the policy decides otherwise fails the test, with the rule that decided', async () => {
  const expected = file('cases.yaml', cases);
  const failed = await run('test', file('policy.yaml', policy('staging')), '--cases', expected);
  assert.equal(failed.code, 1);
  assert.match(failed.err, /error POLICY_TEST_FAILED/);
  assert.match(failed.err, /1 of 3 cases/);
  assert.match(failed.out, /web of production +FAILED +deny +\(none matches\)/);
  assert.match(failed.out, /web of production: deny no-rsa does not match: keyTypes/);
  assert.match(failed.out, /web of production: allow production does not match: spiffeIds/);
  const passed = await run('test', file('policy.yaml', policy('prod')), '--cases', expected);
  assert.deepEqual([passed.code, passed.err], [0, '']);
  assert.match(passed.out, /an RSA key +passed +deny +no-rsa/);
});

test('the rule that must decide is compared too', async () => {
  const wrong = file('cases.yaml', cases.replace('rule: no-rsa', 'rule: production'));
  const { code, out } = await run(
    'test',
    file('policy.yaml', policy('prod')),
    '--cases',
    wrong,
    '--json',
  );
  assert.equal(code, 1);
  const outcomes = JSON.parse(out) as readonly {
    readonly name: string;
    readonly passed: boolean;
  }[];
  assert.deepEqual(
    outcomes.map(({ passed }) => passed),
    [true, true, false],
  );
});

test('cases with faults are refused with each of them', async () => {
  const path = file('policy.yaml', policy('prod'));
  for (const [text, message] of [
    ['cases: []', /cases: it is empty/],
    [
      'cases: [{name: a, expect: yes, request: {kind: workload}}]',
      /cases "a" expect: it is allow or deny/,
    ],
    [
      'cases: [{name: a, expect: deny, request: {kind: agent}}]',
      /cases "a" request.kind: it is one of/,
    ],
    [
      'cases: [{name: a, expect: deny, request: {kind: jwt-svid, audience: [x]}}]',
      /unknown key "audience"; did you mean audiences/,
    ],
    [
      'cases: [{name: a, expect: deny, request: {kind: jwt-svid, ttl: 1 h}}]',
      /request.ttl: "1 h" is no duration/,
    ],
    [
      'cases: [{name: a, expect: deny, request: {kind: jwt-svid, at: today}}]',
      /request.at: "today" is no instant/,
    ],
  ] as const) {
    const { code, err } = await run('test', path, '--cases', file('cases.yaml', text));
    assert.equal(code, 2);
    assert.match(err.replaceAll(/\s+/g, ' '), message);
    assert.match(err, /next: [^]*docs\/policy.md has a file of cases/);
  }
});

test('a file of one request with faults is refused, and says what the file has', async () => {
  const path = file('request.yaml', 'request: {kind: workload}');
  const { code, err } = await run(
    ...['explain', '--request', path, '--policy', file('policy.yaml', policy('prod'))],
  );
  assert.equal(code, 2);
  assert.match(err, /unknown key "request"[^]*next: [^]*fields of one request alone/);
});

test('the cases of docs/policy.md are decided by its policy as the page says', async () => {
  const page = readFileSync(
    new URL('../docs/policy.md', import.meta.resolve('#proto/README.md')),
    'utf8',
  );
  const blocks = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block = '']) => block);
  const expected = blocks.find((block) => block.startsWith('cases:')) ?? '';
  // the page shows the policy, and further rules for it
  const rules = blocks.filter((block) => block !== expected).join('');
  assert.match(rules, /when: /);
  const paths = [file('page.yaml', rules), '--cases', file('page-cases.yaml', expected)];
  const { code, out, err } = await run('test', ...paths);
  assert.equal(code, 0, out + err);
  assert.match(out, /a long life in production +passed +deny/);
});
