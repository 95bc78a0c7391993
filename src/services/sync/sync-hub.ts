import { PkiError } from '../../common/errors/index.ts';
import { errorFields, KeyedBuckets, type Rate } from '../../common/runtime/index.ts';
import { serverId } from '../../common/spiffe/index.ts';
import { parentsOf, type Agent, type Position, type Proven } from '../../domain/index.ts';
import type { AgentCaller } from '../callers/caller.ts';
import { concerns } from '../callers/caller-registry.ts';
import type { EndedCallers, Sync, SyncConnection, SyncHello, SyncSession } from '../services.ts';
import { refusing } from '../callers/refusal-log.ts';
import { checkText, enforceRate, requireAgent } from '../requests.ts';
import { decidedAgainst, type AgentInstance } from '../agents/agent-doubles.ts';
import { standingAgent } from '../agents/standing-agent.ts';
import type { VantageAgents } from '../acme/vantage/vantage-agents.ts';
import { AgentClocks } from './agent-clocks.ts';
import { BundleRefusals } from './bundle-refusals.ts';
import { CheckpointOffers } from './checkpoints.ts';
import { countOf, positionFrom, welcomeOf } from './hello.ts';
import { epochFor } from './pages.ts';
import { UpwardReports } from './reports.ts';
import { AgentSession } from './session.ts';
import { SessionIndex } from './session-index.ts';
import { openParts, type SessionParts } from './session-parts.ts';
import { SvidUses } from './svid-uses.ts';
import type { SyncDependencies } from './sync-dependencies.ts';

/**
 * The rate of sessions of one agent: each may cost a snapshot of all its entries. A well-behaved
 * agent reconnects with backoff.
 */
const openRate: Rate = { perSecond: 1, burst: 30 };

interface Connected extends SessionParts {
  readonly session: AgentSession;
  readonly agent: Proven<Agent>;
  readonly instance: AgentInstance;
  /** It knows what "renew now" means. */
  readonly renewsNow: boolean;
  readonly cancelExpiry: () => void;
}

/**
 * All connected agents. A change of entries costs one query for the changed parents, and wakes only
 * sessions below those. Owner of the sessions and of their index.
 */
export class SyncHub implements Sync {
  /** Agents that may be asked to validate. */
  readonly vantage: VantageAgents;
  readonly bundleRefusals = new BundleRefusals();
  readonly #dependencies: SyncDependencies;
  readonly #opened: KeyedBuckets;
  readonly #connected = new Map<string, Connected>();
  readonly #index = new SessionIndex();
  readonly #serverId: string;
  readonly #stop: (() => void)[];
  readonly #checkpoints: CheckpointOffers;
  readonly #uses: SvidUses;
  readonly #clocks: AgentClocks;
  /** The position up to which every session is current, or marked as behind. */
  #seen: Position | undefined;
  #wave: Promise<void> | undefined;
  #moved = false;
  #closed = false;

  constructor(dependencies: SyncDependencies) {
    this.#dependencies = dependencies;
    this.vantage = dependencies.vantage;
    this.#opened = new KeyedBuckets(openRate, dependencies.clock);
    this.#uses = new SvidUses(dependencies);
    this.#clocks = new AgentClocks(dependencies.clock);
    this.#serverId = serverId(dependencies.settings.trustDomain).toString();
    this.#stop = [
      dependencies.onRevision(() => this.#revisionMoved()),
      dependencies.authorities.onChange(() => this.#authoritiesMoved()),
      dependencies.crls.onChange(() => this.#authoritiesMoved()),
      dependencies.federated.onChange(() => this.#federationMoved()),
      dependencies.callers.onEnded((ended) => this.#ended(ended)),
    ];
    this.#checkpoints = new CheckpointOffers(dependencies.checkpoints, dependencies.clock, () => {
      for (const { session } of this.#connected.values()) session.checkpointMoved();
    });
  }

  open(caller: AgentCaller, hello: SyncHello, transport: SyncSession): Promise<SyncConnection> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'Sync', subject: caller.spiffeId },
      () => this.#open(caller, hello, transport),
    );
  }

