import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../test/support/ports.ts';
import { until } from '../../test/support/until.ts';
import { tail } from '../server-child.ts';
import { AcmeTransport } from './client.ts';

/** step-ca of smallstep with its ACME provisioner, as its documentation configures it. */
export class StepCa implements AsyncDisposable {
  readonly pid: number;
  readonly transport: AcmeTransport;
  readonly #child: ChildProcess;
  readonly #dir: string;
  readonly #ended: Promise<void>;

  private constructor(child: ChildProcess, dir: string, transport: AcmeTransport) {
    this.#child = child;
    this.#dir = dir;
    this.pid = child.pid as number;
    this.transport = transport;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /** @param httpPort where http-01 challenges are answered */
  static async start(binary: string, httpPort: number): Promise<StepCa> {
    const dir = await mkdtemp(join(tmpdir(), 'meshca-step-ca-'));
    const at = (name: string): string => join(dir, name);
    await certify(dir);
    const port = await freePort();
    const config = {
      root: at('root.pem'),
      crt: at('issuing.pem'),
      key: at('issuing.key'),
      address: `127.0.0.1:${port}`,
      dnsNames: ['localhost', '127.0.0.1'],
      logger: { format: 'json' },
      db: { type: 'badgerv2', dataSource: at('db') },
      authority: { provisioners: [{ type: 'ACME', name: 'acme', challenges: ['http-01'] }] },
    };
    await writeFile(at('ca.json'), JSON.stringify(config));
    const log = openSync(at('log'), 'a');
    const child = spawn(
      binary,
      ['--insecure', '--acme-http-port', String(httpPort), at('ca.json')],
      {
        stdio: ['ignore', log, log],
      },
    );
    closeSync(log);
    const directory = `https://localhost:${port}/acme/acme/directory`;
    const transport = new AcmeTransport(directory, readFileSync(at('root.pem'), 'utf8'));
    const ca = new StepCa(child, dir, transport);
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`step-ca ended: ${tail(at('log'))}`);
      return transport.directory().then(
        () => true,
        () => false,
      );
    }, 'step-ca answers');
    return ca;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.transport.close();
    this.#child.kill('SIGTERM');
    await this.#ended;
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A root and an issuing CA with P-256 keys in files. */
async function certify(dir: string): Promise<void> {
  const openssl = (...args: readonly string[]) =>
    promisify(execFile)('openssl', args, { cwd: dir });
  const key = (name: string) =>
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', name);
  const ca = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n';
  await writeFile(join(dir, 'ca.ext'), ca);
  await key('root.key');
  await key('issuing.key');
  const subject = (name: string) => ['-subj', `/CN=${name}`];
  await openssl('req', '-new', '-key', 'root.key', ...subject('root'), '-out', 'root.csr');
  await openssl('req', '-new', '-key', 'issuing.key', ...subject('issuing'), '-out', 'issuing.csr');
  const days = ['-days', '30', '-extfile', 'ca.ext', '-set_serial'];
  const self = ['-signkey', 'root.key'];
  await openssl('x509', '-req', '-in', 'root.csr', ...self, ...days, '1', '-out', 'root.pem');
  const root = ['-CA', 'root.pem', '-CAkey', 'root.key'];
  await openssl('x509', '-req', '-in', 'issuing.csr', ...root, ...days, '2', '-out', 'issuing.pem');
}
