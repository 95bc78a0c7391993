import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { foreignProgram } from './foreign-programs.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import { effectiveUser } from '../../src/common/unix/effective-user.ts';
import { fileOperations, TargetSets } from '../../sidecar/files/index.ts';
import {
  plainLayout,
  plainPermissions,
  setContent,
  setIssuer,
} from '../support/certificate-sets.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
const server = join(root, 'test', 'interop', 'key-stores', 'KeyStoreServer.java');

for (const [kind, type] of [
  ['pkcs12', 'PKCS12'],
  ['jks', 'JKS'],
] as const)
  test(`Java serves TLS with the ${type} file of a set: its key, and its chain without the root`, async (context) => {
    const parent = await realpath(await mkdtemp(join(tmpdir(), 'meshca-java-')));
    context.after(() => rm(parent, { recursive: true, force: true }));
    const directory = join(parent, 'target');
    await mkdir(directory);
    const passwordFile = join(parent, 'password');
    await writeFile(passwordFile, 'a "password" of 20 $\n', { mode: 0o600 });
    const layout = { ...plainLayout, [kind]: { name: 'web.store', passwordFile, alias: 'web' } };
    const sets = new TargetSets(
      { directory, layout, permissions: plainPermissions },
      { files: fileOperations, user: effectiveUser() },
    );
    const content = setContent(setIssuer(), { dnsSans: ['web.example.org'] });
    const set = unwrap(await sets.write(content));
    unwrap(await sets.swap(set));
    const store = join(directory, 'current', 'web.store');
    const [program = ''] = foreignProgram('java');
    const java = spawn(program, [server, type, store, passwordFile], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(java, 'exit');
    const lines = createInterface({ input: java.stdout });
    const first = await Promise.race([once(lines, 'line'), ended.then(() => undefined)]);
    assert.ok(first !== undefined, 'Java opens the key store');
    const socket = connect({
      port: Number(first[0]),
      host: '127.0.0.1',
      servername: 'web.example.org',
      ca: certificatesToPem(content.rootsDer),
      minVersion: 'TLSv1.3',
    });
    await once(socket, 'secureConnect');
    assert.ok(socket.authorized, String(socket.authorizationError));
    const sent: string[] = [];
    for (
      let each: X509Certificate | undefined = socket.getPeerX509Certificate();
      each !== undefined;
      each = each.issuerCertificate
    )
      sent.push(each.fingerprint256);
    assert.deepEqual(
      sent,
      content.chainDer.map((der) => new X509Certificate(der).fingerprint256),
    );
    const [greeting] = (await once(socket, 'data')) as [Buffer];
    assert.equal(greeting.toString(), 'hello');
    socket.end();
    const [code] = (await ended) as [number | null];
    assert.equal(code, 0);
  });
