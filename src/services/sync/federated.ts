import type { RegistrationEntry } from '../../domain/index.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { EntryStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { ForeignBundles, SharedBundle } from '../federation/foreign-bundles.ts';
import type { SyncMessage } from '../services.ts';

type FederatedMessage = Extract<SyncMessage, { kind: 'federated' }>;

/** Well below 4 MB, the default limit of a gRPC message. */
const messageBytes = 1_000_000;

export interface FederatedDependencies {
  readonly entries: Pick<EntryStore, 'federating'>;
  readonly objects: Pick<ObjectLedger, 'prove'>;
  readonly foreign: Pick<ForeignBundles, 'shared' | 'onChange'>;
}

/**
 * The foreign bundles of agents: those that entries below their parents name. Owner of the names by
 * parent, which last until the next change of entries.
 */
export class FederatedSource {
  readonly #dependencies: FederatedDependencies;
  #names = new Map<string, Promise<ReadonlySet<string>>>();

  constructor(dependencies: FederatedDependencies) {
    this.#dependencies = dependencies;
  }

  entriesMoved(): void {
    this.#names = new Map();
  }

  onChange(listener: () => void): () => void {
    return this.#dependencies.foreign.onChange(listener);
  }

  /** Sorted by trust domain. */
  async bundles(parents: readonly string[]): Promise<readonly SharedBundle[]> {
    const shared = await this.#dependencies.foreign.shared();
    if (shared.size === 0) return [];
    const named = await Promise.all(parents.map((parent) => this.#namesOf(parent)));
    return [...shared.values()]
      .filter(({ trustDomain }) => named.some((names) => names.has(trustDomain)))
      .sort((one, other) => (one.trustDomain < other.trustDomain ? -1 : 1));
  }

  /** An entry whose row was altered past the log names no foreign trust domain. */
  vouched(entry: RegistrationEntry): RegistrationEntry {
    return entry.federatesWith.length === 0 || this.#proven(entry)
      ? entry
      : { ...entry, federatesWith: [] };
  }

  #proven(entry: RegistrationEntry): boolean {
    return this.#dependencies.objects.prove('entry', entry) !== undefined;
  }

  #namesOf(parent: string): Promise<ReadonlySet<string>> {
    const names = this.#names;
    const known = names.get(parent);
    if (known !== undefined) return known;
    const reading = this.#read(parent);
    names.set(parent, reading);
    // do not keep a failed read
    reading.catch(() => names.delete(parent));
    return reading;
  }

  async #read(parent: string): Promise<ReadonlySet<string>> {
    const names = new Set<string>();
    const { entries } = this.#dependencies;
    for await (const page of pagesOf((request) => entries.federating([parent], request)))
      for (const entry of page)
        if (this.#proven(entry)) for (const name of entry.federatesWith) names.add(name);
    return names;
  }
}

/** The foreign bundles that one session was sent. Owner of that memory. */
export class SentBundles {
  readonly #sent = new Map<string, SharedBundle>();
  #names: string | undefined;

  /** What the agent lacks. The first one is never empty. */
  next(bundles: readonly SharedBundle[]): readonly FederatedMessage[] {
    const trustDomains = bundles.map(({ trustDomain }) => trustDomain);
    const names = trustDomains.join('\n');
    const fresh = bundles.filter((bundle) => this.#sent.get(bundle.trustDomain) !== bundle);
    if (names === this.#names && fresh.length === 0) return [];
    this.#names = names;
    for (const name of this.#sent.keys()) if (!trustDomains.includes(name)) this.#sent.delete(name);
    for (const bundle of fresh) this.#sent.set(bundle.trustDomain, bundle);
    return inMessages(fresh).map((part) => ({ kind: 'federated', trustDomains, bundles: part }));
  }
}

function inMessages(bundles: readonly SharedBundle[]): readonly (readonly SharedBundle[])[] {
  const parts: SharedBundle[][] = [[]];
  let bytes = 0;
  for (const bundle of bundles) {
    const size = bundle.document.length + bundle.trustDomain.length;
    let part = parts.at(-1) as SharedBundle[];
    if (part.length > 0 && bytes + size > messageBytes) {
      part = [];
      parts.push(part);
      bytes = 0;
    }
    part.push(bundle);
    bytes += size;
  }
  return parts;
}
