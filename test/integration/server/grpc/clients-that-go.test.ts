import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { PassThrough } from 'node:stream';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Client, credentials, Metadata, ServerCredentials, type Server } from '@grpc/grpc-js';
import type { Operations } from '../../../../src/api/index.ts';
import type { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import type { Connection } from '../../../../src/server/grpc/connections.ts';
import {
  buildGrpcServer,
  type GrpcServerDependencies,
} from '../../../../src/server/grpc/grpc-server.ts';
import type { Caller } from '../../../../src/services/callers/caller.ts';
import { allMethods } from '../../../support/server.ts';
import { patienceMs, until } from '../../../support/until.ts';

const batch = '/meshca.issuer.v1.AgentIssuer/SignX509Svids';
const list = '/meshca.admin.v1.Audit/ExportAudit';
/** It may wait for approval. */
const mint = '/meshca.admin.v1.Roles/PutRole';

/** What the operations were given, and what became of it. */
let signals: AbortSignal[] = [];
let passing: PromiseWithResolvers<void> | undefined;
let observed: string[] = [];
let held = 0;
let yielded = 0;
let closed = 0;

async function* endless(signal: AbortSignal): AsyncGenerator<object> {
  try {
    while (!signal.aborted) {
      yielded += 1;
      yield { data: Buffer.alloc(16 * 1024) };
    }
  } finally {
    closed += 1;
  }
}

const operations = {
  pass: () => {
    held += 1;
    return passing?.promise ?? Promise.resolve();
  },
  run: (_path: string, _caller: Caller, _request: object, signal: AbortSignal) => {
    signals.push(signal);
    return new Promise((_resolve, reject) =>
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
    );
  },
  open: async (_path: string, _caller: Caller, _request: object, signal: AbortSignal) => {
    signals.push(signal);
    return endless(signal);
  },
} as unknown as Operations;

/** A server as in production, with one caller and operations that never end by themselves. */
async function serve(): Promise<{ readonly server: Server; readonly port: number }> {
  const caller = (path: string): Caller =>
    path.startsWith('/meshca.admin.')
      ? { class: 'local', uid: 0, gid: 0, pid: 1 }
      : {
          class: 'agent',
          kind: 'agent',
          spiffeId: 'spiffe://mesh.test/meshca/agent/a',
          serial: 'aa',
          notAfter: 0,
          authorityId: '',
          entryId: null,
          peer: 'x',
          generation: 1,
        };
  const connection = (): Connection => ({
    key: 'connection-1',
    peer: 'x',
    holder: 'x',
    socket: new PassThrough(),
    serverCertificateSha256: undefined,
    caller: Promise.resolve(caller(path)),
    onClose: new Set(),
  });
  const { server } = await buildGrpcServer(
    {
      connections: {
        byKey: connection,
        requestOwner: () => ({ name: 'x', bytes: 16 * 1024 * 1024 }),
        enterCall: () => () => {},
      },
      callers: { stillStands: async (first: Caller) => first },
      refusals: { idOf: () => '', refused: async () => '', count: () => {} },
      clock: systemClock,
      logger: silentLogger,
      limits: { concurrentCalls: 100, unarySeconds: patienceMs / 1000 },
      observe: (_method: string, code: string) => observed.push(code),
      operations,
      services: {},
      controlPlanes: [],
    } as unknown as GrpcServerDependencies,
    { messageBytes: 4 * 1024 * 1024, streamsPerConnection: 100 },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { server, port };
}

/** The method that is called; it decides who calls. */
let path = batch;

describe('a client that goes away', () => {
  let server: Server;
  let port: number;
  let client: Client;
  before(async () => {
    ({ server, port } = await serve());
    client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  });
  after(() => {
    client.close();
    server.forceShutdown();
  });
  beforeEach(() => {
    [signals, observed, passing, path] = [[], [], undefined, batch];
    [held, yielded, closed] = [0, 0, 0];
  });

  const call = (deadlineMs = patienceMs) => {
    const method = allMethods()[path]!;
    return client.makeUnaryRequest(
      path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => object,
      path === batch ? { items: [{ requestId: 'r', entryId: 'e' }] } : {},
      new Metadata(),
      { deadline: Date.now() + deadlineMs },
      () => {},
    );
  };
  const endedWith = async (): Promise<string> => {
    await until(() => signals[0]?.aborted === true, 'the operation learns of it');
    return (signals[0]!.reason as PkiError).code;
  };

  test('by cancelling a batch: the operation learns of it', async () => {
    const running = call();
    await until(() => signals.length === 1, 'the batch runs');
    assert.equal(signals[0]?.aborted, false);
    running.cancel();
    assert.equal(await endedWith(), 'CANCELLED');
  });

  test('by its deadline: the operation learns of it', async () => {
    call(500);
    await until(() => signals.length === 1, 'the batch runs');
    assert.equal(await endedWith(), 'CANCELLED');
  });

  test('with its connection: the operation learns of it', async () => {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    const request = session.request({
      ':method': 'POST',
      ':path': batch,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    request.on('error', () => {});
    request.end(Buffer.alloc(5));
    await until(() => signals.length === 1, 'the batch runs');
    session.destroy();
    assert.equal(await endedWith(), 'CANCELLED');
  });

  test('while its call is held up: the operation does not run', async () => {
    passing = Promise.withResolvers();
    path = mint;
    const waiting = call();
    await until(() => held === 1, 'the call is held up');
    waiting.cancel();
    // what comes afterwards on the same connection shows that the server knows of it
    const next = call();
    await until(() => held === 2, 'the next call is held up');
    passing.resolve();
    await until(() => observed.includes('CANCELLED'), 'the first call has ended');
    await until(() => signals.length > 0, 'the next call runs');
    next.cancel();
    await endedWith();
    assert.equal(signals.length, 1);
  });

  test('a call that never waits for approval is not held up', async () => {
    passing = Promise.withResolvers();
    const running = call();
    await until(() => signals.length === 1, 'the batch runs');
    assert.equal(held, 0);
    running.cancel();
    await endedWith();
  });

  test('in the middle of a streaming list: it is read no further, and closed', async () => {
    path = list;
    const method = allMethods()[list]!;
    const stream = client.makeServerStreamRequest(
      list,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => object,
      {},
    );
    stream.on('error', () => {});
    let read = 0;
    stream.on('data', () => {
      read += 1;
    });
    await until(() => read >= 3, 'the list is read');
    stream.cancel();
    await until(() => closed === 1, 'the list is closed');
    assert.equal(signals[0]?.aborted, true);
    const afterwards = yielded;
    path = batch;
    const next = call();
    await until(() => signals.length === 2, 'a later call runs');
    next.cancel();
    assert.equal(yielded, afterwards);
  });
});
