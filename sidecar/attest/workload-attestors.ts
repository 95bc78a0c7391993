import type { z } from 'zod';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type {
  ProcessEvidence,
  WorkloadAttestor,
  WorkloadAttestorDependencies,
  WorkloadAttestorType,
  WorkloadFacts,
} from './workload-attestor.ts';

/** The configuration of the types, by their names. */
export type WorkloadAttestorConfiguration = Readonly<Record<string, unknown>>;

/** The schema of `workloadAttestation`, made of what the types bring. */
export const workloadAttestorSchemas = (
  types: readonly WorkloadAttestorType[],
): Readonly<Record<string, z.ZodType>> =>
  Object.fromEntries(types.map(({ type, configuration }) => [type, configuration]));

/** Selectors of the core: no type may give them. */
const coreSelectorType = 'peer';
/** The agent presents it for the file targets of its own configuration, and no process has it. */
const targetSelectorType = 'target';

/**
 * All configured types together, as one. Owner of the namespace of selectors: each type gives its
 * own alone, and no two types share one.
 */
export class WorkloadAttestors implements WorkloadAttestor {
  readonly #running: readonly {
    readonly type: WorkloadAttestorType;
    readonly attestor: WorkloadAttestor;
  }[];

  constructor(
    types: readonly WorkloadAttestorType[],
    configuration: WorkloadAttestorConfiguration,
    dependencies: WorkloadAttestorDependencies,
  ) {
    const claimed = [
      coreSelectorType,
      targetSelectorType,
      ...types.flatMap(({ selectorTypes }) => selectorTypes),
    ];
    if (new Set(claimed).size !== claimed.length)
      throw new Error(
        `types of workload attestation claim a selector twice: ${claimed.join(', ')}`,
      );
    this.#running = types.flatMap((type) => {
      const attestor = type.create(configuration[type.type], dependencies);
      return attestor === undefined ? [] : [{ type, attestor }];
    });
  }

  /** Throws PEER_UNVERIFIABLE; INTERNAL where a type gives selectors that are not its own. */
  start(evidence: ProcessEvidence): WorkloadFacts {
    const found = this.#running.map(({ type, attestor }) => {
      const facts = attestor.start(evidence);
      const foreign = facts.selectors.find((each) => !type.selectorTypes.includes(each.type));
      if (foreign !== undefined)
        throw new PkiError(
          'INTERNAL',
          `${type.type} gave a workload a selector that is not its to give: ${foreign.type}`,
        );
      return facts;
    });
    const pinned: readonly Selector[] = evidence.peer.pinned
      ? [{ type: coreSelectorType, value: 'pinned' }]
      : [];
    return {
      selectors: [...found.flatMap(({ selectors }) => selectors), ...pinned],
      problem: found.find(({ problem }) => problem !== undefined)?.problem,
      costlyPrefixes: found.flatMap(({ costlyPrefixes }) => costlyPrefixes),
      async gather(prefixes) {
        const keeps = await Promise.all(
          found.flatMap((facts) => {
            const own = new Set(facts.costlyPrefixes.filter((each) => prefixes.has(each)));
            return own.size === 0 ? [] : [facts.gather(own)];
          }),
        );
        return () => {
          for (const keep of keeps) keep();
        };
      },
    };
  }

  [Symbol.dispose](): void {
    for (const { attestor } of this.#running) attestor[Symbol.dispose]();
  }
}
