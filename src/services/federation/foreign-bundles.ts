import { isDeepStrictEqual } from 'node:util';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import { ownDocument, type ForeignBundle } from '../../domain/index.ts';
import type { LedgerFederation, ProvenFederation } from '../../ledger/index.ts';

/** The accepted bundle of a foreign trust domain, for agents. The same object until it changes. */
export interface SharedBundle {
  readonly trustDomain: string;
  readonly sequence: number;
  /** The SPIFFE bundle document, as this server writes it. */
  readonly document: string;
}

/** The same, with what else was read of its keys, so that each poll need not parse them again. */
export interface HeldBundle extends SharedBundle {
  /** SHA-256 (hex) of the SubjectPublicKeyInfo of every key of the bundle. */
  readonly keys: readonly string[];
  /** What the document was made of. */
  readonly bundle: ForeignBundle;
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
  #shared: ReadonlyMap<string, HeldBundle> = new Map();
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
  async shared(): Promise<ReadonlyMap<string, HeldBundle>> {
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
    const shared = new Map<string, HeldBundle>();
    for (const { bundle } of this.#present) {
      if (bundle === undefined) continue;
      const before = this.#shared.get(bundle.trustDomain);
      const isKept = before !== undefined && isSame(before.bundle, bundle);
      shared.set(bundle.trustDomain, isKept ? before : this.#heldOf(bundle));
    }
    this.#shared = shared;
    this.#read = newest;
    for (const listener of this.#listeners) listener();
  }

  #heldOf(bundle: ForeignBundle): HeldBundle {
    const { trustDomain, sequence } = bundle;
    const { document, keys, leftOut } = ownDocument(bundle);
    if (leftOut.length > 0)
      this.#dependencies.logger.warn(
        { alert: true, trustDomain, sequence, leftOut },
        'roots of the bundle of a foreign trust domain, which an earlier release accepted, are ' +
          'left out by the rules of this one: what they signed is trusted no more',
      );
    return { trustDomain, sequence, document, keys, bundle };
  }

  #kept(present: ProvenFederation): ProvenFederation {
    if (!present.altered) return present;
    const { id } = present.relationship;
    const bundle = this.#present.find(({ relationship }) => relationship.id === id)?.bundle;
    if (bundle === undefined || !this.#dependencies.federation.vouches(bundle)) return present;
    return { ...present, bundle, roots: bundle.roots };
  }
}

/** Whether the documents for agents are the same. */
const isSame = (one: ForeignBundle, other: ForeignBundle): boolean =>
  one.sequence === other.sequence &&
  one.refreshHintSeconds === other.refreshHintSeconds &&
  isDeepStrictEqual([one.roots, one.jwtKeys], [other.roots, other.jwtKeys]);
