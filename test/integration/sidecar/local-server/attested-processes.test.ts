import { spawnSync } from 'node:child_process';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, copyFileSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { linuxKernel, OverflowIds, type Kernel } from '../../../../sidecar/attest/index.ts';
import { linuxProc } from '../../../../sidecar/attest/proc.ts';
import { entryOf } from '../../../support/local-server-fakes.ts';
import { speak, startHarness, type Harness } from './support.ts';
import { until } from '../../../support/until.ts';

// Real processes with real user IDs: these tests run as root, as the CI does.
assert.equal(process.getuid?.(), 0, 'run as root: the tests change user IDs');

const workloadUid = 23_456;
const app = entryOf('app', 'spiffe://td.test/app', [`unix:uid:${workloadUid}`]);
const rootApp = entryOf('root', 'spiffe://td.test/root', ['unix:uid:0']);
const identity = { entry: app, spiffeId: SpiffeId.of(app.spiffeId) };

async function workload(harness: Harness) {
  const actor = await harness.actor();
  await actor.become(workloadUid, workloadUid + 1, [workloadUid + 2]);
  return actor;
}

/** A kernel before Linux 6.5, beside the real one. */
class KernelWithoutPidfd implements Kernel {
  readonly #real = linuxKernel();

  peerCredentials = (fd: number) => this.#real.peerCredentials(fd);
  peerGroups = (fd: number) => this.#real.peerGroups(fd);
  peerPidfd = (): undefined => undefined;
  pidfdOpen = (pid: number) => this.#real.pidfdOpen(pid);
  exited = (pidfds: readonly number[]) => this.#real.exited(pidfds);
  unreadBytes = (fd: number) => this.#real.unreadBytes(fd);
  peek = (fd: number, into: Buffer) => this.#real.peek(fd, into);
  close = (fd: number): void => this.#real.close(fd);
}

test('the kernel identifies the process that connected, even if another process uses its socket', async () => {
  await using harness = await startHarness();
  harness.entries.set(
    rootApp,
    entryOf('all', 'spiffe://td.test/all', [
      `unix:uid:${workloadUid}`,
      `unix:gid:${workloadUid + 1}`,
      `unix:supplementary_gid:${workloadUid + 2}`,
      `unix:path:${process.execPath}`,
      'peer:pinned',
    ]),
  );
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  assert.deepEqual(
    state.messages[0]?.svids.map((each) => each.spiffeId),
    ['spiffe://td.test/all'],
    'the reader is root, and gets nothing of root',
  );
});

test('a process that exits while a sibling holds its connection gets nothing more and the stream ends', async () => {
  await using harness = await startHarness();
  harness.entries.set(app, rootApp);
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  actor.kill();
  await actor.exited();
  harness.svids.renew(identity);
  await until(() => state.closed);
  assert.deepEqual(
    [state.status, state.code, state.messages.length],
    [status.PERMISSION_DENIED, 'PEER_UNVERIFIABLE', 1],
  );
  await until(() => harness.api.connections() === 0 && harness.svids.open === 0);
});

test('the stream of a process that exited ends without any news to deliver', async () => {
  await using harness = await startHarness();
  harness.entries.set(app);
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  actor.kill();
  await until(() => state.closed);
  assert.deepEqual([state.code, state.messages.length], ['PEER_UNVERIFIABLE', 1]);
});

test('a process that execs another program while streaming gets nothing more, though its pidfd lives', async () => {
  await using harness = await startHarness();
  harness.entries.set(app);
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  actor.exec('/bin/sleep', '30');
  await until(() => commandOf(actor.pid) === 'sleep');
  harness.svids.renew(identity);
  await until(() => state.closed);
  assert.deepEqual(
    [state.status, state.code, state.messages.length],
    [status.PERMISSION_DENIED, 'PEER_UNVERIFIABLE', 1],
  );
});

test('a process that execs its own program again counts as exec too', async () => {
  await using harness = await startHarness();
  harness.entries.set(app);
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  actor.exec(process.execPath, '-e', 'setTimeout(() => {}, 30000)');
  await until(() => state.closed);
  assert.deepEqual([state.code, state.messages.length], ['PEER_UNVERIFIABLE', 1]);
});

