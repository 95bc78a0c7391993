import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { runCli } from '../../../../../src/cli/program.ts';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  createCsr,
  parseCertificate,
  sha256Hex,
  verifyX509Svid,
} from '../../../../../src/common/x509/index.ts';
import { agentSeat, type AgentSeat } from '../../../../support/agent-seat.ts';
import { testContext } from '../../../../support/command.ts';
import {
  createCertificateLocally,
  csrPem,
  type CreateCertificateAnswer,
} from '../../../../support/istio.ts';
import { rotationOf } from '../../../../support/mesh.ts';
import { startTestServer, type TestServer } from '../../../../support/server.ts';
import { until } from '../../../../support/until.ts';

const socketId = 'spiffe://mesh.test/node/istio-socket';
const web = 'spiffe://mesh.test/ns/shop/sa/web';
const other = 'spiffe://mesh.test/ns/shop/sa/other';
const myUid = `unix:uid:${process.getuid?.()}`;

const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const newCsr = (uriSan?: string): string =>
  csrPem(createCsr(newKey(), uriSan === undefined ? {} : { uriSan }));

/** A server, and an agent with the socket for Istio. */
class Node implements AsyncDisposable {
  readonly server: TestServer;
  readonly seat: AgentSeat;
  readonly agentId: string;

  constructor(server: TestServer, seat: AgentSeat, agentId: string) {
    this.server = server;
    this.seat = seat;
    this.agentId = agentId;
  }

  static async start(): Promise<Node> {
    const server = await startTestServer({ config: { issuance: { minimumTtlSeconds: 30 } } });
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
    const seat = await agentSeat(
      server,
      { joinToken: { token } },
      {
        sections: {
          istio: {
            enabled: true,
            spiffeId: socketId,
            // beside the sockets of the seat, whose folder is known only later
            socketPath: `/tmp/meshca-istio-${crypto.randomUUID().slice(0, 8)}`,
          },
        },
      },
    );
    await seat.start();
    await seat.connected();
    return new Node(server, seat, agentId);
  }

  get socketPath(): string {
    return this.seat.config.istio.socketPath;
  }

  async entry(id: string, spiffeId: string, more: object = {}): Promise<void> {
    const entries = Number(this.seat.agent.status().entries);
    const { results } = await this.server.admin('Entries/CreateEntries', {
      entries: [{ id, spiffeId, parentId: this.agentId, selectors: [myUid], ...more }],
    });
    assert.equal(results[0]?.outcome, 'entry');
    await until(() => Number(this.seat.agent.status().entries) === entries + 1, 'the entry');
  }

  async remove(id: string): Promise<void> {
    const entries = Number(this.seat.agent.status().entries);
    await this.server.admin('Entries/DeleteEntries', { ids: [id] });
    await until(() => Number(this.seat.agent.status().entries) === entries - 1, 'the end of it');
  }

  create(csr: string, more: object = {}): Promise<CreateCertificateAnswer> {
    return createCertificateLocally(this.socketPath, this.server.rootsDer, { csr, ...more });
  }

