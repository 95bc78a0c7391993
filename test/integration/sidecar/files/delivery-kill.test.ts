import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { test, type TestContext } from 'node:test';
import { setContent, setIssuer } from '../../../support/certificate-sets.ts';
import { patienceMs } from '../../../support/until.ts';
import type { Question, WireContent } from './delivery-messages.ts';

const agent = fileURLToPath(
  import.meta.resolve(
    import.meta.url.endsWith('.ts') ? './delivery-agent.ts' : './delivery-agent.js',
  ),
);
const forward = ['write', 'check', 'stage', 'swap', 'apply', 'verify', 'prove'];
const back = ['swap back', 'rollback', 'prove back'];

/** The authority of the target, and the server that reads its files when it is told to. */
class Host implements AsyncDisposable {
  readonly directory: string;
  readonly dataDir: string;
  readonly #parent: string;
  readonly #issuer = setIssuer();
  readonly #server = createServer({});
  /** Whether it takes a new set over. A way back it always takes. */
  takes = true;
  last: { readonly state: string; readonly current: string } | undefined;
  failures: string[] = [];
  handshakes = 0;
  #hasContext = false;
  #leases = 0;

  constructor(parent: string) {
    this.#parent = parent;
    this.directory = join(parent, 'target');
    this.dataDir = join(parent, 'data');
  }

  static async start(): Promise<Host> {
    const host = new Host(await mkdtemp(join(tmpdir(), 'meshca-delivery-kill-')));
    await mkdir(host.directory);
    await mkdir(host.dataDir, { mode: 0o700 });
    host.#server.on('tlsClientError', () => {});
    await once(host.#server.listen(0, '127.0.0.1'), 'listening');
    return host;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Runs the agent once, killed at a label. Returns how it ended. */
  async run(label: string): Promise<string> {
    // what is shown is proven however slow the machine is; what is not shown need not be waited for
    const proofSeconds = this.takes ? patienceMs / 1000 : 2;
    const args = [this.directory, this.dataDir, this.address, label, String(proofSeconds)];
    const child = fork(agent, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let errors = '';
    child.stderr?.on('data', (bytes: Buffer) => (errors += bytes.toString()));
    child.on('message', (question) => {
      const answer = this.#answer(question as Question);
      // the process may be gone by then
      if (child.connected) child.send(answer, () => {});
    });
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
    assert.ok(code === 0 || signal === 'SIGKILL', errors);
    return signal ?? 'done';
  }

  /** What a server that starts now would read, and what clients see. */
  async assertServed(label: string): Promise<void> {
    if (!existsSync(join(this.directory, 'current'))) {
      assert.ok(!this.#hasContext, `${label}: what was served once is gone`);
      return;
    }
    const read = (name: string): string =>
      readFileSync(join(this.directory, 'current', name), 'utf8');
    const leaf = new X509Certificate(read('fullchain.pem'));
    assert.ok(leaf.publicKey.equals(createPublicKey(createPrivateKey(read('key.pem')))), label);
    assert.ok(leaf.validToDate.getTime() > Date.now(), label);
    if (this.#hasContext) await this.handshake(label);
  }

  /** The serial that a new handshake shows; the client verifies nothing but the key. */
  async handshake(label: string): Promise<string> {
    const [host, port] = this.address.split(':') as [string, string];
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
    try {
      await once(socket, 'secureConnect');
      this.handshakes += 1;
      return socket.getPeerCertificate().serialNumber.toLowerCase();
    } catch (thrown) {
      this.failures.push(`${label}: ${String(thrown)}`);
      return '';
    } finally {
      socket.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await rm(this.#parent, { recursive: true, force: true });
  }

  #answer(question: Question): { readonly content?: WireContent } {
    switch (question.kind) {
      case 'lease':
        return { content: this.#lease() };
      case 'apply':
        if (this.takes) this.#load();
        return {};
      case 'rollback':
        this.#load();
        return {};
      case 'done':
        this.last = question;
        return {};
    }
  }

  #load(): void {
    const read = (name: string): string =>
      readFileSync(join(this.directory, 'current', name), 'utf8');
    this.#server.setSecureContext({ cert: read('fullchain.pem'), key: read('key.pem') });
    this.#hasContext = true;
  }

  #lease(): WireContent {
    this.#leases += 1;
    const content = setContent(this.#issuer, { notAfterIn: 3600 + this.#leases });
    return {
      spiffeId: content.spiffeId.toString(),
      serial: content.serial,
      chain: content.chainDer.map((der) => der.toString('base64')),
      key: content.privateKeyPkcs8Der.toString('base64'),
      roots: content.rootsDer.map((der) => der.toString('base64')),
      digest: content.authoritySetDigest.toString('hex'),
      notBefore: content.notBefore,
      notAfter: content.notAfter,
    };
  }
}

async function killAt(host: Host, context: TestContext, steps: readonly string[]): Promise<void> {
  for (const step of steps)
    for (const when of ['before', 'after']) {
      const label = `${when} ${step}`;
      assert.equal(await host.run(label), 'SIGKILL', `nothing came to ${label}`);
      context.diagnostic(`killed ${label}`);
      await host.assertServed(label);
    }
}

test('kill -9 at each step of a delivery leaves a valid pair served, and the next process goes on', async (context) => {
  await using host = await Host.start();
  assert.equal(await host.run('never'), 'done');
  assert.equal(host.last?.state, 'proven');
  await killAt(host, context, forward);
  assert.equal(await host.run('never'), 'done');
  assert.equal(host.last?.state, 'proven');
  assert.equal(`${host.last?.current.split('-')[1]}`, await host.handshake('at the end'));
  assert.deepEqual(host.failures, []);
});

test('kill -9 at each step of the way back leaves a valid pair served, and it is gone to its end', async (context) => {
  await using host = await Host.start();
  assert.equal(await host.run('never'), 'done');
  const before = host.last?.current;
  host.takes = false;
  await killAt(host, context, back);
  assert.equal(await host.run('never'), 'done');
  assert.deepEqual([host.last?.state, host.last?.current], ['rolled-back', before]);
  assert.equal(`${before?.split('-')[1]}`, await host.handshake('at the end'));
  assert.deepEqual(host.failures, []);
});
