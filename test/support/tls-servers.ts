import { once } from 'node:events';
import { generateKeyPairSync, hash, type KeyObject } from 'node:crypto';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, TLSSocket, type TlsOptions } from 'node:tls';
import { certificatesToPem, pkcs8Of, spkiOf } from '../../src/common/x509/index.ts';
import { systemClock, systemRandom } from '../../src/common/runtime/index.ts';
import { createProber, type Prober, type ProvenListener } from '../../sidecar/probe/index.ts';
import { createCertificate, createRoot, serverAuth, type TestAuthority } from './test-pki.ts';

/** A certificate with its key, as TLS servers take them. */
export interface ServerPair {
  readonly leafDer: Buffer;
  readonly leafSha256: string;
  readonly privateKey: KeyObject;
  readonly cert: string;
  readonly key: string;
}

export type ServerKey = 'ec-p256' | 'ec-p384' | 'ec-p521' | 'rsa' | 'rsa-pss' | 'ed25519' | 'ed448';

const keyMakers: Readonly<Record<ServerKey, () => KeyObject>> = {
  'ec-p256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  'ec-p384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  'ec-p521': () => generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey,
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  'rsa-pss': () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey,
  ed25519: () => generateKeyPairSync('ed25519').privateKey,
  ed448: () => generateKeyPairSync('ed448').privateKey,
};
export const serverKeys = Object.keys(keyMakers) as readonly ServerKey[];

export const probeRoot: TestAuthority = createRoot('example.org');

export function serverPair(kind: ServerKey = 'ec-p256', issuer = probeRoot): ServerPair {
  const privateKey = keyMakers[kind]();
  const leafDer = createCertificate(issuer, spkiOf(privateKey), Buffer.from('3000', 'hex'), {
    uriSans: ['spiffe://example.org/server'],
    dnsSans: ['server.example.org'],
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [serverAuth],
  });
  const pkcs8 = pkcs8Of(privateKey).toString('base64');
  return {
    leafDer,
    leafSha256: hash('sha256', leafDer, 'hex'),
    privateKey,
    cert: certificatesToPem([leafDer, ...issuer.chainDer]),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

/** A server on 127.0.0.1, or where `at` says, that ends with its scope. */
export class TestServer implements AsyncDisposable {
  readonly server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(server: Server) {
    this.server = server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  async listen(at: { readonly path: string } | { readonly host: string } = { host: '127.0.0.1' }) {
    this.server.listen({ port: 0, ...at });
    await once(this.server, 'listening');
    return this;
  }

  get address(): string {
    const bound = this.server.address();
    if (typeof bound === 'string') return bound;
    const { address, port } = bound as AddressInfo;
    return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, 'close');
  }
}

export const tlsServer = (
  { cert, key }: ServerPair,
  options: TlsOptions = {},
): Promise<TestServer> => {
  const server = createTlsServer({ cert, key, ...options }, (socket) => {
    socket.on('error', () => undefined);
    socket.resume();
  });
  return new TestServer(server).listen();
};

/** A server that is a function from its sockets. */
export const rawServer = (serve: (socket: Socket) => void): Promise<TestServer> =>
  new TestServer(createServer(serve)).listen();

/** From here on the socket speaks TLS. */
export function upgrade(socket: Socket, { cert, key }: ServerPair): void {
  const secured = new TLSSocket(socket, { isServer: true, cert, key });
  secured.on('error', () => undefined);
  secured.resume();
}

export const listenerAt = (
  address: string,
  change: Partial<ProvenListener> = {},
): ProvenListener => ({ address, serverName: 'server.example.org', protocol: 'tls', ...change });

/** A prober to which these listeners, and no others, are configured. */
export const proberOf = (
  listeners: readonly ProvenListener[],
  connectionLimitMs = 60_000,
): Prober =>
  createProber({
    clock: systemClock,
    random: systemRandom,
    configured: () => listeners,
    connectionLimitMs,
  });

export const never: AbortSignal = new AbortController().signal;

export const lookAt = (listener: ProvenListener, connectionLimitMs?: number) =>
  proberOf([listener], connectionLimitMs).look(listener, never);
