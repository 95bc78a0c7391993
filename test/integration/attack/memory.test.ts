import assert from 'node:assert/strict';
import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
} from 'node:http2';
import { connect as connectNet, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { systemClock, uuidv7 } from '../../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
} from '../../../src/common/x509/index.ts';
import { localApi, localApiLimits } from '../../../sidecar/apis/local/index.ts';
import { withoutTargets } from '../../support/without-targets.ts';
import { silentMetrics, startLocalServer } from '../../../sidecar/local-server/index.ts';
import {
  startTestServer,
  testTrustDomain,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { entryOf, noForeignBundles } from '../../support/local-server-fakes.ts';
import { nextTurn, until } from '../../support/until.ts';
import { speak, startHarness, type Harness } from '../sidecar/local-server/support.ts';

/** What clients that never finish a request make agent and server hold. */

const kibibyte = 1024;

const pieceBytes = 4 * kibibyte;

interface Unfinished {
  readonly stream: ClientHttp2Stream;
  readonly state: { code: string | undefined; closed: boolean };
  readonly bytes: number;
}

/** A request of which all but the last byte is sent; `content` is a whole body in place of that. */
function unfinished(
  session: ClientHttp2Session,
  path: string,
  content: number | Buffer,
  headers: Readonly<Record<string, string>> = {},
): Unfinished {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const state: Unfinished['state'] = { code: undefined, closed: false };
  const note = (received: Readonly<Record<string, unknown>>): void => {
    if (received['meshca-code'] !== undefined) state.code = String(received['meshca-code']);
    else if (received['grpc-status'] !== undefined)
      state.code = `status ${String(received['grpc-status'])}`;
  };
  stream.on('response', note);
  stream.on('trailers', note);
  stream.on('error', () => {});
  stream.on('close', () => (state.closed = true));
  stream.resume();
  // in pieces, so that what has left can be told from what waits for the peer to take it
  const whole = typeof content === 'number' ? allButOne(content) : content;
  for (let at = 0; at < whole.length; at += pieceBytes)
    stream.write(whole.subarray(at, at + pieceBytes));
  return { stream, state, bytes: whole.length };
}

function allButOne(bytes: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes, 1);
  return Buffer.concat([prefix, Buffer.alloc(bytes - 1, 1)]);
}

/**
 * Bytes that have left for calls that are open still: at most what the peer holds of them, since
 * the rest waits for its window.
 */
const leftFor = (calls: readonly Unfinished[]): number =>
  calls
    .filter(({ state }) => !state.closed)
    .reduce(
      (sum, { bytes, stream }) => sum + Math.max(0, bytes - stream.writableLength - pieceBytes),
      0,
    );

const refusedOf = (calls: readonly Unfinished[]): readonly string[] =>
  calls.flatMap(({ state }) => state.code ?? []);

async function attack(
  sessions: number,
  streams: number,
  open: () => ClientHttp2Session,
  one: (session: ClientHttp2Session) => Unfinished,
): Promise<{ readonly calls: readonly Unfinished[]; end(): void }> {
  const opened = Array.from({ length: sessions }, open);
  for (const each of opened) each.on('error', () => {});
  const calls: Unfinished[] = [];
  for (let round = 0; round < streams; round += 1) {
    for (const session of opened)
      if (!session.closed && !session.destroyed) calls.push(one(session));
    await nextTurn();
  }
  return {
    calls,
    end() {
      for (const each of opened) each.destroy();
    },
  };
}

