import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { silentMetrics } from '../../../../sidecar/local-server/index.ts';
import {
  authorityForms,
  field,
  frame,
  FrameReader,
  frameTypes,
  preface,
  text,
} from '../../../support/raw-http2.ts';
import { until } from '../../../support/until.ts';
import { entryOf } from '../../../support/local-server-fakes.ts';
import { startHarness, type Harness } from './support.ts';

const { headers, settings, data, rstStream, goAway } = frameTypes;
const endHeaders = 4;
const endStream = 1;

/** A client that sends the `:authority` that a test gives it, as java-spiffe does with the path. */
function rawClient(harness: Harness) {
  const socket: Socket = connect(harness.path);
  const reader = new FrameReader();
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => reader.push(chunk));
  socket.write(Buffer.concat([preface, frame(settings, 0, 0, Buffer.alloc(0))]));
  return {
    reader,
    /** Waits for the SETTINGS of the agent before the first request, as grpc-go does. */
    async settled(): Promise<void> {
      await until(() => reader.has(settings, 0));
      socket.write(frame(settings, 1, 0, Buffer.alloc(0)));
    },
    fetchX509Svid(streamId: number, authority: Buffer, ...more: readonly Buffer[]): void {
      const block = Buffer.concat([
        Buffer.from([0x83, 0x86, 0x04]),
        text('/SpiffeWorkloadAPI/FetchX509SVID'),
        authority,
        field('content-type', 'application/grpc'),
        field('te', 'trailers'),
        field('workload.spiffe.io', 'true'),
        ...more,
      ]);
      socket.write(
        Buffer.concat([
          frame(headers, endHeaders, streamId, block),
          frame(data, endStream, streamId, Buffer.alloc(5)),
        ]),
      );
    },
    acknowledge: () => void socket.write(frame(settings, 1, 0, Buffer.alloc(0))),
    /** Whether the stream got a message; false: it was reset. */
    async answered(streamId: number): Promise<boolean> {
      await until(() => reader.has(data, streamId) || reader.has(rstStream, streamId));
      return reader.has(data, streamId);
    },
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

const everyone = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);

describe('a client that sends the path of the socket as :authority', () => {
  test('is served, in whatever form HPACK has it', async () => {
    await using harness = await startHarness();
    harness.entries.set(everyone);
    for (const [form, authority] of Object.entries(authorityForms('/run/m/api.sock'))) {
      using client = rawClient(harness);
      client.fetchX509Svid(1, authority);
      assert.ok(await client.answered(1), form);
    }
  });

  test('is served again when it names the authority by what it was indexed as before', async () => {
    await using harness = await startHarness();
    harness.entries.set(everyone);
    for (const coding of ['raw', 'huffman'] as const) {
      using client = rawClient(harness);
      client.fetchX509Svid(
        1,
        Buffer.concat([Buffer.from([0x41]), text('/run/m/api.sock', coding)]),
      );
      assert.ok(await client.answered(1));
      // index 62: the newest entry of the dynamic table
      client.fetchX509Svid(3, Buffer.from([0x80 | 62]));
      assert.ok(await client.answered(3), coding);
    }
  });

  test('is known as the process that connected, and counts as a reader by the kernel’s word', async () => {
    await using harness = await startHarness();
    harness.entries.set(everyone);
    using client = rawClient(harness);
    client.fetchX509Svid(1, Buffer.concat([Buffer.from([0x41]), text('/run/m/api.sock')]));
    assert.ok(await client.answered(1));
    await until(() => harness.svids.confirmed.length === 1);
  });
});

test('what the HTTP/2 layer refuses is counted and disturbs no other stream', async () => {
  const refused: string[] = [];
  await using harness = await startHarness({
    api: {
      metrics: {
        ...silentMetrics,
        http2Refused: (what, code) => void refused.push(`${what} ${code}`),
      },
    },
  });
  harness.entries.set(everyone);
  using client = rawClient(harness);
  client.fetchX509Svid(1, Buffer.concat([Buffer.from([0x41]), text('a"b<c')]));
  assert.equal(await client.answered(1), false);
  assert.deepEqual(refused, ['stream PROTOCOL_ERROR']);
  client.fetchX509Svid(3, Buffer.concat([Buffer.from([0x41]), text('localhost')]));
  assert.ok(await client.answered(3));
  assert.equal(refused.length, 1);
});

describe('a client of any order of first frames', () => {
  const localhost = Buffer.concat([Buffer.from([0x41]), text('localhost')]);
  const path = Buffer.concat([Buffer.from([0x41]), text('/run/m/api.sock')]);

  for (const [name, authority] of Object.entries({ localhost, path }))
    test(`is served when it waits for SETTINGS first: ${name}`, async () => {
      await using harness = await startHarness();
      harness.entries.set(everyone);
      using client = rawClient(harness);
      await client.settled();
      client.fetchX509Svid(1, authority);
      assert.ok(await client.answered(1));
      // the answer to the SETTINGS that came with the first call
      client.acknowledge();
      client.fetchX509Svid(3, authority);
      assert.ok(await client.answered(3));
      await until(() => harness.svids.confirmed.length === 2);
    });

  test('is served when it sends its request before it answers the SETTINGS', async () => {
    await using harness = await startHarness();
    harness.entries.set(everyone);
    using client = rawClient(harness);
    await until(() => client.reader.has(settings, 0));
    client.fetchX509Svid(1, localhost);
    assert.ok(await client.answered(1));
    client.acknowledge();
    client.acknowledge();
    client.fetchX509Svid(3, localhost);
    assert.ok(await client.answered(3));
    assert.equal(client.reader.has(goAway, 0), false);
  });
});

test('a malformed first request is counted, also where node:http2 reads the socket itself', async () => {
  const refused: string[] = [];
  await using harness = await startHarness({
    api: {
      metrics: {
        ...silentMetrics,
        http2Refused: (what, code) => void refused.push(`${what} ${code}`),
      },
    },
  });
  harness.entries.set(everyone);
  using client = rawClient(harness);
  const localhost = Buffer.concat([Buffer.from([0x41]), text('localhost')]);
  client.fetchX509Svid(1, localhost, field('connection', 'keep-alive'));
  assert.equal(await client.answered(1), false);
  client.fetchX509Svid(3, localhost);
  assert.ok(await client.answered(3));
  assert.deepEqual(refused, ['stream PROTOCOL_ERROR']);
});