test('a process that connects and execs before its first call is refused', async () => {
  await using harness = await startHarness();
  harness.entries.set(app);
  const actor = await workload(harness);
  const socket = await actor.connect(harness.path);
  await until(() => harness.api.connections() === 1);
  actor.exec('/bin/sleep', '30');
  await until(() => commandOf(actor.pid) === 'sleep');
  const { state } = speak(socket).fetchX509Svid();
  await until(() => state.closed);
  assert.deepEqual([state.code, state.messages.length], ['PEER_UNVERIFIABLE', 0]);
});

test("a process that connects and execs a setuid program gets no identity, neither its own nor root's", async () => {
  await using harness = await startHarness();
  const setuid = join(harness.folder, 'setuid-sleep');
  copyFileSync('/bin/sleep', setuid);
  chownSync(setuid, 0, 0);
  chmodSync(setuid, 0o4755);
  harness.entries.set(
    app,
    rootApp,
    entryOf('path', 'spiffe://td.test/path', ['unix:uid:0', `unix:path:${setuid}`]),
    entryOf('mine', 'spiffe://td.test/mine', [`unix:uid:${workloadUid}`, `unix:path:${setuid}`]),
  );
  for (const when of ['before the first call', 'while streaming'] as const) {
    const actor = await workload(harness);
    const client = speak(await actor.connect(harness.path));
    const streaming = when === 'while streaming' ? client.fetchX509Svid() : undefined;
    if (streaming !== undefined) await until(() => streaming.state.messages.length === 1);
    actor.exec(setuid, '30');
    await until(() => effectiveUid(actor.pid) === 0 || (streaming?.state.closed ?? false));
    assert.equal(effectiveUid(actor.pid), 0, 'the program runs as root');
    const { state } = streaming ?? client.fetchX509Svid();
    harness.svids.renew(identity);
    await until(() => state.closed);
    assert.deepEqual(
      [when, state.code, state.messages.length],
      [when, 'PEER_UNVERIFIABLE', streaming === undefined ? 0 : 1],
    );
  }
});

test('an exec before the agent accepts can not be seen, and then mixed IDs alone refuse a setuid program', async () => {
  // the agent is slow to look: the credentials are taken at connect, the image only after the exec
  const kernel = linuxKernel();
  let look: (() => void) | undefined;
  await using harness = await startHarness();
  const setuid = join(harness.folder, 'setuid-sleep');
  copyFileSync('/bin/sleep', setuid);
  chmodSync(setuid, 0o4755);
  const actor = await workload(harness);
  const path = join(harness.folder, 'slow.sock');
  // before its mode is set, another user can not connect
  let open = false;
  const accepted = new Promise<number>((resolve) => {
    const server = createServer((socket) => {
      look = () => void (socket.destroy(), server.close());
      resolve((socket as unknown as { _handle: { fd: number } })._handle.fd);
    }).listen(path, () => {
      chmodSync(path, 0o777);
      open = true;
    });
  });
  await until(() => open, 'the socket');
  const socket = await actor.connect(path);
  const fd = await accepted;
  actor.exec(setuid, '30');
  await until(() => effectiveUid(actor.pid) === 0);
  assert.deepEqual(
    { ...kernel.peerCredentials(fd) },
    { pid: actor.pid, uid: workloadUid, gid: workloadUid + 1 },
  );
  using peer = harness.attestor.connect(fd);
  assert.throws(() => harness.attestor.attest(peer, () => new Set()), {
    code: 'PEER_UNVERIFIABLE',
  });
  look?.();
  socket.destroy();
});

test('a process with mixed user IDs is refused', async () => {
  await using harness = await startHarness();
  harness.entries.set(app, rootApp);
  const actor = await harness.actor();
  await actor.becomeMixed(workloadUid);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.closed);
  assert.deepEqual([state.status, state.code], [status.PERMISSION_DENIED, 'PEER_UNVERIFIABLE']);
});

test('uid 65534 is a user like others where the agent’s user namespace knows all users', async () => {
  await using harness = await startHarness();
  harness.entries.set(
    entryOf('nobody', 'spiffe://td.test/nobody', ['unix:uid:65534', 'unix:gid:65534']),
  );
  const actor = await harness.actor();
  await actor.become(65_534);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  assert.equal(state.messages[0]?.svids[0]?.spiffeId, 'spiffe://td.test/nobody');
});

