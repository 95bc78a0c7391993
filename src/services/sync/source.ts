import type { Clock } from '../../common/runtime/index.ts';
import {
  crlReach,
  type NameOwners,
  type Position,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type {
  BundleStore,
  EntryStore,
  MetaStore,
  Page,
  PageRequest,
} from '../../store/ports/index.ts';
import type { SyncMessage } from '../services.ts';
import type { SharedBundle } from '../federation/foreign-bundles.ts';
import type { FederatedSource } from './federated.ts';
import { changeMessages } from './pages.ts';
import type { ReplacementSource } from './replacements.ts';

export interface SyncSourceDependencies {
  readonly entries: Pick<EntryStore, 'byParents' | 'changes'>;
  readonly bundles: Pick<BundleStore, 'since'>;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly authorities: Pick<Authorities, 'tainted' | 'published' | 'bundle'>;
  /** The CRLs to hand out. Absent: none. */
  readonly crls: Pick<Crls, 'set'>;
  readonly clock: Clock;
  readonly taintWindowSeconds: number;
  readonly federated: FederatedSource;
  readonly replacements: Pick<ReplacementSource, 'of' | 'pulled' | 'taintedOfNames'>;
  /** The tenants, of a moment during the call or later. */
  readonly owners: () => Promise<NameOwners>;
}

export type Changes = Awaited<ReturnType<EntryStore['changes']>>;
type Delta = NonNullable<Changes>;

type BundlesMessage = Extract<SyncMessage, { kind: 'bundles' }>;
type AuthoritiesMessage = Extract<SyncMessage, { kind: 'authorities' }>;

/** The CRLs of this CA: a complete set, or an empty one. */
export interface Crls {
  set(): readonly {
    readonly authorityId: string;
    readonly der: Buffer;
    readonly nextUpdate: number;
  }[];
  onChange(listener: () => void): () => void;
}

/** The set is too large for a message. One object, so that sessions see no change. */
const tooLarge: ReturnType<Crls['set']> = [];
const maximumShared = 1000;
/** Maximum number of concurrent snapshot reads, for thousands of agents that reconnect at once. */
const maximumReaders = 16;

/**
 * Reads for all sessions. A change below one parent is one query and one message object, whatever
 * the number of agents with that parent. Owner of the shared results, which last until the next
 * change.
 */
export class SyncSource {
  readonly #dependencies: SyncSourceDependencies;
  readonly #changes = new Map<string, Promise<Changes>>();
  readonly #steps = new Map<number, Promise<BundlesMessage>>();
  #messages = new WeakMap<Delta, Map<string, readonly SyncMessage[]>>();
  #tainted: AuthoritiesMessage | undefined;
  #taintedOfNames = '';
  #readers = 0;
  readonly #queue: (() => void)[] = [];

  constructor(dependencies: SyncSourceDependencies) {
    this.#dependencies = dependencies;
  }

  /** Entries have changed: drops the shared results. */
  entriesMoved(): void {
    this.#changes.clear();
    this.#dependencies.federated.entriesMoved();
  }

  /** Whether other authorities of names are tainted now, so that agents may replace certificates. */
  authoritiesMoved(): boolean {
    this.#steps.clear();
    this.#tainted = undefined;
    const before = this.#taintedOfNames;
    this.#taintedOfNames = [...this.#dependencies.replacements.taintedOfNames().keys()].join(' ');
    return this.#taintedOfNames !== before;
  }

  position(): Promise<Position> {
    return this.#dependencies.meta.position();
  }

  page(parents: readonly string[], request: PageRequest): Promise<Page<RegistrationEntry>> {
    return this.#inTurn(async () => {
      const page = await this.#dependencies.entries.byParents(parents, request);
      const { shown } = await this.#ofActiveTenants(page.items);
      return { ...page, items: this.#vouched(shown) };
    });
  }

  /** A bounded number of reads at once. */
  async #inTurn<T>(read: () => Promise<T>): Promise<T> {
    if (this.#readers >= maximumReaders)
      await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#readers += 1;
    try {
      return await read();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#readers -= 1;
      else next();
    }
  }

  /** By trust domain: the foreign bundles that entries below these parents name. */
  federated(parents: readonly string[]): Promise<readonly SharedBundle[]> {
    return this.#dependencies.federated.bundles(parents);
  }

  async changes(parents: readonly string[], revision: number): Promise<Changes> {
    const changes = await this.#dependencies.entries.changes(parents, revision);
    if (changes === undefined) return undefined;
    const { shown, hidden } = await this.#ofActiveTenants(changes.upserts);
    const removedIds = [...changes.removedIds, ...hidden.map(({ id }) => id)];
    return { ...changes, upserts: this.#vouched(shown), removedIds };
  }

  /**
   * Agents do not get the entries of a tenant that has ended. To be called after the read: a tenant
   * that ends later is a later change.
   */
  async #ofActiveTenants(entries: readonly RegistrationEntry[]): Promise<{
    readonly shown: readonly RegistrationEntry[];
    readonly hidden: readonly RegistrationEntry[];
  }> {
    const owners = await this.#dependencies.owners();
    const isHidden = ({ spiffeId }: RegistrationEntry): boolean =>
      owners.ofSpiffePrefix(spiffeId)?.state === 'ended';
    const { true: hidden = [], false: shown = [] } = Object.groupBy(
      entries,
      (entry) => String(isHidden(entry)) as 'true' | 'false',
    );
    return { shown, hidden };
  }

  #vouched(entries: readonly RegistrationEntry[]): readonly RegistrationEntry[] {
    return entries.map((entry) => this.#dependencies.federated.vouched(entry));
  }

  changesOfOne(parent: string, revision: number): Promise<Changes> {
    return remembered(this.#changes, `${parent} ${revision}`, () =>
      this.changes([parent], revision),
    );
  }

  /** The same objects for the same change and position, so that they are encoded once. */
  sharedMessages(delta: Delta, position: Position): readonly SyncMessage[] {
    let byEpoch = this.#messages.get(delta);
    if (byEpoch === undefined) {
      byEpoch = new Map();
      this.#messages.set(delta, byEpoch);
    }
    let messages = byEpoch.get(position.epoch);
    if (messages === undefined) {
      messages = changeMessages(delta.upserts, delta.removedIds, position);
      byEpoch.set(position.epoch, messages);
    }
    return messages;
  }

  /**
   * The steps after a sequence. For a sequence that the database never had (it was restored), only
   * the present bundle.
   */
  bundleSteps(sequence: number): Promise<BundlesMessage> {
    return remembered(this.#steps, sequence, async () => {
      const present = this.#dependencies.authorities.bundle();
      if (sequence > present.sequence) return { kind: 'bundles', steps: [present] };
      return {
        kind: 'bundles',
        steps:
          sequence === present.sequence ? [] : await this.#dependencies.bundles.since(sequence),
      };
    });
  }

  pulled(certificates: number): void {
    this.#dependencies.replacements.pulled(certificates);
  }

  /** What the agent is to replace. */
  replacements(holder: string): ReturnType<ReplacementSource['of']> {
    return this.#inTurn(() => this.#dependencies.replacements.of(holder));
  }

  authoritiesMessage(): AuthoritiesMessage {
    const crls = this.#dependencies.crls.set();
    this.#tainted ??= {
      kind: 'authorities',
      tainted: this.#dependencies.authorities
        .tainted()
        .map(({ id, subjectKeyId, taintedAt, taintWindowSeconds }) => ({
          authorityId: id,
          subjectKeyId: subjectKeyId ?? '',
          windowSeconds: taintWindowSeconds ?? this.#dependencies.taintWindowSeconds,
          taintedAt: taintedAt ?? 0,
        })),
      published: this.#dependencies.authorities.published(),
      crls: crlReach(crls) === 'http' ? tooLarge : crls,
    };
    return this.#tainted;
  }
}

function remembered<K, V>(map: Map<K, Promise<V>>, key: K, read: () => Promise<V>): Promise<V> {
  const cached = map.get(key);
  if (cached !== undefined) return cached;
  const reading = read();
  if (map.size >= maximumShared) map.delete(map.keys().next().value as K);
  map.set(key, reading);
  // do not cache a failed read
  reading.catch(() => {
    if (map.get(key) === reading) map.delete(key);
  });
  return reading;
}
