import { errorFields, type Logger } from '../../common/runtime/index.ts';
import { foreignDocument } from '../../domain/index.ts';
import type { LedgerFederation, ProvenFederation } from '../../ledger/index.ts';

/** The accepted bundle of a foreign trust domain, for agents. The same object until it changes. */
export interface SharedBundle {
  readonly trustDomain: string;
  readonly sequence: number;
  /** The SPIFFE bundle document, as this server writes it. */
  readonly document: string;
}

export interface ForeignBundlesDependencies {
  readonly federation: Pick<LedgerFederation, 'all' | 'newest' | 'vouches'>;
  readonly onRevision: (listener: () => void) => () => void;
  readonly logger: Logger;
}

/**
 * The relationships and foreign bundles in force, as the log vouches for them. Owner of that memory,
 * which is read again after each record of their kinds. A bundle whose row was altered meanwhile
 * stays in it, because the log vouches for the one in memory.
 */
export class ForeignBundles {
  readonly #dependencies: ForeignBundlesDependencies;
  readonly #listeners = new Set<() => void>();
  readonly #stop: () => void;
  #present: readonly ProvenFederation[] = [];
  #shared = new Map<string, SharedBundle>();
  /** The newest record that is in the memory; undefined: nothing was read yet. */
  #read: number | undefined;
  #reading: Promise<void> | undefined;

  constructor(dependencies: ForeignBundlesDependencies) {
    this.#dependencies = dependencies;
    this.#stop = dependencies.onRevision(() => {
      if (this.#read === undefined || this.#read === dependencies.federation.newest()) return;
      this.refresh().catch((thrown: unknown) =>
        dependencies.logger.error({ ...errorFields(thrown) }, 'foreign bundles could not be read'),
      );
    });
  }

  /** Waits for the first read. By trust domain. */
  async all(): Promise<readonly ProvenFederation[]> {
    if (this.#read === undefined) await this.refresh();
    return this.#present;
  }

  async of(trustDomain: string): Promise<ProvenFederation | undefined> {
    const all = await this.all();
    return all.find(({ relationship }) => relationship.trustDomain === trustDomain);
  }

  /** The accepted bundles by trust domain. */
  async shared(): Promise<ReadonlyMap<string, SharedBundle>> {
    if (this.#read === undefined) await this.refresh();
    return this.#shared;
  }

  /** Reads again. Reads that are asked for meanwhile follow as one. */
  async refresh(): Promise<void> {
    while (this.#reading !== undefined) await this.#reading.catch(() => undefined);
    this.#reading = this.#readAgain();
    try {
      await this.#reading;
    } finally {
      this.#reading = undefined;
    }
  }

  /** Reads again also if the log has nothing new: rows may have been altered. */
  async reread(): Promise<void> {
    while (this.#reading !== undefined) await this.#reading.catch(() => undefined);
    this.#read = undefined;
    await this.refresh();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#stop();
  }

  async #readAgain(): Promise<void> {
    const { federation } = this.#dependencies;
    const newest = federation.newest();
    if (this.#read === newest) return;
    this.#present = (await federation.all()).map((present) => this.#kept(present));
    this.#read = newest;
    const shared = new Map<string, SharedBundle>();
    for (const { bundle } of this.#present) {
      if (bundle === undefined) continue;
      const { trustDomain, sequence } = bundle;
      const document = foreignDocument(bundle);
      const before = this.#shared.get(trustDomain);
      shared.set(
        trustDomain,
        before?.document === document ? before : { trustDomain, sequence, document },
      );
    }
    this.#shared = shared;
    for (const listener of this.#listeners) listener();
  }

  #kept(present: ProvenFederation): ProvenFederation {
    if (!present.altered) return present;
    const { id } = present.relationship;
    const bundle = this.#present.find(({ relationship }) => relationship.id === id)?.bundle;
    if (bundle === undefined || !this.#dependencies.federation.vouches(bundle)) return present;
    return { ...present, bundle, roots: bundle.roots };
  }
}
