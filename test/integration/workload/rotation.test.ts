import assert from 'node:assert/strict';
import { request } from 'node:https';
import type { Agent } from 'node:https';
import { test } from 'node:test';
import {
  Client,
  Server,
  status,
  type ServiceError,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js';
import {
  authorizeId,
  authorizeMemberOf,
  connectTls,
  createHttpsServer,
  createTlsServer,
  grpcChannelCredentials,
  grpcPeerId,
  httpsAgent,
  listenGrpc,
  peerOf,
} from '../../../src/workload/index.ts';
import type { FakeIdentity } from '../../support/fake-workload-api.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  type TestAuthority,
} from '../../support/test-pki.ts';
import { patienceMs, until } from '../../support/until.ts';
import { listen, startWorkload, type Workload } from '../../support/workload-lib.ts';

const serverId = 'spiffe://a.test/greeter';
const clientId = 'spiffe://a.test/caller';
const root = createRoot('a.test', { subject: 'first' });
const issuer = createIntermediate(root, 'a.test');
const identity = (
  id: string,
  from: TestAuthority = issuer,
  roots: readonly TestAuthority[] = [root],
): FakeIdentity => ({
  ...createSvid(from, id),
  bundleDer: roots.map((each) => each.certificateDer),
});
const workload = (id: string): Promise<Workload> => startWorkload(identity(id));

function get(agent: Agent, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ agent, host: '127.0.0.1', port }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('end', () => resolve(text));
    });
    call.on('error', reject);
    call.end();
  });
}

const failed = ({ source }: Workload): number =>
  Object.values({
    ...source.stats().handshakes.client.failed,
    ...source.stats().handshakes.server.failed,
  }).reduce((sum, each) => sum + each, 0);

test('both sides rotate under continuous HTTPS traffic and the root rolls over, with zero failures', async () => {
  await using server = await workload(serverId);
  await using client = await workload(clientId);
  const front = createHttpsServer(
    server.source,
    { authorize: authorizeId(clientId) },
    (incoming, response) => response.end(peerOf(incoming.socket)?.serial),
  );
  const port = await listen(front);
  const kept = httpsAgent(client.source, { expect: authorizeId(serverId) });
  const fresh = httpsAgent(client.source, { expect: authorizeId(serverId), keepAlive: false });
  const serials = new Set<string>();
  const errors: unknown[] = [];
  let running = true;
  let requests = 0;
  const traffic = async (agent: Agent): Promise<void> => {
    while (running) {
      await get(agent, port).then(
        (serial) => serials.add(serial),
        (error: unknown) => errors.push(error),
      );
      requests += 1;
    }
  };
  const all = Promise.all([traffic(kept), traffic(kept), traffic(fresh)]);
  // also where something fails before its end
  using _ended = {
    [Symbol.dispose]: () => {
      running = false;
      kept.destroy();
      fresh.destroy();
      front.close();
      front.closeAllConnections();
    },
  };

  /**
   * Until both sides have taken what they were given, and requests under it have been served on new
   * and on kept connections.
   */
  const renewed = async (...gives: readonly (() => void)[]): Promise<void> => {
    const updates = [server.source.stats().updates, client.source.stats().updates] as const;
    const seen = serials.size;
    for (const give of gives) {
      const served = requests;
      give();
      await until(() => requests > served, 'a request between the two');
    }
    await until(
      () =>
        server.source.stats().updates > updates[0] &&
        client.source.stats().updates > updates[1] &&
        serials.size > seen,
    );
    const served = requests;
    await until(() => requests >= served + 6);
  };
  for (let round = 0; round < 5; round += 1) {
    await renewed(
      () => server.api.setX509({ svids: [identity(serverId)] }),
      () => client.api.setX509({ svids: [identity(clientId)] }),
    );
  }
  const nextRoot = createRoot('a.test', { subject: 'second' });
  const nextIssuer = createIntermediate(nextRoot, 'a.test');
  const stages: readonly (readonly [TestAuthority, readonly TestAuthority[]])[] = [
    [issuer, [root, nextRoot]],
    [nextIssuer, [root, nextRoot]],
    [nextIssuer, [nextRoot]],
  ];
  for (const [from, roots] of stages) {
    await renewed(() => {
      server.api.setX509({ svids: [identity(serverId, from, roots)] });
      client.api.setX509({ svids: [identity(clientId, from, roots)] });
    });
  }
  await until(() => requests > 100);
  running = false;
  await all;
  assert.deepEqual(errors, []);
  assert.equal(failed(server) + failed(client), 0);
  assert.equal(client.source.stats().rotations, 8);
  assert.ok(serials.size >= 8, `the server saw ${serials.size} certificates`);
});

test('an HTTPS request to a server with another ID fails with the reason', async () => {
  await using server = await workload(serverId);
  await using client = await workload(clientId);
  const front = createHttpsServer(
    server.source,
    { authorize: authorizeMemberOf('a.test') },
    (_incoming, response) => response.end(),
  );
  const port = await listen(front);
  const agent = httpsAgent(client.source, { expect: authorizeId('spiffe://a.test/another') });
  await assert.rejects(get(agent, port), { code: 'PEER_NOT_AUTHORIZED' });
  agent.destroy();
  front.close();
});

