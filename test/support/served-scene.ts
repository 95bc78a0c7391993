import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Delivery } from '../../sidecar/files/delivery.ts';
import type { TargetStatus } from '../../sidecar/ports/file-targets.ts';
import { certificatesToPem, pemEncode } from '../../src/common/x509/index.ts';
import { ServerLoad, type LoadFigures } from '../../drills/server-load.ts';
import type { Language } from '../../drills/conversation.ts';
import { unwrap, type Result } from '../../src/common/errors/index.ts';
import { redisPassword } from './servers/index.ts';
import { servedId } from './served-delivery.ts';
import type { ServedTarget } from './served-target.ts';
import { createSvid } from './test-pki.ts';
import { until } from './until.ts';

const languages: Readonly<Record<string, Language>> = { postgresql: 'postgresql', redis: 'redis' };

/** Clients of the server, under mutual TLS, as long as the scope. */
export class ServedClients implements AsyncDisposable {
  readonly #load: ServerLoad;
  readonly #language: Language;

  constructor(served: ServedTarget, pauseMs = 20) {
    const { name, listener } = served.server;
    this.#language = languages[name] ?? 'http';
    const { issuer, root } = served.authorities;
    const client = createSvid(issuer, 'spiffe://mesh.test/client');
    const material = {
      ca: certificatesToPem([root.certificateDer]),
      cert: certificatesToPem(client.chainDer),
      key: pemEncode('PRIVATE KEY', client.keyDer),
      minVersion: 'TLSv1.3',
    } as const;
    this.#load = new ServerLoad(
      {
        ...{ name, listener, spiffeId: servedId },
        language: this.#language,
        password: redisPassword,
      },
      () => material,
      pauseMs,
    );
    this.#load.start();
  }

  figures(): LoadFigures {
    return this.#load.figures();
  }

  /** Some more handshakes from now on. */
  async some(count = 3): Promise<void> {
    const { handshakes, failed } = this.figures();
    await until(() => {
      const now = this.figures();
      return now.handshakes + now.failed >= handshakes + failed + count;
    }, `${count} more handshakes`);
  }

  /** Nobody was refused until now. */
  async unharmed(): Promise<void> {
    await this.some();
    const { failures, askedAgain } = this.figures();
    assert.deepEqual(failures, {});
    // a worker that a reload ends may close a connection before its first request; the client
    // sends the request again on another one (RFC 9112 section 9.3.1)
    if (this.#language !== 'http') assert.equal(askedAgain, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#load.stop();
  }
}

/** What `current` names is whole: the key fits the certificate. */
export function isWholePair(directory: string): boolean {
  const read = (name: string): string => readFileSync(join(directory, 'current', name), 'utf8');
  const leaf = new X509Certificate(read('fullchain.pem'));
  return leaf.publicKey.equals(createPublicKey(createPrivateKey(read('key.pem'))));
}

/** An act of an operator, once the delivery is not at work by itself. */
export async function act(ask: () => Promise<Result<TargetStatus>>): Promise<Result<TargetStatus>> {
  let result = await ask();
  await until(async () => {
    const isBusy = !result.ok && result.error.message.includes('under way');
    if (isBusy) result = await ask();
    return !isBusy;
  }, 'the delivery rests');
  return result;
}

export const stage = (delivery: Delivery): Promise<Result<TargetStatus>> =>
  act(() => delivery.stage());

/** Stages and serves the next set. Resolves at rest. */
export async function deliver(delivery: Delivery): Promise<TargetStatus> {
  const staged = await stage(delivery);
  if (!staged.ok) return delivery.status();
  return unwrap(await act(() => delivery.promote()));
}

/** The server shows the set that `current` names, and it is this one. */
export async function serves(served: ServedTarget, serial: string): Promise<void> {
  assert.equal(served.currentSerial, serial);
  await until(async () => (await served.server.serial()) === serial, `${serial} is shown`);
}