test('the overflow user, who may be anyone of another namespace, is refused', async () => {
  const space = { overflowId: 65_534, map: '0 100000 1000' };
  await using harness = await startHarness({
    attestor: { overflow: new OverflowIds(space, space, linuxProc()) },
  });
  harness.entries.set(entryOf('nobody', 'spiffe://td.test/nobody', ['unix:uid:65534']));
  const actor = await harness.actor();
  await actor.become(65_534);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.closed);
  assert.equal(state.code, 'PEER_UNVERIFIABLE');
});

test('a stopped process that is killed in the middle of a delivery leaves nothing open', async () => {
  await using harness = await startHarness();
  harness.entries.set(app);
  const actor = await workload(harness);
  const client = speak(await actor.connect(harness.path));
  const { state } = client.fetchX509Svid();
  await until(() => state.messages.length === 1);
  actor.kill('SIGSTOP');
  harness.svids.renew(identity);
  await until(() => state.messages.length === 2);
  actor.kill();
  client.session.destroy();
  await until(
    () =>
      harness.api.connections() === 0 && harness.svids.open === 0 && harness.consumers.open === 0,
  );
});

test('the descriptors of connections are given back', async () => {
  await using harness = await startHarness();
  harness.entries.set(app);
  const actor = await workload(harness);
  const before = readdirSync('/proc/self/fd').length;
  for (let each = 0; each < 50; each += 1) {
    const client = speak(await actor.connect(harness.path));
    const { state } = client.fetchX509Svid();
    await until(() => state.messages.length === 1);
    client.session.destroy();
  }
  await until(() => harness.api.connections() === 0);
  await until(
    () => readdirSync('/proc/self/fd').length <= before + 5,
    'the descriptors are given back',
  );
});

test('the hash of a binary is taken when a candidate entry asks for it, once, and grants', async () => {
  await using harness = await startHarness();
  const digest = createHash('sha256').update(readFileSync(process.execPath)).digest('hex');
  harness.entries.set(
    entryOf('other', 'spiffe://td.test/other', ['unix:uid:1', `unix:sha256:${digest}`]),
    app,
  );
  const actor = await workload(harness);
  const first = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => first.state.messages.length === 1);
  assert.equal(
    hashOf(harness, actor.pid),
    undefined,
    'the entry of another user is no reason to read the binary',
  );
  harness.entries.set(
    entryOf('hashed', 'spiffe://td.test/hashed', [
      `unix:uid:${workloadUid}`,
      `unix:sha256:${digest}`,
    ]),
  );
  await until(() => first.state.messages.length === 2);
  assert.equal(first.state.messages[1]?.svids[0]?.spiffeId, 'spiffe://td.test/hashed');
  assert.equal(hashOf(harness, actor.pid), digest);
  harness.entries.wantedCalls.length = 0;
  const second = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => second.state.messages.length === 1);
  assert.deepEqual(
    harness.entries.wantedCalls,
    [],
    'a new connection of the same process uses the hash that is known',
  );
});

test('a wrong hash gives no identity', async () => {
  await using harness = await startHarness();
  harness.entries.set(
    entryOf('hashed', 'spiffe://td.test/hashed', [
      `unix:uid:${workloadUid}`,
      `unix:sha256:${'0'.repeat(64)}`,
    ]),
  );
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.closed);
  assert.equal(state.code, 'NO_IDENTITY');
});