describe('the Workload API', () => {
  const validate = '/SpiffeWorkloadAPI/ValidateJWTSVID';
  const open = (harness: Harness) => (): ClientHttp2Session =>
    connectHttp2('http://localhost', { createConnection: () => connectNet(harness.path) });

  test('a user with unfinished requests is refused at its share, and others are served', async () => {
    await using harness = await startHarness({
      api: { limits: { requestBytesPerUid: 256 * kibibyte } },
    });
    harness.entries.set(
      entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']),
      entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']),
    );
    const greedy = await attack(8, 8, open(harness), (session) =>
      unfinished(session, validate, 20 * kibibyte, { 'workload.spiffe.io': 'true' }),
    );
    await until(() => refusedOf(greedy.calls).length >= 40);
    assert.ok(
      refusedOf(greedy.calls).every((code) => code === 'OVERLOADED'),
      refusedOf(greedy.calls).join(),
    );
    // what is left open fits into the share
    await until(() => leftFor(greedy.calls) <= 256 * kibibyte);
    const other = await harness.actor();
    await other.become(23_456);
    const served = speak(await other.connect(harness.path)).fetchX509Svid();
    await until(() => served.state.messages.length === 1);
    greedy.end();
    await until(() => harness.api.connections() === 1);
    const own = await harness.actor();
    const again = speak(await own.connect(harness.path)).fetchX509Svid();
    await until(() => again.state.messages.length === 1);
  });

  test('beyond the total, those who hold little are served', async () => {
    await using harness = await startHarness({
      api: { limits: { requestBytesTotal: 128 * kibibyte } },
    });
    harness.entries.set(entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']));
    const greedy = await attack(4, 4, open(harness), (session) =>
      unfinished(session, validate, 20 * kibibyte, { 'workload.spiffe.io': 'true' }),
    );
    await until(() => refusedOf(greedy.calls).length >= 9);
    const other = await harness.actor();
    await other.become(23_456);
    const served = speak(await other.connect(harness.path)).fetchX509Svid();
    await until(() => served.state.messages.length === 1);
    greedy.end();
  });

  test('metadata is bounded, too long messages are refused early, and a compressed one counts as largest', async () => {
    await using harness = await startHarness({
      api: { limits: { requestBytesPerUid: 100 * kibibyte } },
    });
    const session = open(harness)();
    const long = unfinished(session, validate, 100, {
      'workload.spiffe.io': 'true',
      filler: 'x'.repeat(9_000),
    });
    await until(() => long.state.code !== undefined);
    assert.equal(long.state.code, 'INVALID_REQUEST');
    const large = unfinished(session, validate, 65 * kibibyte, { 'workload.spiffe.io': 'true' });
    await until(() => large.state.code !== undefined);
    assert.equal(large.state.code, 'status 8');
    const zipped = gzipSync(Buffer.alloc(24 * kibibyte - 100));
    const body = Buffer.concat([Buffer.from([1, 0, 0, 0, zipped.length]), zipped]);
    const calls = Array.from({ length: 6 }, () =>
      unfinished(session, validate, body, {
        'workload.spiffe.io': 'true',
        'grpc-encoding': 'gzip',
      }),
    );
    await until(() => refusedOf(calls).length >= 2);
    session.destroy();
  });

  test('a flood of unfinished requests on a thousand streams leaves the memory of the agent as it is', async () => {
    await using harness = await startHarness();
    harness.entries.set(entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']));
    const before = process.memoryUsage();
    const greedy = await attack(32, 32, open(harness), (session) =>
      unfinished(session, validate, 23 * kibibyte, { 'workload.spiffe.io': 'true' }),
    );
    await until(
      () =>
        refusedOf(greedy.calls).length > 0 &&
        leftFor(greedy.calls.filter(({ state }) => state.code === undefined)) <=
          4 * kibibyte * kibibyte,
    );
    assert.ok(refusedOf(greedy.calls).length < greedy.calls.length);
    assert.ok(process.memoryUsage().external - before.external < 256 * kibibyte * kibibyte);
    greedy.end();
  });
});

test('the local API bounds what callers that may not ask can make it hold', async () => {
  await using harness = await startHarness();
  const path = join(harness.folder, 'local.sock');
  const { attestor, entries, refusals } = harness;
  await using _api = await startLocalServer({
    ...harness.serverParts,
    socket: { path, mode: 0o666 },
    apis: [
      localApi({
        foreign: noForeignBundles,
        allowedUids: [],
        status: () => ({}),
        standing: () => ({ kind: 'not held' }),
        secretNames: () => [],
        targets: withoutTargets,
        attestor,
        entries,
        refusals,
        clock: systemClock,
      }),
    ],
    metrics: silentMetrics,
    limits: localApiLimits,
  });
  const stranger = await harness.actor();
  await stranger.become(23_456);
  const sockets: Socket[] = [];
  for (let each = 0; each < 4; each += 1) sockets.push(await stranger.connect(path));
  const greedy = await attack(
    4,
    8,
    () => connectHttp2('http://localhost', { createConnection: () => sockets.pop() as Socket }),
    (session) => unfinished(session, '/meshca.agent.v1.AgentLocal/Explain', 4_000),
  );
  await until(() => refusedOf(greedy.calls).length >= 20);
  greedy.end();
});

describe('the server', () => {
  const signX509 = '/meshca.issuer.v1.AgentIssuer/SignX509Svids';
  const open = (t: TestServer, credential?: Credential) => (): ClientHttp2Session =>
    connectHttp2(`https://127.0.0.1:${t.server.port}`, {
      createConnection: () =>
        connectTls({
          host: '127.0.0.1',
          port: t.server.port,
          ALPNProtocols: ['h2'],
          rejectUnauthorized: false,
          minVersion: 'TLSv1.3',
          ...(credential === undefined
            ? {}
            : {
                cert: certificatesToPem(credential.chainDer),
                key: credential.privateKey.export({ type: 'pkcs8', format: 'pem' }),
              }),
        }),
    });

  test('an agent with unfinished requests is refused at its share; a batch of 500 large CSRs passes', async () => {
    await using t = await startTestServer();
    const [mallory, honest] = [await t.joinAgent('mallory'), await t.joinAgent('honest')];
    await t.admin('Entries/CreateEntries', {
      entries: [
        {
          id: 'hers',
          spiffeId: `spiffe://${testTrustDomain}/hers`,
          parentId: honest.spiffeId,
          selectors: ['unix:uid:1'],
        },
      ],
    });
    const message = 3 * kibibyte * kibibyte;
    // on a slow machine connections of hers may come to nothing before her share is used up: she
    // goes on until it is
    const attacks = [
      await attack(4, 6, open(t, mallory), (session) => unfinished(session, signX509, message)),
    ];
    const calls = (): readonly Unfinished[] => attacks.flatMap((each) => each.calls);
    let lastMs = performance.now();
    await until(async () => {
      if (refusedOf(calls()).length > 0 && leftFor(calls()) <= 16 * kibibyte * kibibyte)
        return true;
      if (performance.now() - lastMs > 10_000) {
        attacks.push(
          await attack(4, 6, open(t, mallory), (session) => unfinished(session, signX509, message)),
        );
        lastMs = performance.now();
      }
      return false;
    });
    assert.ok(
      refusedOf(calls()).every((code) => code === 'OVERLOADED'),
      refusedOf(calls()).join(),
    );
    const csrDer = createCsr((await generateKeyPairAsync('rsa-4096')).privateKey);
    const { results } = await unaryCall(t.client(honest), signX509, {
      items: Array.from({ length: 500 }, () => ({ requestId: uuidv7(), entryId: 'hers', csrDer })),
    });
    assert.equal(results.length, 500);
    assert.deepEqual([...new Set(results.map((each) => each.outcome))], ['svid']);
    for (const each of attacks) each.end();
  });

  test('metadata beyond 16 KiB is refused, whoever sends it', async () => {
    await using t = await startTestServer();
    const session = open(t, await t.joinAgent('one'))();
    session.on('error', () => {});
    const long = unfinished(session, signX509, 100, { filler: 'x'.repeat(17_000) });
    await until(() => long.state.code !== undefined);
    assert.equal(long.state.code, 'INVALID_REQUEST');
    session.destroy();
  });
});
