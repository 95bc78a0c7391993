import { PkiError } from '../../common/errors/index.ts';
import type { Position } from '../../domain/index.ts';
import type { AgentCaller } from '../callers/caller.ts';
import type { SyncMessage, SyncSession } from '../services.ts';
import { SentBundles } from './federated.ts';
import { changeMessages, epochFor, inPages, pageEntries } from './pages.ts';
import type { SyncSource } from './source.ts';

interface Snapshot {
  /** The position before the first page. Changes during the snapshot are sent again as changes. */
  readonly position: Position;
  readonly parents: readonly string[];
  after: string | undefined;
  begun: boolean;
}

/**
 * What one connected agent was sent and still has to be sent. It keeps no queue of events, only
 * which kinds of state are behind. When the transport takes more, it reads the newest state. One
 * pump runs at a time. Owner: the hub.
 */
export class AgentSession {
  readonly caller: AgentCaller;
  readonly #transport: SyncSession;
  readonly #source: SyncSource;
  parents: readonly string[];
  #position: Position | undefined;
  #bundleSequence: number;
  #behind = {
    bundles: true,
    authorities: true,
    federated: false,
    entries: true,
    checkpoint: false,
    replacements: false,
  };
  readonly #replaces: boolean;
  #sentReplacements = '';
  /** Parents below which something changed; undefined: any. */
  #changed: Set<string> | undefined;
  #snapshot: Snapshot | undefined;
  #outbox: SyncMessage[] = [];
  #blocked = false;
  #pumping = false;
  #started = false;
  #ended = false;
  #sentAuthorities = '';
  #sentCrls: Extract<SyncMessage, { kind: 'authorities' }>['crls'] = [];
  readonly #checkpoint: (() => SyncMessage | undefined) | undefined;
  #sentCheckpoint: SyncMessage | undefined;
  /** Undefined: the agent takes no foreign bundles. */
  readonly #foreign: SentBundles | undefined;

  /** `checkpoint`: the newest checkpoint of the audit log, for an agent that keeps them. */
  constructor(
    caller: AgentCaller,
    transport: SyncSession,
    source: SyncSource,
    from: {
      readonly parents: readonly string[];
      readonly position: Position | undefined;
      readonly bundleSequence: number;
      readonly checkpoint?: (() => SyncMessage | undefined) | undefined;
      readonly federation?: boolean;
      /** The agent knows what to do with certificates to replace. */
      readonly replaces?: boolean;
    },
  ) {
    this.caller = caller;
    this.parents = from.parents;
    this.#transport = transport;
    this.#source = source;
    this.#position = from.position;
    this.#bundleSequence = from.bundleSequence;
    this.#checkpoint = from.checkpoint;
    this.#behind.checkpoint = from.checkpoint !== undefined;
    if (from.federation === true) this.#foreign = new SentBundles();
    this.#behind.federated = this.#foreign !== undefined;
    this.#replaces = from.replaces === true;
    this.#behind.replacements = this.#replaces;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The agent does not read: what is sent now waits, for as long as it likes. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** Sends the first message. The others follow without a further call. */
  start(welcome: SyncMessage): void {
    this.#outbox.unshift(welcome);
    this.#started = true;
    this.pump();
  }

  /** Sends a message that is no state. */
  send(message: Extract<SyncMessage, { kind: 'renew-now' | 'target' | 'vantage' }>): void {
    this.#outbox.push(message);
    this.pump();
  }

  drained(): void {
    this.#blocked = false;
    this.pump();
  }

  end(): void {
    this.#ended = true;
    this.#outbox = [];
  }

  close(error: PkiError): void {
    if (this.#ended) return;
    this.end();
    this.#transport.close(error);
  }

  entriesChanged(parents: Iterable<string>): void {
    this.#behind.federated = this.#foreign !== undefined;
    if (this.#behind.entries && this.#changed === undefined) return;
    this.#behind.entries = true;
    this.#changed ??= new Set();
    for (const parent of parents) this.#changed.add(parent);
    this.pump();
  }

  /** Something may have changed below any of its parents. */
  anythingChanged(): void {
    this.#behind.entries = true;
    this.#behind.federated = this.#foreign !== undefined;
    this.#changed = undefined;
    this.pump();
  }

  /** Nothing changed for this agent up to this position, so that its next query begins later. */
  upToDate(position: Position): void {
    if (
      this.#behind.entries ||
      this.#snapshot !== undefined ||
      this.#position === undefined ||
      this.#pumping
    )
      return;
    if (this.#position.revision < position.revision)
      this.#position = { epoch: this.#position.epoch, revision: position.revision };
  }

  /** The agent has other parents now. A snapshot replaces everything that it holds. */
  parentsChanged(parents: readonly string[]): void {
    this.parents = parents;
    this.restart();
  }

  /** Sends a snapshot from the beginning. */
  restart(): void {
    this.#position = undefined;
    this.#snapshot = undefined;
    this.anythingChanged();
  }

  checkpointMoved(): void {
    if (this.#checkpoint === undefined) return;
    this.#behind.checkpoint = true;
    this.pump();
  }

  federationChanged(): void {
    this.#behind.federated = this.#foreign !== undefined;
    this.pump();
  }

  /** Certificates of this agent may have been revoked, or their keys blocked. */
  replacementsChanged(): void {
    if (!this.#replaces) return;
    this.#behind.replacements = true;
    this.pump();
  }

  authoritiesChanged(): void {
    this.#behind.bundles = true;
    this.#behind.authorities = true;
    this.pump();
  }

  pump(): void {
    if (!this.#started || this.#pumping || this.#blocked || this.#ended) return;
    this.#pumping = true;
    void this.#run().then(
      () => {
        this.#pumping = false;
        // new work may have come while the last step finished
        if (this.#hasWork() && !this.#blocked && !this.#ended) this.pump();
      },
      (thrown: unknown) => {
        this.#pumping = false;
        this.close(PkiError.from(thrown));
      },
    );
  }

  #hasWork(): boolean {
    return (
      this.#outbox.length > 0 ||
      this.#behind.bundles ||
      this.#behind.authorities ||
      this.#behind.federated ||
      this.#behind.entries ||
      this.#behind.checkpoint ||
      this.#behind.replacements ||
      this.#snapshot !== undefined
    );
  }

  async #run(): Promise<void> {
    while (this.#hasWork() && !this.#blocked && !this.#ended) {
      const next = this.#outbox.shift();
      if (next !== undefined) this.#blocked = !this.#transport.send(next);
      // bundles before entries: certificates may come from an authority that is new
      else if (this.#behind.bundles) await this.#bundles();
      else if (this.#behind.authorities) this.#authorities();
      else if (this.#behind.federated) await this.#federated();
      else if (this.#behind.replacements) await this.#replacements();
      else if (this.#snapshot !== undefined || this.#position === undefined)
        await this.#snapshotPage();
      else if (this.#behind.checkpoint) this.#newestCheckpoint();
      else await this.#changes(this.#position);
    }
  }

  async #bundles(): Promise<void> {
    this.#behind.bundles = false;
    const steps = await this.#source.bundleSteps(this.#bundleSequence);
    const last = steps.steps.at(-1);
    if (last === undefined) return;
    this.#bundleSequence = last.sequence;
    this.#outbox.push(steps);
  }

  #authorities(): void {
    this.#behind.authorities = false;
    const message = this.#source.authoritiesMessage();
    const text = [
      ...message.tainted.map(
        ({ authorityId, windowSeconds }) => `tainted ${authorityId} ${windowSeconds}`,
      ),
      ...message.published.map(({ authorityId }) => authorityId),
    ].join(' ');
    // compare objects: two CRLs of one second may agree in names and dates
    const sameCrls =
      message.crls === this.#sentCrls || message.crls.length + this.#sentCrls.length === 0;
    if (text === this.#sentAuthorities && sameCrls) return;
    this.#sentAuthorities = text;
    this.#sentCrls = message.crls;
    this.#outbox.push(message);
  }

  async #federated(): Promise<void> {
    this.#behind.federated = false;
    const bundles = await this.#source.federated(this.parents);
    this.#outbox.push(...(this.#foreign?.next(bundles) ?? []));
  }

  async #replacements(): Promise<void> {
    this.#behind.replacements = false;
    const message = await this.#source.replacements(this.caller.spiffeId);
    const text = message.serials.join(' ');
    if (text === this.#sentReplacements) return;
    this.#sentReplacements = text;
    this.#outbox.push(message);
  }

  #newestCheckpoint(): void {
    this.#behind.checkpoint = false;
    const message = this.#checkpoint?.();
    if (message === undefined || message === this.#sentCheckpoint) return;
    this.#sentCheckpoint = message;
    this.#outbox.push(message);
  }

  async #snapshotPage(): Promise<void> {
    const snapshot = (this.#snapshot ??= await this.#begin());
    const page = await this.#source.page(
      snapshot.parents,
      snapshot.after === undefined
        ? { size: pageEntries }
        : { size: pageEntries, after: snapshot.after },
    );
    // restarted while the page was read: the new snapshot starts from its beginning
    if (this.#snapshot !== snapshot) return;
    const last = page.next === undefined;
    const pages = inPages(page.items);
    for (const [index, upserts] of pages.entries()) {
      const end = last && index === pages.length - 1;
      this.#outbox.push({
        kind: 'entries',
        snapshotBegin: !snapshot.begun,
        snapshotEnd: end,
        upserts,
        removedIds: [],
        position: end ? snapshot.position : undefined,
      });
      snapshot.begun = true;
    }
    snapshot.after = page.next;
    if (!last) return;
    this.#snapshot = undefined;
    this.#position = snapshot.position;
    this.#behind.entries = true;
    this.#changed = undefined;
  }

  async #begin(): Promise<Snapshot> {
    const { parents } = this;
    const position = await this.#source.position();
    return {
      position: { epoch: epochFor(position.epoch, parents), revision: position.revision },
      parents,
      after: undefined,
      begun: false,
    };
  }

  async #changes(from: Position): Promise<void> {
    const { parents } = this;
    const which =
      this.#changed === undefined
        ? undefined
        : parents.filter((parent) => this.#changed?.has(parent));
    this.#behind.entries = false;
    this.#changed = new Set();
    if (which?.length === 0) return;
    const delta = await (which?.length === 1
      ? this.#source.changesOfOne(which[0] as string, from.revision)
      : this.#source.changes(which ?? parents, from.revision));
    // while it was read, the parents changed or a snapshot was requested
    if (this.parents !== parents || this.#position !== from) return;
    if (delta === undefined) {
      this.restart();
      return;
    }
    const position = {
      epoch: epochFor(delta.position.epoch, parents),
      revision: delta.position.revision,
    };
    if (position.epoch !== from.epoch) {
      this.restart();
      return;
    }
    this.#position = position;
    this.#outbox.push(
      ...(which?.length === 1
        ? this.#source.sharedMessages(delta, position)
        : changeMessages(delta.upserts, delta.removedIds, position)),
    );
  }
}
