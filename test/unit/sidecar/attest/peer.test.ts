import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { createAttestor, processEvidence } from '../../../../sidecar/attest/attestor.ts';
import { workloadAttestorTypes } from '../../../../sidecar/attest/index.ts';
import { assertSameProcess, peerOfSocket } from '../../../../sidecar/attest/peer.ts';
import { OverflowIds } from '../../../../sidecar/attest/overflow-ids.ts';
import type { Kernel } from '../../../../sidecar/attest/kernel.ts';
import type { Proc } from '../../../../sidecar/attest/proc.ts';
import { unixFacts, type UnixSources } from '../../../../sidecar/attest/unix/facts.ts';
import { workloadAttestorType } from '../../../../sidecar/attest/workload-attestor.ts';

/** A user namespace that has no ID 65534, so that the kernel shows it for all that it does not know. */
const narrow = { overflowId: 65_534, map: '0 100000 1000\n' };
const overflow = new OverflowIds(narrow, narrow, { read: () => undefined, link: () => undefined });

interface World {
  pid: number;
  uid: number;
  pidfd: number | undefined;
  exited: boolean;
  startTime: string;
  stack: string;
  status: string;
  exe: Buffer | undefined;
  groups: readonly number[] | undefined;
}

function worldOf(change: Partial<World> = {}) {
  const world: World = {
    pid: 50,
    uid: 7,
    pidfd: 9,
    exited: false,
    startTime: '1000',
    stack: '123',
    exe: Buffer.from('/usr/bin/app'),
    groups: [8, 9],
    status: 'Uid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nGroups:\t8 10\n',
    ...change,
  };
  const closed: number[] = [];
  const asked: number[] = [];
  const kernel: Kernel = {
    peerCredentials: () => ({ pid: world.pid, uid: world.uid, gid: 7 }),
    peerGroups: () => world.groups,
    peerPidfd: () => world.pidfd,
    pidfdOpen: () => world.pidfd,
    exited: (fds) => {
      asked.push(...fds);
      return fds.map(() => world.exited);
    },
    unreadBytes: () => 0,
    peek: () => 0,
    close: (fd) => void closed.push(fd),
  };
  const fields = (): string =>
    Array.from(
      { length: 50 },
      (_, index) => ({ 22: world.startTime, 28: world.stack })[index + 3] ?? '1',
    ).join(' ');
  const proc: Proc = {
    read: (_pid, name) =>
      ({
        stat: `50 (x) ${fields()}\n`,
        status: world.status,
        cgroup: '0::/system.slice/app.service\n',
      })[name],
    link: (_pid, name) => (name === 'exe' ? world.exe : Buffer.from('mnt:[1]')),
  };
  const sources: UnixSources = {
    proc,
    names: { userName: () => 'app', groupName: (gid) => (gid === 8 ? 'ops' : undefined) },
    overflow,
    mountNamespace: Buffer.from('mnt:[1]'),
    systemd: true,
  };
  return { world, kernel, proc, sources, closed, asked };
}

const unverifiable = { code: 'PEER_UNVERIFIABLE' };

test('a peer without process ID and the overflow user are refused before a pidfd is opened', () => {
  for (const change of [{ pid: 0 }, { uid: 65_534 }]) {
    const { kernel, proc, closed, asked } = worldOf(change);
    assert.throws(() => peerOfSocket(kernel, proc, 3, overflow), unverifiable);
    assert.deepEqual([closed, asked], [[], []]);
  }
});

test('a peer that exited during the look is refused and its pidfd closed', () => {
  const { kernel, proc, closed } = worldOf({ exited: true });
  assert.throws(() => peerOfSocket(kernel, proc, 3, overflow), unverifiable);
  assert.deepEqual(closed, [9]);
});

test('a pid that was used again is told by the pidfd, and without one by the start time', () => {
  const pinned = worldOf();
  const peer = peerOfSocket(pinned.kernel, pinned.proc, 3, overflow);
  pinned.world.exited = true;
  assert.throws(() => assertSameProcess(pinned.kernel, pinned.proc, peer), unverifiable);

  const fallback = worldOf({ pidfd: undefined });
  const other = peerOfSocket(fallback.kernel, fallback.proc, 3, overflow);
  assert.equal(other.pinned, false);
  assertSameProcess(fallback.kernel, fallback.proc, other);
  fallback.world.startTime = '1001';
  assert.throws(() => assertSameProcess(fallback.kernel, fallback.proc, other), unverifiable);
});

test('after disposal the pidfd is closed once and nobody asks about its number again', () => {
  const { kernel, proc, closed, asked } = worldOf();
  const peer = peerOfSocket(kernel, proc, 3, overflow);
  peer[Symbol.dispose]();
  peer[Symbol.dispose]();
  asked.length = 0;
  assert.throws(() => assertSameProcess(kernel, proc, peer), unverifiable);
  assert.deepEqual([closed, asked], [[9], []]);
});

