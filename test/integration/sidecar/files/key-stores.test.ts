import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import { fileOperations } from '../../../../sidecar/files/file-operations.ts';
import { readPkcs12 } from '../../../../sidecar/files/pkcs12.ts';
import { TargetSets } from '../../../../sidecar/files/set-directory.ts';
import {
  plainLayout,
  plainPermissions,
  setContent,
  setIssuer,
} from '../../../support/certificate-sets.ts';

const password = 'a "password" of 20 $';
const content = setContent(setIssuer());

async function targetOf(context: TestContext, text = `${password}\n`) {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'meshca-stores-')));
  context.after(() => rm(parent, { recursive: true, force: true }));
  const directory = join(parent, 'target');
  await mkdir(directory);
  const passwordFile = join(parent, 'password');
  await writeFile(passwordFile, text, { mode: 0o600 });
  const setsOf = (kind: 'pkcs12' | 'jks'): TargetSets => {
    const store = { name: 'web.store', passwordFile, alias: 'web' };
    const layout = { ...plainLayout, [kind]: store };
    return new TargetSets(
      { directory, layout, permissions: plainPermissions },
      { files: fileOperations, user: effectiveUser() },
    );
  };
  return { directory, passwordFile, setsOf };
}

test('openssl reads key and chain of the PKCS#12 file, with AES-256 and SHA-256', async (context) => {
  const { passwordFile, setsOf } = await targetOf(context);
  const set = unwrap(await setsOf('pkcs12').write(content));
  const path = join(set.directory, 'web.store');
  assert.equal((await lstat(path)).mode & 0o7777, 0o600);
  const { stdout, stderr, status } = spawnSync(
    'openssl',
    ['pkcs12', '-in', path, '-passin', `file:${passwordFile}`, '-info', '-nodes'],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  assert.match(stderr, /MAC: sha256, Iteration 10000/);
  const ciphers = stderr.match(/PBES2, PBKDF2, AES-256-CBC.*PRF hmacWithSHA256/g);
  assert.equal(ciphers?.length, 2, stderr);
  for (const der of content.chainDer)
    assert.ok(stdout.includes(certificatesToPem([der]).trim()), 'the certificates as they are');
  assert.match(stdout, /friendlyName: web/);
  const wrong = spawnSync('openssl', ['pkcs12', '-in', path, '-passin', 'pass:x', '-noout']);
  assert.notEqual(wrong.status, 0);
});

test('the PKCS#12 file opens with its password alone, and holds the same key', async (context) => {
  const { setsOf } = await targetOf(context);
  const set = unwrap(await setsOf('pkcs12').write(content));
  const bytes = await readFile(join(set.directory, 'web.store'));
  const { privateKeyPkcs8Der, chainDer } = await readPkcs12(bytes, password);
  assert.ok(privateKeyPkcs8Der.equals(content.privateKeyPkcs8Der));
  assert.deepEqual(chainDer, content.chainDer);
  await assert.rejects(readPkcs12(bytes, 'another'));
});

test('a password file that is open, empty, or not of ASCII is refused, and nothing remains', async (context) => {
  for (const [text, mode, reason] of [
    [password, 0o644, /open to everybody/],
    ['', 0o600, /exactly one line/],
    ['one\ntwo\n', 0o600, /exactly one line/],
    ['pässword', 0o600, /exactly one line/],
  ] as const) {
    const { directory, passwordFile, setsOf } = await targetOf(context, text);
    await chmod(passwordFile, mode);
    const result = await setsOf('pkcs12').write(content);
    assert.ok(!result.ok && result.error.code === 'TARGET_UNWRITABLE');
    assert.match(result.error.message, reason);
    assert.ok(!result.error.message.includes(password));
    assert.deepEqual(await readdir(join(directory, 'sets')), []);
  }
});

const hasKeytool = spawnSync('keytool', ['-help']).error === undefined;

test('keytool makes the JKS file; without it the set is refused with what to do', async (context) => {
  const { directory, passwordFile, setsOf } = await targetOf(context);
  const result = await setsOf('jks').write(content);
  if (!hasKeytool) {
    assert.ok(!result.ok && result.error.code === 'TARGET_UNWRITABLE');
    assert.match(result.error.message, /keytool is not installed/);
    assert.deepEqual(await readdir(join(directory, 'sets')), []);
    return;
  }
  const path = join(unwrap(result).directory, 'web.store');
  assert.equal((await lstat(path)).mode & 0o7777, 0o600);
  const listed = execFileSync(
    'keytool',
    ['-list', '-v', '-keystore', path, '-storepass:file', passwordFile],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  assert.match(listed, /Keystore type: JKS/);
  assert.match(listed, /PrivateKeyEntry\s+Certificate chain length: 2/);
});

test('where keytool is not in the PATH a JKS file is refused, and nothing remains', async (context) => {
  const { directory, setsOf } = await targetOf(context);
  const { PATH } = process.env;
  process.env['PATH'] = directory;
  try {
    const result = await setsOf('jks').write(content);
    assert.ok(!result.ok && result.error.code === 'TARGET_UNWRITABLE');
    assert.match(result.error.message, /keytool is not installed/);
    assert.match(result.error.next, /pkcs12/);
  } finally {
    process.env['PATH'] = PATH;
  }
  assert.deepEqual(await readdir(join(directory, 'sets')), []);
});
