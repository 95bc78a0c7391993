import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, lstat, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { linuxProc } from '../../../../sidecar/attest/proc.ts';
import {
  listenUnix,
  silentMetrics,
  type LocalServerMetrics,
} from '../../../../sidecar/local-server/index.ts';
import { entryOf, LeapClock } from '../../../support/local-server-fakes.ts';
import { speak, startHarness } from './support.ts';
import { nextTurn, until } from '../../../support/until.ts';

const everyone = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0']);

test('one user can not take the connections of another', async () => {
  const refused: string[] = [];
  const metrics: LocalServerMetrics = {
    ...silentMetrics,
    connectionRefused: (reason) => void refused.push(reason),
  };
  await using harness = await startHarness({ api: { metrics, limits: { connectionsPerUid: 5 } } });
  harness.entries.set(everyone, entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']));
  const greedy = await harness.actor();
  const other = await harness.actor();
  await other.become(23_456);
  const sockets = [];
  for (let each = 0; each < 8; each += 1) sockets.push(await greedy.connect(harness.path));
  await until(() => refused.length === 3);
  assert.equal(harness.api.connections(), 5);
  const { state } = speak(await other.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  for (const socket of sockets) socket.destroy();
  await until(() => harness.api.connections() === 1);
  const again = speak(await greedy.connect(harness.path)).fetchX509Svid();
  await until(() => again.state.messages.length === 1);
});

test('a process without identity is attested a bounded number of times, and others are served meanwhile', async () => {
  const counts = { evicted: 0, unidentified: 0, total: 0, uid: 0 };
  const metrics: LocalServerMetrics = {
    ...silentMetrics,
    connectionRefused: (reason) => void (counts[reason] += 1),
  };
  const unidentified = {
    perImage: { perSecond: 0.001, burst: 20 },
    perGroup: { perSecond: 0.001, burst: 1000 },
  };
  await using harness = await startHarness({ api: { metrics, limits: { unidentified } } });
  harness.entries.set(entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']));
  const [greedy, other] = [await harness.actor(), await harness.actor()];
  await other.become(23_456);
  let told = 0;
  let turnedAway = 0;
  for (let each = 0; each < 60; each += 1) {
    const { state } = speak(await greedy.connect(harness.path)).fetchX509Svid();
    await until(() => state.closed);
    if (state.code === 'NO_IDENTITY') told += 1;
    else turnedAway += 1;
    if (each % 20 !== 10) continue;
    const served = speak(await other.connect(harness.path)).fetchX509Svid();
    await until(() => served.state.messages.length === 1);
  }
  assert.deepEqual([told, turnedAway, counts.unidentified], [20, 40, 40]);
  harness.entries.set(everyone);
  const { state } = speak(await greedy.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1, 'an entry that comes is served at once');
});

test('who connects and says nothing makes room for others of his user', async () => {
  const refused: string[] = [];
  const metrics: LocalServerMetrics = {
    ...silentMetrics,
    connectionRefused: (reason) => void refused.push(reason),
  };
  await using harness = await startHarness({ api: { metrics, limits: { connectionsPerUid: 5 } } });
  harness.entries.set(everyone);
  const greedy = await harness.actor();
  for (let each = 0; each < 5; each += 1) await greedy.connect(harness.path);
  await until(() => harness.api.connections() === 5);
  const honest = await harness.actor();
  const { state } = speak(await honest.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  for (let each = 0; each < 20; each += 1) await greedy.connect(harness.path);
  await until(() => refused.length === 21);
  assert.deepEqual(new Set(refused), new Set(['evicted']));
  assert.equal(state.closed, false, 'a stream is under way on it');
});

test('descriptors stay in reserve, and the last places are kept for users who have few', async () => {
  // with nothing left to give away, the least that is served is 16 connections
  await using harness = await startHarness({ api: { limits: { reservedDescriptors: 1 << 30 } } });
  harness.entries.set(entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']));
  const [greedy, other] = [await harness.actor(), await harness.actor()];
  await other.become(23_456);
  for (let each = 0; each < 20; each += 1) await greedy.connect(harness.path);
  await until(() => harness.api.connections() === 13);
  const { state } = speak(await other.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
});

test('who holds more than a few places takes none from others, though his own are all in use', async () => {
  const refused: string[] = [];
  const metrics: LocalServerMetrics = {
    ...silentMetrics,
    connectionRefused: (reason) => void refused.push(reason),
  };
  await using harness = await startHarness({
    api: { metrics, limits: { reservedDescriptors: 1 << 30 } },
  });
  harness.entries.set(everyone, entryOf('b', 'spiffe://td.test/b', ['unix:uid:23456']));
  const [greedy, other] = [await harness.actor(), await harness.actor()];
  await other.become(23_456);
  const idle = await other.connect(harness.path);
  await until(() => harness.api.connections() === 1);
  for (let each = 0; each < 12; each += 1) {
    const { state } = speak(await greedy.connect(harness.path)).fetchX509Svid();
    await until(() => state.messages.length === 1);
  }
  for (let each = 0; each < 3; each += 1) await greedy.connect(harness.path);
  await until(() => refused.length === 3);
  assert.deepEqual(new Set(refused), new Set(['total']));
  const { state } = speak(idle).fetchX509Svid();
  await until(() => state.messages.length === 1, 'the connection of the other user lives');
});

test('streams and calls are limited per user with a clear code', async () => {
  await using harness = await startHarness({ api: { limits: { streamsPerUid: 2 } } });
  harness.entries.set(everyone);
  const actor = await harness.actor();
  const client = speak(await actor.connect(harness.path));
  const [one, two, three] = [
    client.fetchX509Svid(),
    client.fetchX509Svid(),
    client.fetchX509Svid(),
  ];
  await until(
    () => three.state.closed && one.state.messages.length === 1 && two.state.messages.length === 1,
  );
  assert.equal(three.state.code, 'RATE_LIMITED');
  one.request.close();
  await until(() => harness.svids.open === 1);
  const four = client.fetchX509Svid();
  await until(() => four.state.messages.length === 1);

  await using busy = await startHarness({ api: { limits: { callsPerSecond: 1, callsBurst: 2 } } });
  busy.entries.set(everyone);
  const caller = speak(await actor.connect(busy.path));
  const calls = [caller.fetchX509Svid(), caller.fetchX509Svid(), caller.fetchX509Svid()];
  await until(() => calls[2]?.state.closed ?? false);
  assert.equal(calls[2]?.state.code, 'RATE_LIMITED');
});

test('containers that share a user have shares of their own by control group', async () => {
  const proc = linuxProc();
  const groups = new Map<number, string>();
  await using harness = await startHarness({
    attestor: {
      proc: {
        ...proc,
        read: (pid, name) =>
          name === 'cgroup' ? `0::${groups.get(pid) ?? '/'}\n` : proc.read(pid, name),
      },
    },
    api: { limits: { streamsPerCgroup: 2 } },
  });
  harness.entries.set(everyone);
  const [greedy, other] = [await harness.actor(), await harness.actor()];
  groups.set(greedy.pid, '/pod-a');
  groups.set(other.pid, '/pod-b');
  const client = speak(await greedy.connect(harness.path));
  const calls = [client.fetchX509Svid(), client.fetchX509Svid(), client.fetchX509Svid()];
  await until(() => calls.some((each) => each.state.closed));
  assert.deepEqual(
    calls.map((each) => each.state.code).filter((code) => code !== undefined),
    ['RATE_LIMITED'],
  );
  const { state } = speak(await other.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
});

test('a caller with very many selectors gets an error that fits into trailers', async () => {
  await using harness = await startHarness();
  const actor = await harness.actor();
  await actor.become(
    23_456,
    23_456,
    Array.from({ length: 5_000 }, (_, index) => 100_000 + index),
  );
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.closed);
  assert.equal(state.code, 'NO_IDENTITY');
  assert.ok(state.details.length < 2_000);
});

test('connections that never call, or speak no HTTP/2, are closed after a time', async () => {
  const clock = new LeapClock();
  await using harness = await startHarness({ clock });
  const silent = connect(harness.path);
  const slow = connect(harness.path);
  slow.write('PRI * HTT');
  for (const socket of [silent, slow]) socket.on('error', () => {});
  await until(() => harness.api.connections() === 2);
  clock.leap(10_000);
  await until(() => harness.api.connections() === 0);
  silent.destroy();
  slow.destroy();
});

test('garbage on the socket ends its connection and disturbs nobody', async () => {
  await using harness = await startHarness();
  harness.entries.set(everyone);
  const actor = await harness.actor();
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  const socket = connect(harness.path);
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  socket.write(Buffer.alloc(65_536, 7));
  await until(() => harness.api.connections() === 1);
  harness.svids.renew({
    entry: everyone,
    spiffeId: harness.entries.match([{ type: 'unix', value: 'uid:0' }])[0]!.spiffeId,
  });
  await until(() => state.messages.length === 2);
  socket.destroy();
});

test('the socket has its mode and owner from the first moment, and its file goes with it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-sock-'));
  const path = join(folder, 'deeper', 'api.sock');
  const listening = await listenUnix({ path, mode: 0o660, uid: 0, gid: 1234 }, (socket) =>
    socket.destroy(),
  );
  const found = await stat(path);
  assert.deepEqual([found.mode & 0o777, found.gid, found.isSocket()], [0o660, 1234, true]);
  await listening.close();
  await assert.rejects(lstat(path), { code: 'ENOENT' });
  await rm(folder, { recursive: true });
});

test('a live socket is never replaced, a stale one is, and a file that is not a socket stays', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-sock-'));
  const path = join(folder, 's');
  const server = createServer().listen(path);
  await until(() => server.listening);
  await assert.rejects(
    listenUnix({ path }, () => {}),
    { code: 'SOCKET_IN_USE' },
  );
  server.close();

  const victim = spawn(
    process.execPath,
    [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(victim.stdout, 'data');
  victim.kill('SIGKILL');
  await once(victim, 'exit');
  assert.ok((await lstat(path)).isSocket(), 'a killed process leaves its file');
  const [one, two] = await Promise.allSettled([
    listenUnix({ path }, (socket) => socket.destroy()),
    nextTurn().then(() => listenUnix({ path }, (socket) => socket.destroy())),
  ]);
  const winners = [one, two].flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  assert.equal(winners.length, 1, 'of two that start at once one wins');
  await winners[0]?.close();

  await writeFile(path, 'precious');
  await assert.rejects(
    listenUnix({ path }, () => {}),
    { code: 'CONFIG_INVALID' },
  );
  await rm(path);
  await symlink('/etc/passwd', path);
  await assert.rejects(
    listenUnix({ path }, () => {}),
    { code: 'CONFIG_INVALID' },
  );
  await assert.rejects(
    listenUnix({ path: 'relative.sock' }, () => {}),
    { code: 'CONFIG_INVALID' },
  );
  await assert.rejects(
    listenUnix({ path: `/${'x'.repeat(100)}` }, () => {}),
    { code: 'CONFIG_INVALID' },
  );
  await chmod(folder, 0o700);
  await rm(folder, { recursive: true });
});