test('each single ID that differs from the peer makes it unverifiable', () => {
  for (const kind of ['Uid', 'Gid']) {
    for (let position = 0; position < 4; position += 1) {
      const ids = ['7', '7', '7', '7'].with(position, '0').join('\t');
      const { world, kernel, proc } = worldOf();
      const peer = peerOfSocket(kernel, proc, 3, overflow);
      world.status = world.status.replace(new RegExp(`${kind}:.*`), `${kind}:\t${ids}`);
      assert.throws(() => processEvidence(proc, peer), unverifiable, `${kind} ${position}`);
    }
  }
});

const selectorsOf = (
  change: Partial<World>,
  more: Partial<UnixSources> = {},
): readonly string[] => {
  const { kernel, proc, sources } = worldOf(change);
  const type = workloadAttestorType({
    type: 'unix',
    selectorTypes: ['unix', 'systemd'],
    configuration: z.strictObject({}).prefault({}),
    create: () => ({
      start: (process) => ({
        ...unixFacts({ ...sources, ...more }, process, { inspected: new Set(), retryAtMs: 0 }),
        costlyPrefixes: [],
        gather: () => Promise.resolve(() => {}),
      }),
      [Symbol.dispose]() {},
    }),
  });
  using attestor = createAttestor({
    clock: systemClock,
    logger: silentLogger,
    types: [type],
    configuration: {},
    kernel,
    proc,
    overflow,
  });
  const found = attestor.attest(attestor.connect(3), () => new Set());
  assert.ok(!(found instanceof Promise));
  return found.selectors.map((each) => `${each.type}:${each.value}`);
};

test('the selectors are complete, and a supplementary group must hold at connect and now', () => {
  assert.deepEqual(selectorsOf({}), [
    'unix:uid:7',
    'unix:user:app',
    'unix:gid:7',
    'unix:supplementary_gid:8',
    'unix:supplementary_group:ops',
    'unix:path:/usr/bin/app',
    'unix:cgroup:/system.slice/app.service',
    'systemd:id:app.service',
    'peer:pinned',
  ]);
});

test('without a pidfd the selector peer:pinned is absent, and without systemd its unit is', () => {
  const selectors = selectorsOf({ pidfd: undefined }, { systemd: false });
  assert.ok(!selectors.includes('peer:pinned') && !selectors.includes('systemd:id:app.service'));
});

test('a path that is no clean text, not absolute, or hidden gives no path selector', () => {
  for (const exe of [
    undefined,
    Buffer.from('/bin/a\nb'),
    Buffer.from([0x2f, 0xff, 0xfe]),
    Buffer.from('(unreachable)/bin/x'),
    Buffer.from(`/${'x'.repeat(2000)}`),
  ]) {
    assert.ok(!selectorsOf({ exe }).some((each) => each.includes('path:')), String(exe));
  }
});

test('an agent that may not look into other processes says so once and shares no facts between connections', () => {
  const { kernel, proc } = worldOf({ stack: '0', exe: undefined });
  const warnings: object[] = [];
  using attestor = createAttestor({
    clock: systemClock,
    logger: { ...silentLogger, warn: (fields) => void warnings.push(fields) },
    types: workloadAttestorTypes,
    configuration: {},
    kernel,
    proc,
  });
  const [one, two] = [attestor.connect(3), attestor.connect(3)];
  assert.equal(warnings.length, 1);
  assert.notEqual(one.image, two.image);
});

test('two connections of one image share its facts, those of another image do not', () => {
  const { world, kernel, proc } = worldOf();
  using attestor = createAttestor({
    clock: systemClock,
    logger: silentLogger,
    types: workloadAttestorTypes,
    configuration: {},
    kernel,
    proc,
  });
  const [one, two] = [attestor.connect(3), attestor.connect(3)];
  assert.equal(one.image, two.image);
  world.stack = '124';
  assert.notEqual(attestor.connect(3).image, one.image);
});

test('a path in another or a hidden mount namespace is foreign until it is verified', () => {
  for (const mountNamespace of [Buffer.from('mnt:[2]'), undefined]) {
    const selectors = selectorsOf({}, { mountNamespace });
    assert.ok(
      selectors.includes('unix:foreign_path:/usr/bin/app') &&
        !selectors.includes('unix:path:/usr/bin/app'),
    );
  }
});

test('an image keeps the control group of its last attestation for its next connections', () => {
  const { world, kernel, proc } = worldOf();
  using attestor = createAttestor({
    clock: systemClock,
    logger: silentLogger,
    types: [],
    configuration: {},
    kernel,
    proc,
    overflow,
  });
  const first = attestor.connect(3);
  assert.equal(first.image.cgroupKey, undefined);
  void attestor.attest(first, () => new Set());
  assert.equal(attestor.connect(3).image.cgroupKey, '/system.slice/app.service');
  world.stack = '124';
  assert.equal(attestor.connect(3).image.cgroupKey, undefined);
});
