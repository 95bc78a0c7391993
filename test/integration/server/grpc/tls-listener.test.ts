import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { silentLogger, systemClock, type Logger } from '../../../../src/common/runtime/index.ts';
import { certificatesToPem, pemEncode, sha256Hex } from '../../../../src/common/x509/index.ts';
import { Connections } from '../../../../src/server/grpc/connections.ts';
import {
  buildGrpcServer,
  type GrpcServerDependencies,
} from '../../../../src/server/grpc/grpc-server.ts';
import type {
  IdentitySource,
  TlsIdentity,
} from '../../../../src/server/grpc/presented-identities.ts';
import { startTlsListener, type Listening } from '../../../../src/server/grpc/tls-listener.ts';
import type { Callers } from '../../../../src/services/services.ts';
import { createRoot, createSvid } from '../../../support/test-pki.ts';
import { patienceMs, until } from '../../../support/until.ts';

const istiod = 'istiod.istio-system.svc';
const root = createRoot('mesh.test');

/** A certificate that a test can renew. */
class Source implements IdentitySource {
  readonly #dnsName: string;
  #identity: TlsIdentity;
  #listener: () => void = () => {};

  constructor(dnsName: string) {
    this.#dnsName = dnsName;
    this.#identity = identityOf(dnsName);
  }

  current(): TlsIdentity {
    return this.#identity;
  }

  onChange(listener: () => void): () => void {
    this.#listener = listener;
    return () => {};
  }

  renew(): void {
    this.#identity = identityOf(this.#dnsName);
    this.#listener();
  }
}

function identityOf(dnsName: string): TlsIdentity {
  const svid = createSvid(root, 'spiffe://mesh.test/meshca/server', { dnsSans: [dnsName] });
  return {
    chainPem: certificatesToPem(svid.chainDer),
    keyPem: pemEncode('PRIVATE KEY', svid.keyDer),
    sha256: Buffer.from(sha256Hex(svid.chainDer[0] as Buffer), 'hex'),
  };
}

const own = new Source('localhost');
const front = new Source(istiod);
const lines: Record<string, unknown>[] = [];
const oldClients: string[] = [];
const counted: string[] = [];

const logger = {
  ...silentLogger,
  warn: (fields: Record<string, unknown>, text: string) => lines.push({ ...fields, text }),
} as unknown as Logger;

let listening: Listening;
let connections: Connections;

async function serve(handshakeSeconds = patienceMs / 1000): Promise<Listening> {
  const callers = {
    onEnded: () => () => {},
    anonymous: (peer: string) => Promise.resolve({ class: 'anonymous', peer }),
  } as unknown as Callers;
  const refusals = {
    idOf: () => '',
    refused: async () => '',
    count: (operation: string) => counted.push(operation),
  };
  connections = new Connections(callers, systemClock);
  const { server, setServing } = await buildGrpcServer(
    {
      connections,
      callers,
      refusals,
      clock: systemClock,
      logger: silentLogger,
      limits: { concurrentCalls: 100, unarySeconds: patienceMs / 1000 },
      observe: () => {},
      services: {},
      controlPlanes: [],
    } as unknown as GrpcServerDependencies,
    { messageBytes: 4 * 1024 * 1024, streamsPerConnection: 100 },
  );
  setServing(true);
  return startTlsListener({
    grpcServer: server,
    connections,
    callers,
    refusals,
    identity: own,
    fronts: [{ name: 'istio', dnsNames: [istiod], identity: front, anonymous: false }],
    rootsDer: () => [root.certificateDer],
    clock: systemClock,
    logger,
    onOldClient: (name) => oldClients.push(name),
    options: {
      address: '127.0.0.1',
      port: 0,
      connections: 1000,
      handshakes: 100,
      handshakeSeconds,
    },
  });
}

const dial = (options: ConnectionOptions, port = listening.port): TLSSocket =>
  connect({
    host: '127.0.0.1',
    port,
    ca: certificatesToPem([root.certificateDer]),
    ...options,
  });

