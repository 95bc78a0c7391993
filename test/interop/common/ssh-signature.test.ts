import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  parseSshPublicKey,
  parseSshSignature,
  verifySshSignature,
} from '../../../src/common/ssh-signature/index.ts';
import { SoftSecurityKey, sshKey, sshSign } from '../../support/ssh.ts';

const run = promisify(execFile);
const namespace = 'meshca-approval@v1';
const message = 'approve this\n';
let dir: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-sshsig-'));
});
after(async () => rm(dir, { recursive: true, force: true }));

for (const [type, bits, hash] of [
  ['ed25519', undefined, 'sha512'],
  ['ed25519', undefined, 'sha256'],
  ['ecdsa', 256, 'sha512'],
  ['rsa', 2048, 'sha512'],
  ['rsa', 3072, 'sha256'],
] as const) {
  test(`a signature by ssh-keygen (${type} ${bits ?? ''}, ${hash}) verifies with its fingerprint`, async () => {
    const { keyPath, publicKey } = await sshKey(dir, `${type}-${bits ?? ''}-${hash}`, type, bits);
    const signature = unwrap(
      parseSshSignature(await sshSign(dir, keyPath, message, { namespace, hash })),
    );
    const facts = unwrap(verifySshSignature(signature, Buffer.from(message), namespace));
    const enrolled = unwrap(parseSshPublicKey(publicKey));
    assert.ok(facts.publicKey.blob.equals(enrolled.blob));
    const { stdout } = await run('ssh-keygen', ['-l', '-f', `${keyPath}.pub`]);
    assert.equal(stdout.split(' ')[1], enrolled.fingerprint);
    assert.equal(verifySshSignature(signature, Buffer.from('approve that\n'), namespace).ok, false);
    assert.equal(verifySshSignature(signature, Buffer.from(message), 'git').ok, false);
  });
}

test('ssh-keygen takes the vectors of security keys with which our check is tested', async () => {
  for (const kind of ['ed25519', 'ecdsa'] as const) {
    const token = new SoftSecurityKey(kind);
    const armored = token.sign(message, namespace);
    assert.ok(
      verifySshSignature(unwrap(parseSshSignature(armored)), Buffer.from(message), namespace).ok,
    );
    await writeFile(
      join(dir, 'allowed'),
      `token@test namespaces="${namespace}" ${token.publicKey}\n`,
    );
    await writeFile(join(dir, 'token.sig'), armored);
    const verified = run('ssh-keygen', [
      '-Y',
      'verify',
      '-f',
      join(dir, 'allowed'),
      '-I',
      'token@test',
      '-n',
      namespace,
      '-s',
      join(dir, 'token.sig'),
    ]);
    verified.child.stdin?.end(message);
    assert.match((await verified).stdout, /Good "meshca-approval@v1" signature/);
  }
});

test('other curves and DSA are not taken', async () => {
  const { keyPath, publicKey } = await sshKey(dir, 'p384', 'ecdsa', 384);
  assert.equal(parseSshPublicKey(publicKey).ok, false);
  assert.equal(parseSshSignature(await sshSign(dir, keyPath, message, { namespace })).ok, false);
});