  /** Until the socket shows the certificate of its entry. */
  async shown(): Promise<void> {
    await until(async () => (await this.create('')).code === 'CSR_MALFORMED', 'the certificate');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.seat[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

function read({ certChain, code }: CreateCertificateAnswer) {
  assert.equal(code, 'OK');
  const elements = certChain.map((pem) => unwrap(certificatesFromPem(pem)));
  const chainDer = elements.slice(0, -1).map(([der]) => der as Buffer);
  return {
    chainDer,
    rootsDer: elements.at(-1) as readonly Buffer[],
    leaf: unwrap(parseCertificate(chainDer[0] as Buffer)),
  };
}

describe('CreateCertificate on the socket of an agent', () => {
  let node: Node;
  before(async () => {
    node = await Node.start();
    await node.entry('web', web, { x509TtlSeconds: 600 });
    await node.entry('socket', socketId, { dnsNames: ['unix'] });
    await node.shown();
  });
  after(() => node[Symbol.asyncDispose]());

  test('certifies the key of the caller for the identity of its entry, on record', async () => {
    const key = newKey();
    const { chainDer, rootsDer, leaf } = read(await node.create(csrPem(createCsr(key))));
    assert.deepEqual(leaf.uriSans, [web]);
    assert.deepEqual(leaf.dnsSans, []);
    assert.ok(new X509Certificate(chainDer[0] as Buffer).checkPrivateKey(key));
    assert.deepEqual(rootsDer.map(sha256Hex), node.server.rootsDer.map(sha256Hex));
    assert.ok(chainDer.length > 1, 'the intermediates');
    const verified = verifyX509Svid({
      chainDer,
      bundle: () => rootsDer,
      now: Math.floor(Date.now() / 1000),
    });
    assert.ok(verified.ok);
    const { certificates } = await node.server.admin('Certificates/ListCertificates', {
      filter: { spiffeId: web },
    });
    const recorded = certificates.find(({ serial }) => serial === leaf.serialHex);
    assert.equal(recorded?.holder, node.agentId);
    assert.equal(recorded?.state, 'issued');
  });

  test('brings the life that is asked for into the limits of the entry and of the server', async () => {
    const lifeOf = async (validityDuration: number): Promise<number> => {
      const { leaf } = read(await node.create(newCsr(), { validityDuration }));
      return leaf.notAfter - leaf.notBefore - 30;
    };
    assert.deepEqual(
      await Promise.all([86_400, 60, 1, 0].map((asked) => lifeOf(asked))),
      [600, 60, 30, 600],
    );
  });

  test('gives the recorded certificate to a repeated call, and a new one for a new key', async () => {
    const csr = newCsr();
    const [first, again, another] = [
      await node.create(csr),
      await node.create(csr),
      await node.create(newCsr()),
    ].map((answer) => read(answer).leaf.serialHex);
    assert.equal(again, first);
    assert.notEqual(another, first);
  });

  test('lets the request choose among the identities of the caller, and no other', async () => {
    await node.entry('other', other);
    assert.deepEqual(read(await node.create(newCsr(other))).leaf.uriSans, [other]);
    assert.deepEqual(read(await node.create(newCsr())).leaf.uriSans, [web]);
    await node.remove('other');
    const foreign = await node.create(newCsr(other));
    assert.deepEqual([foreign.code, foreign.status], ['CSR_IDENTITY_MISMATCH', 7]);
  });

  test('does not give the identity of the socket', async () => {
    assert.equal((await node.create(newCsr(socketId))).code, 'CSR_IDENTITY_MISMATCH');
    await node.remove('web');
    assert.equal((await node.create(newCsr())).code, 'NO_IDENTITY');
    await node.entry('web', web, { x509TtlSeconds: 600 });
  });

  test('takes no identity from a token', async () => {
    const answer = await createCertificateLocally(
      node.socketPath,
      node.server.rootsDer,
      { csr: newCsr() },
      { token: 'e30.e30.e30' },
    );
    assert.deepEqual(read(answer).leaf.uriSans, [web]);
  });

  test('refuses any impersonation, which explain knows by its ID', async () => {
    const impersonating = {
      metadata: {
        fields: { ImpersonatedIdentity: { stringValue: web, kind: 'stringValue' } },
      },
    };
    const { code, status, refusalId } = await node.create(newCsr(), impersonating);
    assert.deepEqual([code, status], ['IMPERSONATION_REFUSED', 16]);
    const { context, seen } = testContext();
    const local = join(dirname(node.seat.dataDir), 'l');
    const explain = ['explain', '--refusal', refusalId, '--socket', local];
    assert.equal(await runCli(explain, context), 0, seen.err);
    assert.match(seen.out, /refused: IMPERSONATION_REFUSED/);
  });

  test('speaks TLS 1.3 alone', async () => {
    const path = node.socketPath;
    const outcome = await new Promise<string>((resolve) => {
      const socket = connectTls({
        path,
        servername: 'unix',
        ca: [],
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
        maxVersion: 'TLSv1.2',
      });
      socket.on('secureConnect', () => resolve('connected'));
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    });
    assert.equal(outcome, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
    const plain = connect(path);
    const ended = new Promise<void>((resolve) => plain.once('close', () => resolve()));
    plain.on('error', () => {});
    plain.resume().write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await ended;
    read(await node.create(newCsr()));
  });
});

test('the socket for Istio has a certificate only while an entry gives one to the agent', async () => {
  await using node = await Node.start();
  await node.entry('web', web);
  assert.equal((await node.create(newCsr())).status, 14, 'without an entry');
  await node.entry('nameless', socketId);
  assert.equal((await node.create(newCsr())).status, 14, 'without the name');
  await node.remove('nameless');
  await node.entry('socket', socketId, { dnsNames: ['unix'] });
  await node.shown();
  read(await node.create(newCsr()));
  await node.remove('socket');
  await until(async () => (await node.create(newCsr())).status === 14, 'the end of the right');
});

test('a new root waits for a caller by name, until its next certificate', async () => {
  await using node = await Node.start();
  await node.entry('web', web);
  await node.entry('socket', socketId, { dnsNames: ['unix'] });
  await node.shown();
  assert.equal(read(await node.create(newCsr())).rootsDer.length, 1);
  await node.server.admin('Authorities/RotateAuthorities', {
    kind: 'root',
    stopAfter: 'published',
  });
  const waitedFor = async (): Promise<readonly string[]> => {
    const published = await rotationOf(node.server).inState('root', 'published');
    const { inferredHolders = [], laggards = [] } = published?.confirmation ?? {};
    assert.ok(
      laggards.every(({ spiffeId }) => spiffeId !== web),
      'it is not counted as proven',
    );
    return inferredHolders.map(({ holder }) => holder?.split(' pid ')[0] ?? '');
  };
  await until(async () => (await waitedFor()).length > 0, 'the caller is waited for');
  assert.deepEqual(await waitedFor(), [`${web} (CreateCertificate`]);
  await until(async () => {
    // the agent itself may not have the new root yet
    if (read(await node.create(newCsr())).rootsDer.length < 2) return false;
    return (await waitedFor()).length === 0;
  }, 'its next certificate with the new root counts');
});