/** The SHA-256 of the certificate that a client sees which asks for this name. */
async function seenBy(servername: string): Promise<string> {
  const socket = dial({ servername, ALPNProtocols: ['h2'], rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { raw } = socket.getPeerCertificate();
  socket.destroy();
  return sha256Hex(raw);
}

/** The gRPC status of a health check over this connection. */
async function checkOver(socket: TLSSocket): Promise<string> {
  const session = connectHttp2(`https://${istiod}`, { createConnection: () => socket });
  session.on('error', () => {});
  const request = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  request.end(Buffer.alloc(5));
  request.resume();
  const [trailers] = (await once(request, 'trailers')) as [Record<string, string>];
  session.destroy();
  return String(trailers['grpc-status']);
}

describe('the TLS port', () => {
  before(async () => {
    listening = await serve();
  });
  after(() => listening.close(0));

  test('presents the certificate of a front to whoever asks for its name', async () => {
    const seen = {
      front: await seenBy(istiod),
      upperCase: await seenBy(istiod.toUpperCase()),
      own: await seenBy('localhost'),
      unknown: await seenBy('other.example.org'),
    };
    const [ofFront, ofServer] = [front, own].map((each) => each.current().sha256.toString('hex'));
    assert.deepEqual(seen, {
      front: ofFront,
      upperCase: ofFront,
      own: ofServer,
      unknown: ofServer,
    });
  });

  test('presents a renewed certificate of a front without a restart', async () => {
    const before = await seenBy(istiod);
    front.renew();
    const after = await seenBy(istiod);
    assert.notEqual(after, before);
    assert.equal(after, front.current().sha256.toString('hex'));
  });

  test('serves HTTP/2 to a client that offers no ALPN, as Linkerd’s proxies do', async () => {
    const socket = dial({ servername: istiod });
    await once(socket, 'secureConnect');
    assert.equal(socket.alpnProtocol, false);
    assert.equal(await checkOver(socket), '0');
  });

  test('refuses a client that offers other protocols only', async () => {
    const socket = dial({ servername: istiod, ALPNProtocols: ['http/1.1'] });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.match(error.message, /no application protocol/);
  });

  test('refuses, counts and names a client without TLS 1.3', async () => {
    oldClients.length = 0;
    lines.length = 0;
    for (const servername of [istiod, 'localhost']) {
      const socket = dial({ servername, maxVersion: 'TLSv1.2', ALPNProtocols: ['h2'] });
      const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
      assert.match(error.message, /protocol version/);
    }
    await until(() => oldClients.length === 2, 'both clients are counted');
    assert.deepEqual(oldClients, ['istio', 'other']);
    assert.deepEqual(
      lines.map(({ address, serverName }) => ({ address, serverName })),
      [
        { address: '127.0.0.1', serverName: istiod },
        { address: '127.0.0.1', serverName: 'localhost' },
      ],
    );
  });

  test('counts a failed handshake of a client with TLS 1.3 as no old client', async () => {
    oldClients.length = 0;
    counted.length = 0;
    const socket = dial({ servername: istiod, ALPNProtocols: ['http/1.1'] });
    await once(socket, 'error');
    await until(() => counted.includes('tls-handshake'), 'the failed handshake is counted');
    assert.deepEqual(oldClients, []);
  });

  test('takes a ClientHello that comes byte by byte', async () => {
    const tcp = connectTcp(listening.port, '127.0.0.1');
    await once(tcp, 'connect');
    const write = tcp.write.bind(tcp) as (chunk: Buffer, ...rest: unknown[]) => boolean;
    const slow = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        for (const byte of chunk) write(Buffer.from([byte]));
        done();
      },
    });
    tcp.setNoDelay(true);
    tcp.on('data', (bytes) => slow.push(bytes));
    const socket = connect({
      socket: slow,
      servername: istiod,
      ca: certificatesToPem([root.certificateDer]),
    });
    await once(socket, 'secureConnect');
    assert.equal(await checkOver(socket), '0');
    tcp.destroy();
  });
});

/** The begin of a handshake record of 512 bytes. */
const halfHello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);

for (const [client, words] of [
  ['a client that says nothing', Buffer.alloc(0)],
  ['a client that stops within its first message', halfHello],
] as const)
  describe(client, () => {
    const hang = async (port: number): Promise<Socket> => {
      const tcp = connectTcp(port, '127.0.0.1');
      tcp.on('error', () => {});
      tcp.resume();
      await once(tcp, 'connect');
      if (words.length > 0) tcp.write(words);
      return tcp;
    };

    test('is closed after the time for a handshake', async () => {
      const quick = await serve(1);
      await once(await hang(quick.port), 'close');
      await quick.close(0);
    });

    test('does not delay the end of the server', async () => {
      const patient = await serve();
      const tcp = await hang(patient.port);
      // a client that came later was served: the words of the first have arrived
      const later = dial({ servername: istiod }, patient.port);
      await once(later, 'secureConnect');
      const closed = once(tcp, 'close');
      await patient.close(0);
      await closed;
    });
  });
