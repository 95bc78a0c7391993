import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A TLS gateway in front of an ACME server, with a certificate of a CA of its own. */
export class Gateway implements AsyncDisposable {
  /** Each third nonce that a client gets is replaced by one that was never made. */
  badNonces = false;
  /** The HTTP port of the server on 127.0.0.1. */
  upstream = 0;
  readonly #dir = mkdtempSync(join(tmpdir(), 'meshca-gateway-'));
  readonly #nonces = new Map<string, number>();
  readonly #server = https.createServer((incoming, response) => this.#forward(incoming, response));

  /** @param port 0: any */
  static async open(at: {
    readonly address: string;
    readonly port: number;
    readonly name: string;
  }): Promise<Gateway> {
    const gateway = new Gateway();
    gateway.#makeCertificate(`DNS:${at.name},IP:${at.address}`);
    const server = gateway.#server;
    server.setSecureContext({
      key: gateway.#read('gateway.key'),
      cert: gateway.#read('gateway.pem'),
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(at.port, at.address, resolve);
    });
    return gateway;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The root above its certificate. */
  get caFile(): string {
    return join(this.#dir, 'ca.pem');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #read(name: string): string {
    return readFileSync(join(this.#dir, name), 'utf8');
  }

  #makeCertificate(names: string): void {
    const openssl = (...args: readonly string[]): void => {
      execFileSync('openssl', args, { stdio: 'ignore', cwd: this.#dir });
    };
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    openssl(
      ...['req', '-x509', ...key, '-subj', '/CN=Gateway root'],
      ...['-keyout', 'ca.key', '-out', 'ca.pem'],
    );
    openssl(
      ...['req', '-x509', ...key, '-subj', '/CN=gateway', '-CA', 'ca.pem', '-CAkey', 'ca.key'],
      ...['-addext', `subjectAltName=${names}`, '-addext', 'basicConstraints=critical,CA:FALSE'],
      ...['-keyout', 'gateway.key', '-out', 'gateway.pem'],
    );
  }

  readonly #forward: http.RequestListener = (incoming, response) => {
    const { method, url, headers } = incoming;
    const asked = http.request(
      { host: '127.0.0.1', port: this.upstream, method, path: url, headers },
      (answer) => {
        const answered = { ...answer.headers };
        if (this.#spoilsNonce(headers['user-agent'] ?? '', answered))
          answered['replay-nonce'] = 'bm90LW1hZGUtaGVyZQ';
        response.writeHead(answer.statusCode ?? 502, answered);
        answer.pipe(response);
      },
    );
    asked.on('error', () => response.writeHead(502).end());
    incoming.pipe(asked);
  };

  /** By client, so that a repetition gets a good one: two in a row are not in question. */
  #spoilsNonce(client: string, headers: http.IncomingHttpHeaders): boolean {
    if (!this.badNonces || headers['replay-nonce'] === undefined) return false;
    const count = (this.#nonces.get(client) ?? 0) + 1;
    this.#nonces.set(client, count);
    return count % 3 === 0;
  }
}