  /**
   * Every agent starts again with a snapshot, because the database behind the sessions was
   * replaced.
   */
  restartAll(): void {
    for (const connected of [...this.#connected.values()])
      this.#end(
        connected,
        new PkiError('STARTING_UP', 'the server continues with another state of its database'),
      );
  }

  #authoritiesMoved(): void {
    const names = this.#dependencies.source.authoritiesMoved();
    for (const { session } of this.#connected.values()) {
      session.authoritiesChanged();
      if (names) session.replacementsChanged();
    }
  }

  #federationMoved(): void {
    for (const { session } of this.#connected.values()) session.federationChanged();
  }

  connectedCount(): number {
    return this.#connected.size;
  }

  isConnected(agentId: string): boolean {
    return this.#connected.has(agentId);
  }

  aheadOfAgents(toleranceSeconds: number): number {
    return this.#clocks.aheadSeconds(toleranceSeconds);
  }

  /** See PulledHolders. */
  replace(holders: Iterable<string>, certificates: number): void {
    this.#dependencies.source.pulled(certificates);
    for (const holder of holders) this.#connected.get(holder)?.session.replacementsChanged();
  }

  /**
   * An operator has decided for this instance: it renews at once, or when it connects next, so that
   * copies of its certificate are worth nothing. Another one that has the session loses it.
   */
  keep(agentId: string, instanceId: string): void {
    const connected = this.#connected.get(agentId);
    if (connected === undefined) return;
    if (connected.instance.id === instanceId) this.#renewIfChosen(connected);
    else this.#end(connected, decidedAgainst(agentId));
  }

