import { PkiError } from '../../src/common/errors/index.ts';
import type { Kernel } from './kernel.ts';
import type { OverflowIds } from './overflow-ids.ts';
import { parseStat, type ProcessStat } from './proc-parse.ts';
import type { Proc } from './proc.ts';

/**
 * One process, held by its pidfd where the kernel gives one, else known by its start time. Owner of
 * the pidfd: dispose it with the connection. Everything learnt about the process is bound to the
 * image it runs: after an exec it is unverifiable.
 */
export interface Peer extends Disposable {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups at the time of connect; undefined: the kernel does not tell. */
  readonly groups: readonly number[] | undefined;
  readonly pidfd: number | undefined;
  /**
   * After disposal the number of the pidfd may belong to another file, so nothing is asked about
   * the peer any more.
   */
  readonly hold: { open: boolean };
  /** False when only the start time protects against reuse of the pid. */
  readonly pinned: boolean;
  /** What it runs: everything learnt about it holds as long as this is the same. */
  readonly image: ImageFacts;
}

/** What runs in the process since its last exec; attestors keep what they learn by this object. */
export interface ImageFacts {
  readonly startTime: string;
  /** Of this exec; undefined: the kernel hides it from the agent. */
  readonly token: string | undefined;
  /** The program for operators to read; nothing is decided by it. */
  program?: string | undefined;
  /** The control group of the last attestation. It may have moved since: good for limits alone. */
  cgroupKey?: string | undefined;
}

const unverifiable = (message: string, detail: Record<string, string | number> = {}): PkiError =>
  new PkiError('PEER_UNVERIFIABLE', message, { detail });

/**
 * Call at once after accept: the sooner the image is noted, the less can be exchanged unseen.
 * Throws PEER_UNVERIFIABLE.
 */
export function peerOfSocket(
  kernel: Kernel,
  proc: Proc,
  socketFd: number,
  overflow: OverflowIds,
): Peer {
  const { pid, uid, gid } = kernel.peerCredentials(socketFd);
  if (pid <= 0)
    throw unverifiable('the calling process is outside the process namespace of the agent', {
      uid,
    });
  if (overflow.isUnknownUid(uid, pid))
    throw unverifiable(
      `the user of the calling process is unknown to this system (overflow uid ${uid})`,
      { pid },
    );
  const groups = kernel.peerGroups(socketFd);
  return hold(kernel, proc, { pid, uid, gid, groups }, kernel.peerPidfd(socketFd));
}

/**
 * For operators who ask about a process that is not connected: uid and gid are its present
 * effective ones. Throws PEER_UNVERIFIABLE.
 */
export function peerOfPid(
  kernel: Kernel,
  proc: Proc,
  pid: number,
  ids: { readonly uid: number; readonly gid: number },
): Peer {
  return hold(kernel, proc, { pid, ...ids, groups: undefined }, kernel.pidfdOpen(pid));
}

function hold(
  kernel: Kernel,
  proc: Proc,
  who: Pick<Peer, 'pid' | 'uid' | 'gid' | 'groups'>,
  pidfd: number | undefined,
): Peer {
  const held = { open: true };
  const dispose = (): void => {
    if (held.open && pidfd !== undefined) kernel.close(pidfd);
    held.open = false;
  };
  try {
    const stat = statOf(proc, who.pid);
    if (pidfd !== undefined && kernel.exited([pidfd])[0])
      throw unverifiable('the process that connected is gone', { pid: who.pid });
    return {
      ...who,
      pidfd,
      hold: held,
      pinned: pidfd !== undefined,
      image: { startTime: stat.startTime, token: stat.image },
      [Symbol.dispose]: dispose,
    };
  } catch (thrown) {
    dispose();
    throw thrown;
  }
}

/**
 * Throws PEER_UNVERIFIABLE unless the process still lives and runs the image that was first seen.
 * What was read from /proc before this call is about this very process: a pid can not be reused
 * while the pidfd's process lives.
 */
export function assertSameProcess(kernel: Kernel, proc: Proc, peer: Peer): void {
  if (!peer.hold.open) throw unverifiable('the connection was closed', { pid: peer.pid });
  const stat = statOf(proc, peer.pid);
  if (peer.pidfd !== undefined && kernel.exited([peer.pidfd])[0])
    throw unverifiable('the process that connected has exited', { pid: peer.pid });
  if (stat.startTime !== peer.image.startTime)
    throw unverifiable('the process that connected was replaced by another one with its pid', {
      pid: peer.pid,
    });
  if (stat.image !== peer.image.token)
    throw unverifiable('the process that connected has executed another program', {
      pid: peer.pid,
    });
}

function statOf(proc: Proc, pid: number): ProcessStat {
  const text = proc.read(pid, 'stat');
  const stat = text === undefined ? undefined : parseStat(text);
  if (stat === undefined) throw unverifiable('the process that connected is gone', { pid });
  return stat;
}
