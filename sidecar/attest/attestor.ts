import { existsSync, readlinkSync } from 'node:fs';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import { fileAccountNames, type AccountNames } from './account-names.ts';
import type { Inspection } from './inspect-file.ts';
import { startInspector, type Inspector, type InspectorOptions } from './inspector.ts';
import { linuxKernel, type Kernel } from './kernel.ts';
import { OverflowIds } from './overflow-ids.ts';
import { assertSameProcess, peerOfPid, peerOfSocket, type ImageFacts, type Peer } from './peer.ts';
import { parseStatus } from './proc-parse.ts';
import { linuxProc, type Proc } from './proc.ts';
import { unixFacts, withoutDeletedMark, type UnixFacts, type UnixSources } from './unix.ts';

export interface Attested {
  readonly selectors: readonly Selector[];
  /** Limits count by uid and by this. */
  readonly cgroupKey: string;
  /** Why a costly fact is missing, for operators. */
  readonly problem?: string | undefined;
}

/** Which costly facts are worth gathering, given the cheap ones: EntryCache.wanted. */
export type Wanted = (
  selectors: readonly Selector[],
  costlyPrefixes: readonly string[],
) => ReadonlySet<string>;

export interface Attestor extends Disposable {
  /**
   * Directly after accept. The caller disposes the peer with the connection. Throws
   * PEER_UNVERIFIABLE.
   */
  connect(socketFd: number): Peer;
  /**
   * A process that is not connected, by its present effective IDs. Throws NOT_FOUND where there is
   * none that the agent may see, PEER_UNVERIFIABLE.
   */
  open(pid: number): Peer;
  /**
   * All facts, proven to be about the process that connected at the time of the answer; call it
   * before every delivery. Synchronous unless a costly fact is wanted and not yet known. Throws or
   * rejects with PEER_UNVERIFIABLE.
   */
  attest(peer: Peer, wanted: Wanted): Attested | Promise<Attested>;
  /** Throws PEER_UNVERIFIABLE unless the peer lives, runs the same image and has unmixed IDs. */
  verify(peer: Peer): void;
  /** The peers whose process has exited; one system call for all that are pinned. */
  exited(peers: readonly Peer[]): readonly Peer[];
}

export interface AttestorOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly inspector?: Omit<InspectorOptions, 'clock'>;
  readonly kernel?: Kernel;
  readonly proc?: Proc;
  readonly names?: AccountNames;
  readonly overflow?: OverflowIds;
  /** Default: whether systemd is the init of this machine (sd_booted(3)). */
  readonly systemd?: boolean;
}

const hashPrefix = 'unix:sha256';
const pathPrefix = 'unix:path';
const maximumImages = 4096;
const retryAfterMs = 60_000;

