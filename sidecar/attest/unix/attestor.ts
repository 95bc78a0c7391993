import { existsSync, readlinkSync } from 'node:fs';
import { z } from 'zod';
import type { Clock } from '../../../src/common/runtime/index.ts';
import type { ImageFacts } from '../peer.ts';
import {
  workloadAttestorType,
  type ProcessEvidence,
  type WorkloadAttestor,
  type WorkloadAttestorDependencies,
  type WorkloadAttestorType,
  type WorkloadFacts,
} from '../workload-attestor.ts';
import { fileAccountNames, type AccountNames } from './account-names.ts';
import {
  unixFacts,
  withoutDeletedMark,
  type BinaryFacts,
  type UnixFacts,
  type UnixSources,
} from './facts.ts';
import type { Inspection } from './inspect-file.ts';
import { startInspector, type Inspector, type InspectorOptions } from './inspector.ts';

const hashPrefix = 'unix:sha256';
const pathPrefix = 'unix:path';
const retryAfterMs = 60_000;

export interface UnixAttestorOptions {
  readonly inspector?: Omit<InspectorOptions, 'clock'>;
  readonly names?: AccountNames;
  /** Defaults to whether systemd is the init of this machine (sd_booted(3)). */
  readonly systemd?: boolean;
}

/** User, groups, program, cgroup and systemd unit of a process on this machine. */
export const unixWith = (options: UnixAttestorOptions): WorkloadAttestorType =>
  workloadAttestorType({
    type: 'unix',
    selectorTypes: ['unix', 'systemd'],
    configuration: z.strictObject({}).prefault({}),
    create: (_configuration, dependencies) => new UnixAttestor(dependencies, options),
  });

export const unix = unixWith({});

/** Owner of the facts about programs, by image. */
class UnixAttestor implements WorkloadAttestor {
  readonly #clock: Clock;
  readonly #logger: WorkloadAttestorDependencies['logger'];
  readonly #sources: UnixSources;
  readonly #inspector: Inspector;
  readonly #binaries = new WeakMap<ImageFacts, BinaryFacts>();

  constructor(dependencies: WorkloadAttestorDependencies, options: UnixAttestorOptions) {
    this.#clock = dependencies.clock;
    this.#logger = dependencies.logger;
    this.#sources = {
      proc: dependencies.proc,
      names: options.names ?? fileAccountNames(),
      overflow: dependencies.overflow,
      mountNamespace: ownMountNamespace(),
      systemd: options.systemd ?? existsSync('/run/systemd/system'),
    };
    this.#inspector = startInspector({ ...options.inspector, clock: dependencies.clock });
  }

  start(evidence: ProcessEvidence): WorkloadFacts {
    const binary = this.#binaryOf(evidence.peer.image);
    const facts = unixFacts(this.#sources, evidence, binary);
    evidence.peer.image.program = binary.path?.text;
    return {
      selectors: facts.selectors,
      problem: binary.problem,
      costlyPrefixes: this.#unknown(binary, facts),
      gather: (prefixes) => this.#inspect(evidence, facts, prefixes),
    };
  }

  [Symbol.dispose](): void {
    this.#inspector[Symbol.dispose]();
  }

  #binaryOf(image: ImageFacts): BinaryFacts {
    const known = this.#binaries.get(image);
    if (known !== undefined) return known;
    const fresh: BinaryFacts = { inspected: new Set(), retryAtMs: Infinity };
    this.#binaries.set(image, fresh);
    return fresh;
  }

  #unknown(binary: BinaryFacts, facts: UnixFacts): readonly string[] {
    const retry = this.#clock.monotonicMs() >= binary.retryAtMs;
    return (facts.pathUnverified ? [hashPrefix, pathPrefix] : [hashPrefix]).filter(
      (prefix) => retry || !binary.inspected.has(prefix),
    );
  }

  async #inspect(
    { peer }: ProcessEvidence,
    facts: UnixFacts,
    needed: ReadonlySet<string>,
  ): Promise<() => void> {
    const binary = this.#binaryOf(peer.image);
    const { path } = binary;
    const expected =
      path === undefined ? undefined : path.deleted ? withoutDeletedMark(path.text) : path.text;
    const inspection = await this.#inspector.inspect(peer.uid, {
      file: `/proc/${peer.pid}/exe`,
      hash: needed.has(hashPrefix),
      ...(facts.pathUnverified && expected !== undefined ? { expectedPath: expected } : {}),
    });
    return () => {
      note(binary, inspection, needed);
      binary.retryAtMs = Infinity;
      if (inspection.problem === undefined) return;
      binary.retryAtMs = this.#clock.monotonicMs() + retryAfterMs;
      this.#logger.warn(
        { pid: peer.pid, uid: peer.uid, problem: inspection.problem },
        'a binary could not be inspected',
      );
    };
  }
}

function note(binary: BinaryFacts, inspection: Inspection, needed: ReadonlySet<string>): void {
  const { path } = binary;
  for (const prefix of needed) binary.inspected.add(prefix);
  binary.problem = inspection.problem;
  if (inspection.sha256 !== undefined) binary.sha256 = inspection.sha256;
  if (path === undefined || !needed.has(pathPrefix)) return;
  if (path.deleted && !path.foreign) {
    if (inspection.unlinked) binary.verifiedPath = withoutDeletedMark(path.text);
    else if (inspection.problem === undefined) binary.verifiedPath = path.text;
  } else if (path.foreign && !path.deleted && inspection.samePath) binary.verifiedPath = path.text;
}

function ownMountNamespace(): Buffer | undefined {
  try {
    return readlinkSync('/proc/self/ns/mnt', 'buffer');
  } catch {
    return undefined;
  }
}