const echo = {
  echo: {
    path: '/test.Echo/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: (value: Buffer) => value,
    requestDeserialize: (value: Buffer) => value,
    responseSerialize: (value: Buffer) => value,
    responseDeserialize: (value: Buffer) => value,
  },
  watch: {
    path: '/test.Echo/Watch',
    requestStream: false,
    responseStream: true,
    requestSerialize: (value: Buffer) => value,
    requestDeserialize: (value: Buffer) => value,
    responseSerialize: (value: Buffer) => value,
    responseDeserialize: (value: Buffer) => value,
  },
} as const;
const asIs = (value: Buffer): Buffer => value;

function echoServer(): Server {
  const server = new Server();
  server.addService(echo, {
    echo: (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) =>
      answer(null, Buffer.from(grpcPeerId(call)?.toString() ?? 'nobody')),
    watch: () => undefined,
  });
  return server;
}

const call = (client: Client): Promise<string> =>
  new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      echo.echo.path,
      asIs,
      asIs,
      Buffer.from('x'),
      { deadline: Date.now() + patienceMs },
      (error: ServiceError | null, value?: Buffer) =>
        error ? reject(error) : resolve(String(value)),
    );
  });

test('gRPC calls go on through rotations on both sides, on old and new connections, with zero failures', async () => {
  await using server = await workload(serverId);
  await using client = await workload(clientId);
  const grpc = echoServer();
  await using listener = await listenGrpc(server.source, grpc, {
    authorize: authorizeId(clientId),
  });
  const credentials = grpcChannelCredentials(client.source, { expect: authorizeId(serverId) });
  const newClient = (): Client =>
    new Client(`127.0.0.1:${listener.port}`, credentials, { 'grpc.use_local_subchannel_pool': 1 });
  const long = newClient();
  for (let round = 0; round < 6; round += 1) {
    server.api.setX509({ svids: [identity(serverId)] });
    client.api.setX509({ svids: [identity(clientId)] });
    for (let index = 0; index < 5; index += 1) {
      const short = newClient();
      assert.deepEqual(await Promise.all([call(long), call(short)]), [clientId, clientId]);
      short.close();
    }
  }
  assert.equal(failed(server) + failed(client), 0);
  assert.equal(client.source.stats().handshakes.client.ok, 31);
  long.close();
  await listener.close();
  grpc.forceShutdown();
});

test('a gRPC client refuses a server with another ID, and a gRPC server a client that it does not admit', async () => {
  await using server = await workload(serverId);
  await using client = await workload(clientId);
  const grpc = echoServer();
  await using listener = await listenGrpc(server.source, grpc, {
    authorize: authorizeId('spiffe://a.test/somebody'),
  });
  for (const expected of ['spiffe://a.test/another', serverId]) {
    const channel = new Client(
      `127.0.0.1:${listener.port}`,
      grpcChannelCredentials(client.source, { expect: authorizeId(expected) }),
    );
    await assert.rejects(call(channel), { code: status.UNAVAILABLE });
    channel.close();
  }
  assert.ok((client.source.stats().handshakes.client.failed['PEER_NOT_AUTHORIZED'] ?? 0) >= 1);
  assert.ok((server.source.stats().handshakes.server.failed['PEER_NOT_AUTHORIZED'] ?? 0) >= 1);
  await listener.close(0);
  grpc.forceShutdown();
});

test('an open gRPC stream ends with the certificate that it was admitted on', async () => {
  await using server = await workload(serverId);
  await using client = await startWorkload({
    ...createSvid(issuer, clientId, { notAfterIn: 10 }),
    bundleDer: [root.certificateDer],
  });
  const grpc = echoServer();
  await using listener = await listenGrpc(server.source, grpc, {
    authorize: authorizeId(clientId),
  });
  const channel = new Client(
    `127.0.0.1:${listener.port}`,
    grpcChannelCredentials(client.source, { expect: authorizeId(serverId) }),
  );
  const stream = channel.makeServerStreamRequest(echo.watch.path, asIs, asIs, Buffer.from('x'));
  const ended = new Promise<number>((resolve) =>
    stream.on('error', (error) => resolve((error as ServiceError).code)),
  );
  stream.resume();
  assert.equal(await ended, status.UNAVAILABLE);
  assert.equal(server.source.stats().closedAsExpired, 1);
  channel.close();
  await listener.close(0);
  grpc.forceShutdown();
});

test('TLS that agreed on something else than HTTP/2 never reaches the gRPC server', async () => {
  await using server = await workload(serverId);
  await using client = await workload(clientId);
  const grpc = echoServer();
  await using listener = await listenGrpc(server.source, grpc, {
    authorize: authorizeId(clientId),
  });
  const socket = await connectTls(client.source, {
    host: '127.0.0.1',
    port: listener.port,
    expect: authorizeId(serverId),
  });
  socket.on('error', () => undefined);
  socket.resume();
  await until(() => socket.closed);
  await listener.close(0);
  grpc.forceShutdown();
});

test('closing a source closes the connections that it admitted', async () => {
  const server = await workload(serverId);
  await using client = await workload(clientId);
  const front = createTlsServer(server.source, { authorize: authorizeId(clientId) }, (socket) =>
    socket.resume(),
  );
  const port = await listen(front);
  const socket = await connectTls(client.source, {
    host: '127.0.0.1',
    port,
    expect: authorizeId(serverId),
  });
  socket.on('error', () => undefined);
  socket.resume();
  await until(() => server.source.stats().openConnections === 1);
  await server[Symbol.asyncDispose]();
  await until(() => socket.closed);
  front.close();
});