test('in another mount namespace a path counts only if it is the same file for the agent', async () => {
  await using harness = await startHarness();
  const tool = join(harness.folder, 'tool');
  copyFileSync('/bin/sleep', tool);
  harness.entries.set(
    entryOf('node', 'spiffe://td.test/node', ['unix:uid:0', `unix:path:${process.execPath}`]),
    entryOf('tool', 'spiffe://td.test/tool', ['unix:uid:0', `unix:path:${tool}`]),
    entryOf('foreign', 'spiffe://td.test/foreign', ['unix:uid:0', `unix:foreign_path:${tool}`]),
  );
  const idsOf = async (script: string): Promise<readonly (string | undefined)[]> => {
    // where / is no mount point (a chroot), its propagation can not be changed, nor need it be
    const unshared =
      'if /usr/bin/unshare -m true 2>/dev/null; then exec /usr/bin/unshare -m "$@"; fi; ' +
      'exec /usr/bin/unshare -m --propagation unchanged "$@"';
    const actor = await harness.actor({
      file: '/bin/sh',
      args: ['-c', unshared, 'sh', '/bin/sh', '-c', script, 'sh'],
    });
    const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
    await until(() => state.messages.length === 1 || state.closed);
    return state.messages[0]?.svids.map((each) => each.spiffeId) ?? [];
  };
  // in a chroot the kernel tells the path of the other namespace from that one's root, where the
  // agent can find no file: it matches no selector at all
  const inChroot = spawnSync('/usr/bin/unshare', ['-m', 'true']).status !== 0;
  // as a systemd unit with PrivateTmp has it
  assert.deepEqual(
    await idsOf(`exec ${process.execPath} "$@"`),
    inChroot ? [] : ['spiffe://td.test/node'],
  );
  // as an attacker has it, who mounts his program where another one belongs
  assert.deepEqual(
    await idsOf(`mount --bind ${process.execPath} ${tool} && exec ${tool} "$@"`),
    inChroot ? [] : ['spiffe://td.test/foreign'],
  );
});

test('a replaced binary of a running process keeps its path; a file named as if deleted has its own', async () => {
  await using harness = await startHarness();
  const tool = join(harness.folder, 'tool');
  const decoy = `${tool} (deleted)`;
  harness.entries.set(
    entryOf('tool', 'spiffe://td.test/tool', ['unix:uid:0', `unix:path:${tool}`]),
    rootApp,
  );
  const idsOf = async (
    file: string,
    meanwhile: () => void,
  ): Promise<readonly (string | undefined)[]> => {
    copyFileSync(process.execPath, file);
    const actor = await harness.actor({ file, args: [] });
    meanwhile();
    const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
    await until(() => state.messages.length === 1);
    return state.messages[0]?.svids.map((each) => each.spiffeId) ?? [];
  };
  assert.deepEqual(await idsOf(tool, () => rmSync(tool)), [
    'spiffe://td.test/tool',
    'spiffe://td.test/root',
  ]);
  assert.deepEqual(await idsOf(decoy, () => {}), ['spiffe://td.test/root']);
});

test('without SO_PEERPIDFD the start time identifies a process, and peer:pinned is absent', async () => {
  const warnings: string[] = [];
  const logger = {
    debug() {},
    info() {},
    warn: (_fields: object, message?: string) => void warnings.push(message ?? ''),
    error() {},
    fatal() {},
    child: () => logger,
  };
  await using harness = await startHarness({
    attestor: { kernel: new KernelWithoutPidfd(), logger },
  });
  harness.entries.set(
    app,
    entryOf('pinned', 'spiffe://td.test/pinned', [`unix:uid:${workloadUid}`, 'peer:pinned']),
  );
  const actor = await workload(harness);
  const { state } = speak(await actor.connect(harness.path)).fetchX509Svid();
  await until(() => state.messages.length === 1);
  assert.deepEqual(
    state.messages[0]?.svids.map((each) => each.spiffeId),
    ['spiffe://td.test/app'],
  );
  speak(await actor.connect(harness.path));
  assert.equal(warnings.filter((each) => each.includes('peer:pinned')).length, 1, 'logged once');
  actor.kill();
  await actor.exited();
  harness.svids.renew(identity);
  await until(() => state.closed);
  assert.deepEqual([state.code, state.messages.length], ['PEER_UNVERIFIABLE', 1]);
});

const statusOf = (pid: number): string => readFileSync(`/proc/${pid}/status`, 'utf8');
const commandOf = (pid: number): string => /^Name:\t(.*)$/m.exec(statusOf(pid))?.[1] ?? '';
const effectiveUid = (pid: number): number =>
  Number(/^Uid:\t\d+\t(\d+)/m.exec(statusOf(pid))?.[1] ?? -1);

function hashOf(harness: Harness, pid: number): string | undefined {
  using peer = harness.attestor.open(pid);
  const found = harness.attestor.attest(peer, () => new Set());
  assert.ok(!(found instanceof Promise), 'nothing is wanted, so nothing is waited for');
  return found.selectors.find(({ value }) => value.startsWith('sha256:'))?.value.slice(7);
}
