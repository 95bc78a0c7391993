import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCommand, type CommandEnd } from '../../../support/command.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { sshKey, sshSign } from '../../../support/ssh.ts';

let server: TestServer;
let dir: string;

/** The commands of docs/dual-control.md, as a person types them. */
const run = (...args: readonly string[]): Promise<CommandEnd> => runCommand(server, args);
const heldId = (err: string): string =>
  /operation ([0-9a-f-]{36})/.exec(err)?.[1] ?? assert.fail(err);
const key = (name: string): string => join(dir, name);

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-dual-cli-'));
  server = await startTestServer();
  for (const name of ['alice', 'bob', 'carol', 'dave']) await sshKey(dir, name);
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

test('the CLI switches dual control on, approves here and elsewhere, and verifies offline', async () => {
  const enable = await run(
    'dual-control',
    'enable',
    '--required',
    '2',
    '--approver',
    `alice=${key('alice.pub')}`,
    '--approver',
    `bob=${key('bob.pub')}`,
    '--approver',
    `carol=${key('carol.pub')}`,
    '--identity',
    'alice=spiffe://mesh.test/admin/alice',
    '--life',
    '2h',
  );
  assert.equal(enable.code, 7, enable.err);
  const enabling = heldId(enable.err);
  assert.match((await run('dual-control', 'show')).out, /dual control\s+off/);
  for (const name of ['alice', 'bob'])
    assert.equal(
      (await run('approval', 'sign', enabling, '--ssh-key', key(name), '--yes')).code,
      0,
    );
  const shown = await run('dual-control', 'show');
  assert.match(shown.out, /on: 2 of 3 approvers/);
  assert.match(shown.out, /carol {5}ssh-ed25519 SHA256:/);

  const held = await run(
    'role',
    'set',
    'night-shift',
    '--verb',
    'agent.ban',
    '--prefix',
    'spiffe://mesh.test/',
    '--json',
  );
  assert.equal(held.code, 7);
  const id = (JSON.parse(held.err) as { error: { operationId: string } }).error.operationId;
  assert.match((await run('approval', 'list')).out, new RegExp(`${id} +pending .*Roles/PutRole`));
  const show = await run('approval', 'show', id, '--line-out', key('line'));
  assert.match(show.out, /\+ name: "night-shift"/);
  assert.match(show.out, /could still approve: alice, bob, carol/);

  // on a machine without a way to the server
  await writeFile(
    key('bob.sig'),
    await sshSign(dir, key('bob'), await readFile(key('line')), {
      namespace: 'meshca-approval@v1',
    }),
  );
  assert.match(
    (await run('approval', 'submit', id, '--signature', key('bob.sig'))).out,
    /approved; 1 of 2/,
  );
  const wrong = await run(
    'approval',
    'sign',
    id,
    '--ssh-key',
    key('carol'),
    '--yes',
    '--sha256',
    '0'.repeat(64),
  );
  assert.match(wrong.err, /APPROVAL_NOT_OPEN/);
  const stranger = await run('approval', 'sign', id, '--ssh-key', key('dave'), '--yes');
  assert.deepEqual([stranger.code, /APPROVAL_NOT_COUNTED/.test(stranger.err)], [4, true]);
  assert.match(
    (await run('approval', 'sign', id, '--ssh-key', key('carol'), '--yes')).out,
    /is executed/,
  );
  assert.match((await run('role', 'list')).out, /night-shift/);
  assert.match((await run('approval', 'result', id)).out, /"name": "night-shift"/);

  await writeFile(key('evidence.json'), (await run('approval', 'show', id, '--json')).out);
  const policySha = (
    JSON.parse((await run('dual-control', 'show', '--json')).out) as { sha256: string }
  ).sha256;
  const verified = await run(
    'approval',
    'verify',
    key('evidence.json'),
    '--policy-sha256',
    policySha,
  );
  assert.deepEqual(
    [verified.code, /bob \(SHA256:/.test(verified.out), /carol \(SHA256:/.test(verified.out)],
    [0, true, true],
    verified.err,
  );
  assert.notEqual(
    (await run('approval', 'verify', key('evidence.json'), '--policy-sha256', 'f'.repeat(64))).code,
    0,
  );
});

test('a certificate minted under dual control is collected for its waiting key', async () => {
  const mint = await run(
    'mint',
    '--admin',
    '--spiffe-id',
    'spiffe://mesh.test/admin/erin',
    '--write',
    dir,
  );
  assert.equal(mint.code, 7);
  const id = heldId(mint.err);
  assert.match(mint.err, new RegExp(`meshca mint --result ${id}`));
  assert.equal(
    (await run('mint', '--result', id, '--write', dir)).code,
    3,
    'nothing is there before it is approved',
  );
  for (const name of ['alice', 'bob'])
    assert.equal((await run('approval', 'sign', id, '--ssh-key', key(name), '--yes')).code, 0);
  const elsewhere = join(dir, 'elsewhere');
  await mkdir(elsewhere);
  assert.equal(
    (await run('mint', '--result', id, '--write', elsewhere)).code,
    3,
    'without its key the result is not taken',
  );
  const brought = await run('mint', '--result', id, '--write', dir, '--json');
  assert.equal(brought.code, 0, brought.err);
  assert.equal(
    (JSON.parse(brought.out) as { spiffeId: string }).spiffeId,
    'spiffe://mesh.test/admin/erin',
  );
  const leaf = new X509Certificate(await readFile(key('svid.pem')));
  assert.ok(leaf.checkPrivateKey(createPrivateKey(await readFile(key('key.pem')))));
  assert.match(await readFile(key('bundle.pem'), 'utf8'), /BEGIN CERTIFICATE/);
  assert.deepEqual(
    (await readdir(dir)).filter((name) => name.startsWith('key.')),
    ['key.pem'],
  );
});

test('approvers are added and removed by approval, and a waiting call is withdrawn', async () => {
  const add = heldId(
    (
      await run(
        'dual-control',
        'add-approver',
        'dave',
        '--public-key',
        key('dave.pub'),
        '--valid',
        '30d',
      )
    ).err,
  );
  for (const name of ['alice', 'carol'])
    await run('approval', 'sign', add, '--ssh-key', key(name), '--yes');
  assert.match((await run('dual-control', 'show')).out, /dave .*until 2/);
  const remove = heldId((await run('dual-control', 'remove-approver', 'bob')).err);
  for (const name of ['dave', 'carol'])
    await run('approval', 'sign', remove, '--ssh-key', key(name), '--yes');
  assert.doesNotMatch((await run('dual-control', 'show')).out, /bob/);
  const raise = heldId((await run('dual-control', 'require', '3')).err);
  assert.match(
    (await run('approval', 'withdraw', raise, '--reason', 'thought again')).out,
    /withdrawn/,
  );
  assert.match((await run('approval', 'list')).out, /no operation waits/);
  assert.match((await run('approval', 'list', '--all')).out, /withdrawn/);
  const off = heldId((await run('dual-control', 'disable')).err);
  for (const name of ['dave', 'alice'])
    await run('approval', 'sign', off, '--ssh-key', key(name), '--yes');
  assert.equal((await run('role', 'delete', 'night-shift')).code, 0);
});