  #renewIfChosen({ session, instance, renewsNow }: Connected): void {
    const { doubles } = this.#dependencies;
    if (renewsNow && doubles.takeRenewal(session.caller.spiffeId, instance.id))
      session.send({ kind: 'renew-now' });
  }

  close(): void {
    this.#closed = true;
    this.#checkpoints.close();
    for (const stop of this.#stop) stop();
    for (const connected of [...this.#connected.values()])
      this.#end(connected, new PkiError('SHUTTING_DOWN', 'the server is shutting down'));
  }

  /**
   * Resolves when all known changes were handed to the sessions. For tests and a clean shutdown.
   */
  async settled(): Promise<void> {
    while (this.#wave !== undefined) await this.#wave;
  }

  #register(
    session: AgentSession,
    agent: Proven<Agent>,
    process: Omit<Connected, 'session' | 'agent' | 'cancelExpiry'>,
  ): Connected {
    const { caller } = session;
    const earlier = this.#connected.get(caller.spiffeId);
    if (earlier !== undefined) this.#end(earlier, this.#uses.handOver(caller.spiffeId));
    const leftMs = Math.max(0, caller.notAfter + 1 - this.#dependencies.clock.now()) * 1000;
    const cancelExpiry = this.#dependencies.clock.after(leftMs, () =>
      this.#end(
        connected,
        new PkiError('CERTIFICATE_EXPIRED', 'the certificate of this connection has expired'),
      ),
    );
    const connected: Connected = { session, agent, ...process, cancelExpiry };
    this.#connected.set(caller.spiffeId, connected);
    this.#index.add(session);
    return connected;
  }

  async #open(
    caller: AgentCaller,
    hello: SyncHello,
    transport: SyncSession,
  ): Promise<SyncConnection> {
    const version = this.#checkHello(caller, hello);
    const agent = await standingAgent(this.#dependencies, caller);
    // show the checkpoint before other checks, which may refuse the session
    await this.#checkpoints.seen(hello.logCheckpoint ?? '', caller.spiffeId);
    this.#dependencies.agentBundle(countOf(hello.bundleSequence));
    const present = await this.#dependencies.meta.position();
    const parents = await this.#dependencies.nodeSets.parents(agent);
    const epoch = epochFor(present.epoch, parents);
    const session = new AgentSession(caller, transport, this.#dependencies.source, {
      parents,
      position: positionFrom(hello, epoch, present),
      bundleSequence: countOf(hello.bundleSequence),
      checkpoint: hello.capabilities.includes('checkpoints')
        ? this.#checkpoints.message
        : undefined,
      federation: hello.capabilities.includes('federation'),
      replaces: hello.capabilities.includes('replace-svids'),
    });
    // the last wait before the session is registered: sessions begin in the order of these records
    const instance = await this.#uses.begin(caller, hello, version);
    const connected = this.#register(session, agent, {
      instance,
      renewsNow: hello.capabilities.includes('renew-now'),
      ...openParts(agent, hello, session, this.#dependencies),
    });
    this.#clocks.told(caller.spiffeId, hello.clockMs ?? 0);
    this.#dependencies.agents.seen(caller.spiffeId, {
      at: this.#dependencies.clock.now(),
      version,
      survivedOutageSeconds: countOf(hello.survivedOutageSeconds),
    });
    try {
      // node sets may have changed between the read and the registration
      await this.#reparent([connected]);
    } catch (thrown) {
      this.#end(connected, PkiError.from(thrown));
      throw thrown;
    }
    // the first session: from here on, changes are compared with this position
    if (this.#seen === undefined) this.#revisionMoved();
    const welcome = welcomeOf(hello, {
      epoch: epochFor(present.epoch, session.parents),
      serverTime: this.#dependencies.clock.now(),
      serverVersion: this.#dependencies.settings.serverVersion,
    });
    // after the front holds the connection, so that no `drained` comes before it can be passed on
    setImmediate(() => session.start(welcome));
    this.#renewIfChosen(connected);
    return this.#connection(connected);
  }

  /** Checks the hello. Returns the agent's version. */
  #checkHello(caller: AgentCaller, hello: SyncHello): string {
    requireAgent(caller);
    if (this.#closed) throw new PkiError('SHUTTING_DOWN', 'the server is shutting down');
    if (!Number.isSafeInteger(hello.protocolVersion) || hello.protocolVersion < 1)
      throw new PkiError('INVALID_REQUEST', 'protocol_version is missing');
    enforceRate(this.#opened.take(caller.spiffeId), 'too many sync sessions');
    return checkText('agent_version', hello.agentVersion, 128);
  }

  #connection(connected: Connected): SyncConnection {
    const { session } = connected;
    const { spiffeId } = session.caller;
    const reports = new UpwardReports(spiffeId, this.#dependencies);
    return {
      consumers: async (report) => {
        await reports.consumers(report);
        this.#dependencies.onHeld();
      },
      replaced: (serials) => reports.replaced(serials),
      handshakes: (batch) => reports.handshakes(batch),
      agent: async (report) => {
        this.#dependencies.agents.seen(spiffeId, {
          at: this.#dependencies.clock.now(),
          survivedOutageSeconds: countOf(report.survivedOutageSeconds),
        });
        if (this.#connected.get(spiffeId)?.session === session)
          this.bundleRefusals.told(spiffeId, report.bundleRefusal);
        if (report.keptSerial !== undefined)
          await this.#uses.record(session.caller, report.keptSerial);
      },
      targets: (report) => connected.targets.report(report),
      targetAnswered: (answer) => connected.targets.answered(answer),
      vantageAnswered: (result) => connected.vantage.answered(result),
      drained: () => session.drained(),
      closed: () => {
        session.end();
        this.#remove(connected);
      },
    };
  }

  #end(connected: Connected, error: PkiError): void {
    this.#remove(connected);
    connected.session.close(error);
  }

  #remove(connected: Connected): void {
    connected.cancelExpiry();
    connected.targets.closed();
    connected.vantage.closed();
    this.#dependencies.doubles.gone(connected.agent.spiffeId, connected.instance);
    this.#index.remove(connected.session);
    if (this.#connected.get(connected.agent.spiffeId) !== connected) return;
    this.#connected.delete(connected.agent.spiffeId);
    this.#clocks.gone(connected.agent.spiffeId);
    this.bundleRefusals.gone(connected.agent.spiffeId);
    this.#dependencies.handshakes.away(connected.agent.spiffeId);
  }

  #revisionMoved(): void {
    this.#moved = true;
    this.#wave ??= this.#waves().finally(() => {
      this.#wave = undefined;
      if (this.#moved && !this.#closed) this.#revisionMoved();
    });
  }

  /** Revisions that arrive during a wave share the next one. */
  async #waves(): Promise<void> {
    while (this.#moved && !this.#closed) {
      this.#moved = false;
      if (this.#connected.size === 0) {
        this.#seen = undefined;
        return;
      }
      try {
        await this.#oneWave();
      } catch (thrown) {
        // No agent may miss a change. After a failed read, each agent takes a snapshot on a new
        // stream.
        this.#dependencies.logger.error(
          { ...errorFields(thrown) },
          'a change could not be read for the connected agents',
        );
        for (const connected of [...this.#connected.values()])
          this.#end(connected, PkiError.from(thrown));
        this.#seen = undefined;
      }
    }
  }

  async #oneWave(): Promise<void> {
    if (this.#seen === undefined) {
      // Nobody was connected when the position was dropped. Earlier changes are read from each
      // session's own position.
      this.#seen = await this.#dependencies.meta.position();
      this.#dependencies.source.entriesMoved();
      await this.#reparent([...this.#connected.values()]);
      for (const { session } of this.#connected.values()) session.anythingChanged();
      return;
    }
    const changed = await this.#dependencies.entries.changedParents(this.#seen.revision);
    if (changed === undefined) {
      this.#seen = await this.#dependencies.meta.position();
      for (const { session } of this.#connected.values()) session.restart();
      return;
    }
    this.#seen = changed.position;
    if (changed.parentIds.length > 0) {
      this.#dependencies.source.entriesMoved();
      if (changed.parentIds.includes(this.#serverId))
        await this.#reparent([...this.#connected.values()]);
    }
    const woken = this.#index.under(changed.parentIds);
    for (const [session, parents] of woken) session.entriesChanged(parents);
    for (const { session } of this.#connected.values())
      if (!woken.has(session)) session.upToDate(changed.position);
  }

  async #reparent(connected: readonly Connected[]): Promise<void> {
    const sets = await this.#dependencies.nodeSets.all();
    const now = this.#dependencies.clock.now();
    for (const { session, agent } of connected) {
      if (session.ended) continue;
      const parents = parentsOf(agent, sets, now);
      if (parents.join('\n') === session.parents.join('\n')) continue;
      this.#index.remove(session);
      session.parentsChanged(parents);
      this.#index.add(session);
    }
  }

  #ended(ended: EndedCallers): void {
    if (ended.kind === 'identity') {
      // banned or evicted: its reports no longer count
      if (ended.beforeGeneration === undefined && ended.exceptSerials === undefined) {
        this.#dependencies.handshakes.forget(ended.spiffeId);
        this.#dependencies.targets.forget(ended.spiffeId);
        this.vantage.forget(ended.spiffeId);
      }
      const connected = this.#connected.get(ended.spiffeId);
      if (connected !== undefined && concerns(ended, connected.session.caller))
        this.#end(connected, ended.error);
      return;
    }
    for (const connected of this.#connected.values()) {
      this.#dependencies.callers
        .stillStands(connected.session.caller)
        .catch((thrown: unknown) => this.#end(connected, PkiError.from(thrown)));
    }
  }
}
