import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { FakeWorkloadApi } from '../../support/fake-workload-api.ts';
import { createIntermediate, createRoot, createSvid } from '../../support/test-pki.ts';

const run = promisify(execFile);
const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** A program of somebody who installed the package: mutual TLS with itself, by its own SVID. */
const program = `
import { authorizeId, createHttpsServer, httpsAgent, peerOf, PkiError, X509Source } from '@meshca/workload';
import { request } from 'node:https';
const source = await X509Source.connect({ reports: false });
const { svid } = source.stats();
const only = authorizeId(svid.id.toString());
const server = createHttpsServer(source, { authorize: only }, (call, answer) => answer.end(String(peerOf(call.socket).id)));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const agent = httpsAgent(source, { expect: only });
const peer = await new Promise((resolve, reject) => {
  request({ agent, host: '127.0.0.1', port: server.address().port }, (answer) => {
    let text = '';
    answer.on('data', (bytes) => (text += bytes));
    answer.on('end', () => resolve(text));
  }).on('error', reject).end();
});
agent.destroy();
server.close();
await source.close();
console.log(JSON.stringify({ id: String(svid.id), peer, node: process.version, error: typeof PkiError }));
`;

/** The same in TypeScript, for the declarations. */
const typedProgram = `
import { authorizeId, JwtSource, X509Source, type Peer, type X509SourceStats } from '@meshca/workload';
const source: X509Source = await X509Source.connect({ waitMs: 5000 });
const stats: X509SourceStats = source.stats();
export const names: readonly string[] = [String(stats.svid.id), String((undefined as unknown as Peer).id)];
export const jwt: Promise<JwtSource> = JwtSource.connect({ endpoint: 'unix:///x' });
export const admit = authorizeId('spiffe://example.org/a');
// @ts-expect-error: a declaration that is missing would allow everything
source.fly();
// @ts-expect-error: the same
stats.svid.id.fly();
`;

let folder: string;
let project: string;
let agent: FakeWorkloadApi;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshca-tarballs-'));
  project = join(folder, 'project');
  await mkdir(project);
  const authority = createRoot('example.org');
  const svid = createSvid(createIntermediate(authority, 'example.org'), 'spiffe://example.org/me');
  agent = await FakeWorkloadApi.start();
  agent.setX509({ svids: [{ ...svid, bundleDer: [authority.certificateDer] }] });
});
after(async () => {
  await agent[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Folders of PATH without those of node_modules, which npm and the test runner put in front. */
const pathOfMachine = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((each) => each !== '' && !each.includes('node_modules'));

/**
 * The machine's npm on the machine's Node, as a user has it, without what npm tells its scripts. The
 * user may be behind a proxy that inspects TLS: its root stays.
 */
function npm(cwd: string, ...args: readonly string[]): string {
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) =>
        name === 'NODE_EXTRA_CA_CERTS' ||
        !/^(npm_(package|lifecycle|command|config_local)|NODE_)/i.test(name),
    ),
  );
  return execFileSync('npm', [...args, '--loglevel=error', '--no-audit', '--no-fund'], {
    cwd,
    encoding: 'utf8',
    env: { ...environment, PATH: pathOfMachine.join(delimiter) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

interface Tarball {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** Packs and unpacks nothing: the tarball's path and the paths in it. */
function pack(from: string): { readonly file: string; readonly paths: readonly string[] } {
  const output = npm(from, 'pack', '--json', '--pack-destination', folder);
  const [tarball] = JSON.parse(output.slice(output.indexOf('[\n'))) as [Tarball];
  const name = tarball.filename.replace('@', '').replace('/', '-');
  return { file: join(folder, name), paths: tarball.files.map(({ path }) => path) };
}

/** Each Node of the project and of the machine that the package is for. */
function nodes(): readonly string[] {
  const others = pathOfMachine
    .map((each) => join(each, 'node'))
    .filter((path) => existsSync(path))
    .filter((path) => {
      const version = execFileSync(path, ['--version'], { encoding: 'utf8' });
      return Number(/^v(\d+)/.exec(version)?.[1]) >= 20;
    });
  return [...new Set([process.execPath, ...others])];
}

function bytesBelow(path: string): number {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

const isTest = (path: string): boolean => /(^|\/)(test|drills|bench|demo)\/|\.test\./.test(path);

test('the tarball of the product has its documents and LICENSE, and no tests', () => {
  const { paths } = pack(root);
  for (const path of [
    'LICENSE',
    'README.md',
    'SECURITY.md',
    'docs/errors.md',
    'dist/product/main.js',
  ])
    assert.ok(paths.includes(path), path);
  assert.deepEqual(paths.filter(isTest), []);
});

test('the client library installs alone, small, without native code or a Node of its own', async () => {
  const { file, paths } = pack(join(root, 'packages', 'workload'));
  for (const path of ['LICENSE', 'README.md', 'docs/client-library.md'])
    assert.ok(paths.includes(path), path);
  assert.deepEqual(paths.filter(isTest), []);

  await writeFile(
    join(project, 'package.json'),
    JSON.stringify({ name: 'somebody', private: true, type: 'module' }),
  );
  // Packages that the machine's npm knows are not fetched again.
  npm(project, 'install', '--prefer-offline', file);

  const modules = join(project, 'node_modules');
  const installed = readdirSync(modules, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    installed.filter((path) => /\.node$|binding\.gyp$|(^|\/)node-linux|\.bin\/node$/.test(path)),
    [],
  );
  const megabytes = bytesBelow(modules) / 1e6;
  assert.ok(megabytes < 20, `node_modules has ${megabytes.toFixed(1)} MB`);
});

test('the installed library gets an identity and uses it on every Node it is for', async () => {
  await writeFile(join(project, 'program.js'), program);
  for (const node of nodes()) {
    const { stdout } = await run(node, [join(project, 'program.js')], {
      env: { SPIFFE_ENDPOINT_SOCKET: `unix://${agent.socketPath}` },
    });
    const { id, peer, error } = JSON.parse(stdout);
    assert.deepEqual(
      [id, peer, error],
      Array(2).fill('spiffe://example.org/me').concat('function'),
    );
  }
});

test('the declarations of the installed library are whole', async () => {
  await writeFile(join(project, 'typed.ts'), typedProgram);
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2022',
        lib: ['es2023', 'esnext.disposable'],
        strict: true,
        noEmit: true,
        skipLibCheck: true,
        types: ['node'],
      },
      files: ['typed.ts'],
    }),
  );
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  assert.equal((await run(process.execPath, [compiler, '-p', project])).stdout, '');
});
