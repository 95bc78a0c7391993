import { setImmediate as turn } from 'node:timers/promises';
import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Agent, AgentState, RegistrationEntry } from '../../domain/index.ts';
import type { LedgerAgents, ObjectLedger } from '../../ledger/index.ts';
import type {
  AuditStore,
  CertificateStore,
  EntryStore,
  Page,
  PageRequest,
} from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import { targetOf, visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import type { AgentDetail, Agents, AgentView } from '../services.ts';
import type { AgentDoubles } from './agent-doubles.ts';
import type { AgentEvidence } from './agent-evidence.ts';
import type { NodeSetIndex } from './node-set-index.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage, checkText } from '../requests.ts';
import type { BundleRefusal } from '../sync/sync.ts';

export interface AgentDependencies {
  readonly agents: Pick<LedgerAgents, 'byId' | 'list' | 'setState' | 'consumers'>;
  readonly entries: Pick<EntryStore, 'byParents'>;
  readonly certificates: Pick<CertificateStore, 'countLive' | 'lastNotAfter'>;
  readonly objects: Pick<ObjectLedger, 'prove'>;
  readonly nodeSets: Pick<NodeSetIndex, 'parents'>;
  readonly sessions: {
    isConnected(agentId: string): boolean;
    readonly bundleRefusals: { of(agentId: string): BundleRefusal | undefined };
    keep(agentId: string, instanceId: string): void;
  };
  readonly evidence: Pick<AgentEvidence, 'revoked'>;
  readonly doubles: Pick<AgentDoubles, 'of' | 'find' | 'rivals' | 'keep' | 'forget'>;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly callers: Pick<CallerRegistry, 'announce'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

const shownEntries = 500;

/** The nodes: what each agent can obtain, and how an operator ends an agent. */
export class AgentService implements Agents {
  readonly #dependencies: AgentDependencies;

  constructor(dependencies: AgentDependencies) {
    this.#dependencies = dependencies;
  }

  list(
    caller: OperatorCaller,
    filter: { readonly state?: AgentState },
    page: PageRequest,
  ): Promise<Page<AgentView>> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'ListAgents' }, async () => {
      const rights = await this.#dependencies.access.of(caller);
      rights.require('agent.read', { kind: 'none' });
      const readable = await visiblePage(
        (next) => this.#dependencies.agents.list(filter, next),
        ({ spiffeId }) => rights.permits('agent.read', { kind: 'id', spiffeId }),
        checkPage(page),
      );
      const items: AgentView[] = [];
      for (const agent of readable.items) {
        items.push(await this.#view(agent));
        // the first look at an agent's evidence verifies a chain: other callers come in between
        await turn();
      }
      return { items, next: readable.next };
    });
  }

  get(caller: OperatorCaller, spiffeId: string, signal?: AbortSignal): Promise<AgentDetail> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'GetAgent', subject: spiffeId },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('agent.read', { kind: 'id', spiffeId });
        const agent = await this.#dependencies.agents.byId(spiffeId, signal);
        if (agent === undefined) throw unknownAgent(spiffeId);
        const now = this.#dependencies.clock.now();
        // with an agent that is not as the log has it, nothing can be obtained
        const proven = this.#dependencies.objects.prove('agent', agent);
        const parentIds =
          proven === undefined ? [] : await this.#dependencies.nodeSets.parents(proven);
        const [obtainable, liveCertificates, lastNotAfter, consumers] = await Promise.all([
          this.#obtainable(parentIds, rights, signal),
          this.#dependencies.certificates.countLive({ holder: spiffeId }, now),
          this.#dependencies.certificates.lastNotAfter({ holder: spiffeId }, now),
          this.#dependencies.agents.consumers(spiffeId),
        ]);
        return {
          agent: await this.#view(agent),
          parentIds,
          obtainable: obtainable.shown,
          obtainableTotal: obtainable.total,
          liveCertificates,
          lastNotAfter,
          consumers,
        };
      },
    );
  }

  ban(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView> {
    return this.#end(caller, 'banned', spiffeId, reason);
  }

  evict(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView> {
    return this.#end(caller, 'evicted', spiffeId, reason);
  }

  /** Of several processes under one identity this one goes on, and the others are superseded. */
  keep(
    caller: OperatorCaller,
    spiffeId: string,
    choice: { readonly instanceId: string; readonly reason: string },
  ): Promise<AgentView> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'KeepAgent', subject: spiffeId },
      async () => {
        const { access, agents, audit, clock, doubles, sessions } = this.#dependencies;
        const rights = await access.of(caller);
        rights.require('agent.evict', { kind: 'id', spiffeId });
        const reason = checkText('reason', choice.reason, 500);
        const agent = await agents.byId(spiffeId);
        if (agent === undefined) throw unknownAgent(spiffeId);
        const kept = doubles.find(spiffeId, checkText('instance_id', choice.instanceId, 64));
        const superseded = doubles.rivals(spiffeId, kept.id);
        // on record before it has an effect
        await audit.append([
          {
            timeMs: clock.nowMs(),
            actor: actorOf(caller),
            kind: 'agent.chosen',
            subject: spiffeId,
            detail: {
              reason,
              instance: kept.id,
              peer: kept.peer,
              serial: kept.serial,
              superseded: [...superseded],
            },
          },
        ]);
        doubles.keep(spiffeId, kept.id, superseded);
        sessions.keep(spiffeId, kept.id);
        return this.#view(agent);
      },
    );
  }

  #end(
    caller: OperatorCaller,
    state: 'banned' | 'evicted',
    spiffeId: string,
    reason: string,
  ): Promise<AgentView> {
    const operation = state === 'banned' ? 'BanAgent' : 'EvictAgent';
    return refusing(
      this.#dependencies.refusals,
      { caller, operation, subject: spiffeId },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require(state === 'banned' ? 'agent.ban' : 'agent.evict', { kind: 'id', spiffeId });
        const text = checkText('reason', reason, 500);
        const before = await this.#dependencies.agents.byId(spiffeId);
        if (before === undefined) throw unknownAgent(spiffeId);
        // An evicted agent may attest again, so that an eviction lifts a ban. Therefore it needs
        // the right to ban as well.
        if (before.state === 'banned' && state === 'evicted')
          rights.require('agent.ban', { kind: 'id', spiffeId });
        const agent = await this.#dependencies.agents.setState(spiffeId, state, text, {
          timeMs: this.#dependencies.clock.nowMs(),
          actor: actorOf(caller),
          kind: `agent.${state}`,
          subject: spiffeId,
          detail: { reason: text, before: before.state, serial: before.serial },
        });
        this.#dependencies.doubles.forget(spiffeId);
        this.#dependencies.callers.announce({
          kind: 'identity',
          spiffeId,
          error:
            state === 'banned'
              ? new PkiError('AGENT_BANNED', `the agent ${spiffeId} was banned`)
              : new PkiError('AGENT_EVICTED', `the agent ${spiffeId} was evicted`),
        });
        return this.#view(agent);
      },
    );
  }

  /**
   * The blast radius: all entries below any of its parents, without expired ones. The count covers
   * all entries; the list only those that the caller may read.
   */
  async #obtainable(
    parentIds: readonly string[],
    rights: OperatorRights,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly shown: readonly RegistrationEntry[]; readonly total: number }> {
    const now = this.#dependencies.clock.now();
    const shown: RegistrationEntry[] = [];
    let total = 0;
    for await (const entries of pagesOf(
      (page) => this.#dependencies.entries.byParents(parentIds, page),
      { signal },
    )) {
      for (const entry of entries) {
        if (entry.expiresAt !== 0 && entry.expiresAt <= now) continue;
        total += 1;
        if (shown.length < shownEntries && rights.permits('entry.read', targetOf(entry)))
          shown.push(entry);
      }
    }
    return { shown, total };
  }

  async #view(agent: Agent): Promise<AgentView> {
    const { sessions, doubles, evidence } = this.#dependencies;
    return {
      ...agent,
      evidenceRevoked: (await evidence.revoked(agent))?.message ?? '',
      connected: sessions.isConnected(agent.spiffeId),
      bundleRefusal: sessions.bundleRefusals.of(agent.spiffeId),
      doubled: doubles.of(agent.spiffeId),
    };
  }
}

const unknownAgent = (spiffeId: string): PkiError =>
  new PkiError('NOT_FOUND', `there is no agent ${JSON.stringify(spiffeId.slice(0, 300))}`);
