import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { StoredSet } from '../../sidecar/files/certificate-set.ts';
import { openDriver } from '../../sidecar/files/drivers/index.ts';
import type { Driver, DriverCall } from '../../sidecar/files/driver.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { systemClock, uuidv7 } from '../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  pemEncode,
  pkcs8Of,
  sha256Hex,
} from '../../src/common/x509/index.ts';
import { freePort } from '../support/ports.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { debianProgram } from '../support/servers/debian-programs.ts';
import { Guide } from '../support/servers/guide.ts';
import type { DriverSettings } from '../support/servers/server-process.ts';
import { setFiles } from '../support/servers/target-directory.ts';
import { patienceMs, until } from '../support/until.ts';

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
  const path = join(server.dir, name);
  const { serial, rootsDer } = await writeSet(path, 1);
  const roots = join(path, 'roots.pem');
  writeFileSync(roots, certificatesToPem(rootsDer));
  return {
    ...{ path, serial, roots, answer: join(path, 'answer.der') },
    served: {
      ...{ path, currentSerial: serial },
      file: (kind) => join(path, 'current', setFiles[kind]),
    },
  };
}

/** A new certificate with its key, which `current` names from then on. */
async function writeSet(
  path: string,
  number: number,
): Promise<StoredSet & { readonly rootsDer: readonly Buffer[] }> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const issued = await server.admin('Certificates/IssueCertificate', {
    ...{ dnsNames: ['web.example.org'], csrDer: createCsr(privateKey) },
    ...{ profile: 'classic', requestId: uuidv7() },
  });
  const directory = join(path, 'sets', String(number));
  mkdirSync(directory, { recursive: true });
  rmSync(join(path, 'current'), { force: true });
  symlinkSync(join('sets', String(number)), join(path, 'current'));
  const [chain, key] = [
    certificatesToPem(issued.chainDer),
    pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
  ];
  writeFileSync(join(directory, setFiles.fullchain), chain);
  writeFileSync(join(directory, setFiles.key), key);
  writeFileSync(join(directory, setFiles.combined), chain + key);
  writeFileSync(join(directory, setFiles.ca), certificatesToPem(issued.rootsDer));
  const leaf = unwrap(parseCertificate(issued.chainDer[0] as Buffer));
  return {
    ...{ name: String(number), number, directory, serial: leaf.serialHex },
    ...{ leafSha256: sha256Hex(leaf.raw), authoritySetDigest: '', forNames: undefined },
    ...{ notBefore: leaf.notBefore, notAfter: leaf.notAfter, rootsDer: issued.rootsDer },
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

/** A folder with a program by the name of socat, which speaks to HAProxy. */
function withSocat(path: string): string {
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
  return bin;
}

const script = join(root, 'examples', 'ocsp-staple.sh');

/** The script of the guide. */
async function fetchAnswer({ path, roots, answer }: Target, socket?: string): Promise<void> {
  await run(script, [path, roots, answer, ...(socket === undefined ? [] : [socket])], {
    env: { ...process.env, PATH: `${withSocat(path)}:${process.env['PATH']}` },
  });
}

const never = new AbortController().signal;

/** The driver of an agent, and how each run of its program for the answer ended. */
function stapling({ type, settings }: DriverSettings): {
  readonly driver: Driver;
  readonly stapled: readonly string[];
} {
  const stapled: string[] = [];
  const driver = unwrap(
    openDriver(
      { type, settings, timeoutSeconds: patienceMs / 1000 },
      {
        clock: systemClock,
        stapled: (outcome) => stapled.push(outcome.ok ? 'done' : outcome.error.message),
      },
    ),
  );
  return { driver, stapled };
}

const callOf = ({ path }: Target): Pick<DriverCall, 'target' | 'directory' | 'files'> => ({
  ...{ target: 'web', directory: path },
  files: { combined: setFiles.combined, fullchain: setFiles.fullchain },
});

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
  // a new set: its answer is there before nginx reads it
  const { path: program, executable } = debianProgram('nginx');
  const [configFile, pidFile] = [join(web.path, 'nginx.conf'), join(web.path, 'nginx.pid')];
  const { driver, stapled } = stapling({
    type: 'nginx',
    settings: {
      ...{ program, executable, configFile, pidFile },
      staple: [script, web.path, web.roots, web.answer],
    },
  });
  const set = await writeSet(web.path, 2);
  unwrap(await driver.apply({ ...callOf(web), set, previous: undefined }, never));
  assert.deepEqual(stapled, ['done']);
  await until(async () => (await staple(nginx.port, web.roots)) === 'good');
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

/** Like the agent: `current` names the set, and the driver tells HAProxy. */
test('HAProxy has a staple with each new set that its driver delivers, and after a way back', async (context) => {
  const web = await target('haproxy-driver');
  const port = await freePort();
  const socket = join(web.path, 'admin.sock');
  const file = join(web.path, 'haproxy.cfg');
  const guide = new Guide('OCSP stapling');
  const places = { '127.0.0.1:443': `127.0.0.1:${port}`, '/run/haproxy/admin.sock': socket };
  writeFileSync(file, guide.config('haproxy', web.served, places));
  start(context, [debianProgram('haproxy').path, '-W', '-f', file]);
  await until(async () => (await staple(port, web.roots)) === 'no response sent');
  const { type, settings } = guide.driver({
    ...{ '/run/haproxy/admin.sock': socket, '/usr/local/bin/ocsp-staple.sh': script },
    ...{ '/etc/meshca/web': web.path, '/etc/meshca/names-roots.pem': web.roots },
    '/var/lib/meshca-staples/web.der': web.answer,
  });
  const path = `PATH=${withSocat(web.path)}:/usr/bin:/bin`;
  const argv = ['/usr/bin/env', path, ...(settings as { staple: readonly string[] }).staple];
  const { driver, stapled } = stapling({ type, settings: { ...settings, staple: argv } });
  const call = callOf(web);
  const second = await writeSet(web.path, 2);
  const third = await writeSet(web.path, 3);
  unwrap(await driver.apply({ ...call, set: third, previous: second }, never));
  assert.deepEqual(stapled, ['done']);
  assert.equal(await staple(port, web.roots), 'good');
  rmSync(join(web.path, 'current'));
  symlinkSync(join('sets', '2'), join(web.path, 'current'));
  unwrap(await driver.rollback({ ...call, set: third, previous: second }, never));
  assert.deepEqual(stapled, ['done', 'done']);
  assert.equal(await staple(port, web.roots), 'good');
});