export function createAttestor(options: AttestorOptions): Attestor {
  const { clock, logger, kernel = linuxKernel(), proc = linuxProc() } = options;
  const overflow = options.overflow ?? OverflowIds.ofSystem(proc);
  const sources: UnixSources = {
    proc,
    names: options.names ?? fileAccountNames(),
    overflow,
    mountNamespace: ownMountNamespace(),
    systemd: options.systemd ?? existsSync('/run/systemd/system'),
  };
  const inspector: Inspector = startInspector({ ...options.inspector, clock });
  const images = new Map<string, ImageFacts>();
  const running = new WeakMap<ImageFacts, Promise<void>>();
  const retryAtMs = new WeakMap<ImageFacts, number>();
  const warned = { pidfd: false, image: false };

  const adopt = (peer: Peer): Peer => {
    if (!peer.pinned && !warned.pidfd) {
      warned.pidfd = true;
      logger.warn(
        {},
        'the kernel gives no pidfd for peers (SO_PEERPIDFD, Linux 6.5): reuse of a process ID is told by the start time alone, and the selector peer:pinned is absent',
      );
    }
    if (peer.image.token === undefined) {
      if (!warned.image)
        logger.warn(
          { uid: peer.uid },
          'the agent has no right to look into processes of other users (CAP_SYS_PTRACE, or root): their path and hash are unknown, and an exec after connect is seen by changed user IDs alone',
        );
      warned.image = true;
      // an exec would not be seen, so nothing may be shared between connections
      return peer;
    }
    const key = `${peer.pid}:${peer.image.startTime}:${peer.image.token}`;
    const known = images.get(key);
    if (known !== undefined) {
      images.delete(key);
      images.set(key, known);
      return { ...peer, image: known };
    }
    images.set(key, peer.image);
    if (images.size > maximumImages) images.delete(images.keys().next().value as string);
    return peer;
  };

  const read = (peer: Peer): UnixFacts => {
    const facts = unixFacts(sources, peer);
    assertSameProcess(kernel, proc, peer);
    return facts;
  };

  const inspect = async (
    peer: Peer,
    facts: UnixFacts,
    needed: ReadonlySet<string>,
  ): Promise<void> => {
    const { image } = peer;
    const { path } = image;
    const expected =
      path === undefined ? undefined : path.deleted ? withoutDeletedMark(path.text) : path.text;
    const inspection = await inspector.inspect(peer.uid, {
      file: `/proc/${peer.pid}/exe`,
      hash: needed.has(hashPrefix),
      ...(facts.pathUnverified && expected !== undefined ? { expectedPath: expected } : {}),
    });
    // the file that was read belongs to this image only if no exec came between
    assertSameProcess(kernel, proc, peer);
    note(image, inspection, needed);
    retryAtMs.delete(image);
    if (inspection.problem !== undefined) {
      retryAtMs.set(image, clock.monotonicMs() + retryAfterMs);
      logger.warn(
        { pid: peer.pid, uid: peer.uid, problem: inspection.problem },
        'a binary could not be inspected',
      );
    }
  };

  const attested = (peer: Peer, facts: UnixFacts): Attested => ({
    selectors: facts.selectors,
    cgroupKey: facts.cgroupKey,
    problem: peer.image.problem,
  });

  const attestSlowly = async (peer: Peer, facts: UnixFacts, wanted: Wanted): Promise<Attested> => {
    // connections of one process share the work; a round that was under way may not have asked for
    // all that is wanted here
    for (let round = 0; round < 3; round += 1) {
      const needed = missing(peer.image, facts, wanted);
      if (needed.size === 0) break;
      let pending = running.get(peer.image);
      if (pending === undefined) {
        pending = inspect(peer, facts, needed).finally(() => running.delete(peer.image));
        running.set(peer.image, pending);
      }
      await pending;
      facts = read(peer);
    }
    return attested(peer, facts);
  };

  const missing = (image: ImageFacts, facts: UnixFacts, wanted: Wanted): ReadonlySet<string> => {
    const retry = clock.monotonicMs() >= (retryAtMs.get(image) ?? Infinity);
    const unknown = (facts.pathUnverified ? [hashPrefix, pathPrefix] : [hashPrefix]).filter(
      (prefix) => retry || !image.inspected.has(prefix),
    );
    return unknown.length === 0 ? new Set() : wanted(facts.selectors, unknown);
  };

  return {
    connect: (socketFd) => adopt(peerOfSocket(kernel, proc, socketFd, overflow)),
    open(pid) {
      const status = parseStatus(proc.read(pid, 'status') ?? '');
      if (status === undefined)
        throw new PkiError('NOT_FOUND', `the agent sees no process ${pid}`, {
          detail: { pid },
          next: 'Give the ID of a process that runs now, as the agent counts them: from inside a container it is another number. For one that has ended: meshca explain --refusal ID.',
        });
      if (overflow.isUnknownUid(status.uids[1] as number, pid))
        throw new PkiError(
          'PEER_UNVERIFIABLE',
          `the user of process ${pid} is unknown to this system (overflow uid ${status.uids[1]})`,
          { detail: { pid } },
        );
      return adopt(
        peerOfPid(kernel, proc, pid, {
          uid: status.uids[1] as number,
          gid: status.gids[1] as number,
        }),
      );
    },
    attest(peer, wanted) {
      const facts = read(peer);
      return missing(peer.image, facts, wanted).size === 0
        ? attested(peer, facts)
        : attestSlowly(peer, facts, wanted);
    },
    verify(peer) {
      read(peer);
    },
    exited(peers) {
      const pinned = peers.filter((peer) => peer.pidfd !== undefined && peer.hold.open);
      const gone = kernel.exited(pinned.map((peer) => peer.pidfd as number));
      return pinned.filter((_, index) => gone[index]);
    },
    [Symbol.dispose]() {
      inspector[Symbol.dispose]();
      images.clear();
    },
  };
}

function note(image: ImageFacts, inspection: Inspection, needed: ReadonlySet<string>): void {
  const { path } = image;
  for (const prefix of needed) image.inspected.add(prefix);
  image.problem = inspection.problem;
  if (inspection.sha256 !== undefined) image.sha256 = inspection.sha256;
  if (path === undefined || !needed.has(pathPrefix)) return;
  if (path.deleted && !path.foreign) {
    if (inspection.unlinked) image.verifiedPath = withoutDeletedMark(path.text);
    else if (inspection.problem === undefined) image.verifiedPath = path.text;
  } else if (path.foreign && !path.deleted && inspection.samePath) image.verifiedPath = path.text;
}

function ownMountNamespace(): Buffer | undefined {
  try {
    return readlinkSync('/proc/self/ns/mnt', 'buffer');
  } catch {
    return undefined;
  }
}
