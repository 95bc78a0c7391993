import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  pemEncode,
  pkcs8Of,
} from '../../src/common/x509/index.ts';
import { freePort } from '../support/ports.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { debianProgram } from '../support/servers/debian-programs.ts';
import { Guide } from '../support/servers/guide.ts';
import { setFiles } from '../support/servers/target-directory.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

let server: TestServer;

before(async () => {
  const port = await freePort();
  server = await startTestServer({
    config: {
      names: { enabled: true, ocsp: { baseUrl: `http://127.0.0.1:${port}/ocsp` } },
      issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
      http: { plain: { port } },
    },
  });
});
after(() => server[Symbol.asyncDispose]());

/** A directory as a file target has it, with a certificate that names the responder. */
interface Target {
  readonly path: string;
  readonly serial: string;
  readonly roots: string;
  readonly answer: string;
  readonly served: {
    readonly path: string;
    readonly currentSerial: string;
    file(kind: keyof typeof setFiles): string;
  };
}

async function target(name: string): Promise<Target> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const issued = await server.admin('Certificates/IssueCertificate', {
    ...{ dnsNames: ['web.example.org'], csrDer: createCsr(privateKey) },
    ...{ profile: 'classic', requestId: uuidv7() },
  });
  const path = join(server.dir, name);
  const set = join(path, 'sets', '1');
  mkdirSync(set, { recursive: true });
  symlinkSync('sets/1', join(path, 'current'));
  const [chain, key] = [
    certificatesToPem(issued.chainDer),
    pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
  ];
  writeFileSync(join(set, setFiles.fullchain), chain);
  writeFileSync(join(set, setFiles.key), key);
  writeFileSync(join(set, setFiles.combined), chain + key);
  writeFileSync(join(set, setFiles.ca), certificatesToPem(issued.rootsDer));
  const roots = join(path, 'roots.pem');
  writeFileSync(roots, certificatesToPem(issued.rootsDer));
  return {
    ...{ path, serial: issued.serial, roots, answer: join(path, 'answer.der') },
    served: {
      ...{ path, currentSerial: issued.serial },
      file: (kind) => join(path, 'current', setFiles[kind]),
    },
  };
}

/** What `openssl s_client -status` says of the staple. */
async function staple(port: number, roots: string): Promise<string> {
  const client = run('openssl', [
    ...['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'web.example.org', '-status'],
    ...['-CAfile', roots],
  ]);
  client.child.stdin?.end();
  const { stdout } = await client.catch((thrown: unknown) => thrown as { stdout: string });
  return /Cert Status: (\w+)/.exec(stdout)?.[1] ?? /OCSP response: (.*)/.exec(stdout)?.[1] ?? '';
}

/** The script of the guide. HAProxy is spoken to by a program with the name of socat. */
async function fetchAnswer({ path, roots, answer }: Target, socket?: string): Promise<void> {
  const bin = join(path, 'bin');
  mkdirSync(bin, { recursive: true });
  const socat = join(bin, 'socat');
  writeFileSync(
    socat,
    `#!${process.execPath}\n` +
      "const s=require('net').connect(process.argv[3].slice('UNIX-CONNECT:'.length));" +
      'process.stdin.pipe(s);s.pipe(process.stdout);',
  );
  chmodSync(socat, 0o755);
  await run(
    join(root, 'examples', 'ocsp-staple.sh'),
    [path, roots, answer, ...(socket === undefined ? [] : [socket])],
    { env: { ...process.env, PATH: `${bin}:${process.env['PATH']}` } },
  );
}

interface Running {
  readonly pid: number;
  readonly log: () => string;
}

function start(context: TestContext, argv: readonly string[]): Running {
  const [program, ...rest] = argv as [string, ...string[]];
  const child = spawn(program, rest, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => (log += bytes));
  context.after(() => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  });
  return { pid: child.pid ?? 0, log: () => log };
}

async function startNginx(
  context: TestContext,
  of: Target,
  index: number,
): Promise<Running & { readonly port: number }> {
  const port = await freePort();
  const { path } = debianProgram('nginx');
  const places = {
    '127.0.0.1:443': `127.0.0.1:${port}`,
    ...(index === 0
      ? { '/etc/meshca/names-roots.pem': of.roots }
      : { '/var/lib/meshca-staples/web.der': of.answer }),
  };
  const config = new Guide('OCSP stapling').config('nginx', of.served, places, index);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${of.path}/${name};`,
  );
  const file = join(of.path, 'nginx.conf');
  writeFileSync(
    file,
    [
      ...['daemon off;', `pid ${of.path}/nginx.pid;`, 'error_log stderr info;'],
      config.replace('http {', ['http {', 'access_log off;', ...temporary].join('\n')),
    ].join('\n'),
  );
  return { ...start(context, [path, '-c', file, '-e', 'stderr']), port };
}

const revoke = (serial: string): Promise<unknown> =>
  server.admin('Certificates/RevokeCertificate', { serial, reason: 'keyCompromise' });

const answered = async (of: Target, status: string): Promise<void> =>
  until(async () => {
    await fetchAnswer(of).catch(() => {});
    const { stdout } = await run('openssl', [
      ...['ocsp', '-respin', of.answer, '-resp_text', '-noverify'],
    ]).catch(() => ({ stdout: '' }));
    return stdout.includes(`Cert Status: ${status}`);
  }, `the answer is ${status}`);

test('nginx that asks the responder itself staples a good answer, and never a revoked one', async (context) => {
  const web = await target('nginx-asks');
  await answered(web, 'good');
  const nginx = await startNginx(context, web, 0);
  await until(async () => (await staple(nginx.port, web.roots)) === 'good');
  await revoke(web.serial);
  await answered(web, 'revoked');
  process.kill(nginx.pid, 'SIGHUP');
  await until(async () => {
    await staple(nginx.port, web.roots);
    return nginx.log().includes('certificate status "revoked" in the OCSP response');
  });
  // an old worker may still take a connection
  await until(async () => (await staple(nginx.port, web.roots)) === 'no response sent');
});

test('nginx staples the answer in a file, good or revoked, and takes the next one at a reload', async (context) => {
  const web = await target('nginx-file');
  await answered(web, 'good');
  const nginx = await startNginx(context, web, 1);
  await until(async () => (await staple(nginx.port, web.roots)) === 'good');
  await revoke(web.serial);
  await answered(web, 'revoked');
  process.kill(nginx.pid, 'SIGHUP');
  await until(async () => (await staple(nginx.port, web.roots)) === 'revoked');
});

test('HAProxy takes its first and each later answer over its socket, without a reload', async (context) => {
  const web = await target('haproxy');
  await answered(web, 'good');
  const port = await freePort();
  const socket = join(web.path, 'admin.sock');
  const file = join(web.path, 'haproxy.cfg');
  const places = { '127.0.0.1:443': `127.0.0.1:${port}`, '/run/haproxy/admin.sock': socket };
  writeFileSync(file, new Guide('OCSP stapling').config('haproxy', web.served, places));
  const haproxy = start(context, [debianProgram('haproxy').path, '-W', '-f', file]);
  await until(async () => (await staple(port, web.roots)) === 'no response sent');
  await fetchAnswer(web, socket);
  assert.equal(await staple(port, web.roots), 'good', haproxy.log());
  await fetchAnswer(web, socket);
  assert.equal(await staple(port, web.roots), 'good');
  await revoke(web.serial);
  await answered(web, 'revoked');
  await fetchAnswer(web, socket);
  assert.equal(await staple(port, web.roots), 'revoked');
});
