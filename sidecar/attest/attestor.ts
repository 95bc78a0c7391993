import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import { ImageRegister } from './image-register.ts';
import { linuxKernel, type Kernel } from './kernel.ts';
import { OverflowIds } from './overflow-ids.ts';
import { assertSameProcess, peerOfPid, peerOfSocket, type ImageFacts, type Peer } from './peer.ts';
import { parseCgroup, parseStatus } from './proc-parse.ts';
import { linuxProc, type Proc } from './proc.ts';
import type { ProcessEvidence, WorkloadAttestorType, WorkloadFacts } from './workload-attestor.ts';
import { WorkloadAttestors, type WorkloadAttestorConfiguration } from './workload-attestors.ts';

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
   * The control group of a process by what /proc says now, unproven: good for limits alone. '/' where
   * it does not tell.
   */
  cgroupKey(pid: number): string;
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
  readonly types: readonly WorkloadAttestorType[];
  readonly configuration: WorkloadAttestorConfiguration;
  readonly kernel?: Kernel;
  readonly proc?: Proc;
  readonly overflow?: OverflowIds;
}

const maximumRounds = 3;

export function createAttestor(options: AttestorOptions): Attestor {
  return new ProcessAttestor(options);
}

/**
 * The core of workload attestation: it pins processes, proves that what was read is about the one
 * that connected, and shares costly looks between the connections of one image.
 */
class ProcessAttestor implements Attestor {
  readonly #kernel: Kernel;
  readonly #proc: Proc;
  readonly #overflow: OverflowIds;
  readonly #attestors: WorkloadAttestors;
  readonly #images: ImageRegister;
  readonly #running = new WeakMap<ImageFacts, Promise<void>>();

  constructor(options: AttestorOptions) {
    const { clock, logger, types, configuration } = options;
    this.#kernel = options.kernel ?? linuxKernel();
    this.#proc = options.proc ?? linuxProc();
    this.#overflow = options.overflow ?? OverflowIds.ofSystem(this.#proc);
    this.#images = new ImageRegister(logger);
    this.#attestors = new WorkloadAttestors(types, configuration, {
      clock,
      logger,
      proc: this.#proc,
      overflow: this.#overflow,
    });
  }

  connect(socketFd: number): Peer {
    return this.#images.adopt(peerOfSocket(this.#kernel, this.#proc, socketFd, this.#overflow));
  }

  cgroupKey(pid: number): string {
    return parseCgroup(this.#proc.read(pid, 'cgroup') ?? '').limitKey;
  }

  open(pid: number): Peer {
    const status = parseStatus(this.#proc.read(pid, 'status') ?? '');
    if (status === undefined)
      throw new PkiError('NOT_FOUND', `the agent sees no process ${pid}`, {
        detail: { pid },
        next:
          'Give the ID of a process that runs now, as the agent counts them: from inside a ' +
          'container it is another number. For one that has ended: meshca explain --refusal ' +
          'ID.',
      });
    if (this.#overflow.isUnknownUid(status.uids[1] as number, pid))
      throw new PkiError(
        'PEER_UNVERIFIABLE',
        `the user of process ${pid} is unknown to this system (overflow uid ${status.uids[1]})`,
        { detail: { pid } },
      );
    return this.#images.adopt(
      peerOfPid(this.#kernel, this.#proc, pid, {
        uid: status.uids[1] as number,
        gid: status.gids[1] as number,
      }),
    );
  }

  attest(peer: Peer, wanted: Wanted): Attested | Promise<Attested> {
    const evidence = this.#evidence(peer);
    const facts = this.#facts(evidence);
    const needed = missing(facts, wanted);
    return needed.size === 0
      ? attested(evidence, facts)
      : this.#attestSlowly(peer, facts, needed, wanted);
  }

  verify(peer: Peer): void {
    this.#evidence(peer);
    assertSameProcess(this.#kernel, this.#proc, peer);
  }

  exited(peers: readonly Peer[]): readonly Peer[] {
    const pinned = peers.filter((peer) => peer.pidfd !== undefined && peer.hold.open);
    const gone = this.#kernel.exited(pinned.map((peer) => peer.pidfd as number));
    return pinned.filter((_, index) => gone[index]);
  }

  [Symbol.dispose](): void {
    this.#attestors[Symbol.dispose]();
    this.#images.clear();
  }

  #evidence(peer: Peer): ProcessEvidence {
    return processEvidence(this.#proc, peer);
  }

  /** What all types say, proven to be about the process that connected. */
  #facts(evidence: ProcessEvidence): WorkloadFacts {
    const facts = this.#attestors.start(evidence);
    assertSameProcess(this.#kernel, this.#proc, evidence.peer);
    return facts;
  }

  async #attestSlowly(
    peer: Peer,
    first: WorkloadFacts,
    firstNeeded: ReadonlySet<string>,
    wanted: Wanted,
  ): Promise<Attested> {
    let facts = first;
    let needed = firstNeeded;
    let evidence = this.#evidence(peer);
    // connections of one process share the work; a round that was under way may not have asked for
    // all that is wanted here
    for (let round = 0; round < maximumRounds && needed.size > 0; round += 1) {
      let pending = this.#running.get(peer.image);
      if (pending === undefined) {
        pending = this.#gather(peer, facts, needed).finally(() => this.#running.delete(peer.image));
        this.#running.set(peer.image, pending);
      }
      await pending;
      evidence = this.#evidence(peer);
      facts = this.#facts(evidence);
      needed = missing(facts, wanted);
    }
    return attested(evidence, facts);
  }

  async #gather(peer: Peer, facts: WorkloadFacts, needed: ReadonlySet<string>): Promise<void> {
    const keep = await facts.gather(needed);
    // what was found belongs to this image only if no exec came between
    assertSameProcess(this.#kernel, this.#proc, peer);
    keep();
  }
}

/**
 * uid and gid are those of the peer credentials. All IDs in /proc must equal them: a process with
 * mixed IDs (setuid, setgid, or a setuid program executed over an open connection) is
 * PEER_UNVERIFIABLE.
 */
export function processEvidence(proc: Proc, peer: Peer): ProcessEvidence {
  const statusText = proc.read(peer.pid, 'status');
  const status = statusText === undefined ? undefined : parseStatus(statusText);
  if (status === undefined)
    throw new PkiError('PEER_UNVERIFIABLE', 'the process that connected is gone', {
      detail: { pid: peer.pid },
    });
  if (!status.uids.every((id) => id === peer.uid) || !status.gids.every((id) => id === peer.gid))
    throw new PkiError('PEER_UNVERIFIABLE', 'the calling process has mixed user or group IDs', {
      detail: { pid: peer.pid, uid: peer.uid, gid: peer.gid },
    });
  return { peer, status, cgroup: parseCgroup(proc.read(peer.pid, 'cgroup') ?? '') };
}

const missing = (facts: WorkloadFacts, wanted: Wanted): ReadonlySet<string> =>
  facts.costlyPrefixes.length === 0 ? new Set() : wanted(facts.selectors, facts.costlyPrefixes);

function attested({ peer, cgroup }: ProcessEvidence, facts: WorkloadFacts): Attested {
  peer.image.cgroupKey = cgroup.limitKey;
  return { selectors: facts.selectors, cgroupKey: cgroup.limitKey, problem: facts.problem };
}
