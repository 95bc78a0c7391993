import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import { standingIn } from '../../domain/index.ts';
import type { LedgerAgents } from '../../ledger/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import type { AgentDoubles, AgentInstance } from '../agents/agent-doubles.ts';
import type { AgentCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import type { RefusalLog } from '../callers/refusal-log.ts';
import { checkText } from '../requests.ts';
import type { SyncHello } from './sync.ts';

export interface SvidUseDependencies {
  readonly agents: Pick<LedgerAgents, 'use'>;
  readonly callers: Pick<CallerRegistry, 'announce'>;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly doubles: Pick<AgentDoubles, 'hello' | 'admit' | 'isRepeated' | 'gone'>;
  readonly refusals: Pick<RefusalLog, 'mark' | 'count'>;
  readonly clock: Pick<Clock, 'nowMs'>;
}

/**
 * Records which SVIDs agents use and keep, and ends the connections of older SVIDs of the session.
 */
export class SvidUses {
  readonly #dependencies: SvidUseDependencies;
  /** Of each agent what was recorded last as lost, and by which process. */
  readonly #lostTold = new Map<string, string>();

  constructor(dependencies: SvidUseDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * A process asks for the session of its agent. What it lost is on record, and then that its SVID
   * is in use, when this resolves.
   *
   * @throws PkiError AGENT_DOUBLED, INVALID_REQUEST, and the codes of `record`
   */
  async begin(caller: AgentCaller, hello: SyncHello, version: string): Promise<AgentInstance> {
    const { doubles } = this.#dependencies;
    const { spiffeId, peer, serial } = caller;
    const id = checkText('instance_id', hello.instanceId ?? '', 64);
    const lost = lostFiles(hello.lostState ?? []);
    const instance = await doubles
      .hello(spiffeId, { id, peer, version, serial })
      .catch((thrown: unknown) => this.#refused(thrown));
    try {
      await this.#recordLost(spiffeId, id, lost);
      await this.record(caller, hello.keptSerial);
      // an operator may have decided meanwhile
      doubles.admit(spiffeId, id);
      return instance;
    } catch (thrown) {
      doubles.gone(spiffeId, instance);
      throw thrown;
    }
  }

  /**
   * Called before a session is welcomed, and when the agent reports the SVID that it keeps.
   * Recorded when this resolves.
   *
   * @param kept serial of the SVID on its disk, empty for none. Undefined: an agent that never
   *   reports this and stores each SVID that it uses
   *
   * @throws PkiError AGENT_SUPERSEDED, AGENT_BANNED, AGENT_EVICTED, OBJECT_NOT_IN_LOG
   */
  async record(caller: AgentCaller, kept: string | undefined): Promise<void> {
    const { agents, callers } = this.#dependencies;
    const { spiffeId, generation, serial } = caller;
    const { before, line } = await agents.use({
      spiffeId,
      generation,
      serial,
      kept: kept === undefined ? serial : kept === '' ? null : kept,
      timeMs: this.#dependencies.clock.nowMs(),
    });
    if (before.inUse === line.inUse) return;
    const usable = line.svids.filter((svid) => standingIn(line, svid.serial) === 'full');
    callers.announce({
      kind: 'identity',
      spiffeId,
      exceptSerials: new Set(usable.map((svid) => svid.serial)),
      error: this.handOver(spiffeId),
    });
  }

  /**
   * A lost file is a sign of a copied or restored directory, or of a disk that dies. A process that
   * says it again, since its session was not welcomed, leaves one record.
   */
  async #recordLost(spiffeId: string, instanceId: string, files: readonly string[]): Promise<void> {
    if (files.length === 0) return;
    const told = `${instanceId} ${files.join(',')}`;
    if (instanceId !== '' && this.#lostTold.get(spiffeId) === told) return;
    await this.#dependencies.audit.append([
      {
        timeMs: this.#dependencies.clock.nowMs(),
        actor: spiffeId,
        kind: 'agent.state-lost',
        subject: spiffeId,
        detail: { files: [...files] },
      },
    ]);
    this.#lostTold.set(spiffeId, told);
  }

  /** A copy that tries on is on record already; its refusals are counted. */
  #refused(thrown: unknown): never {
    const { doubles, refusals, clock } = this.#dependencies;
    if (thrown instanceof PkiError && doubles.isRepeated(thrown)) {
      refusals.mark(thrown, uuidv7(clock.nowMs()));
      refusals.count('Sync', thrown.code);
    }
    throw thrown;
  }

  /**
   * The error for connections of the older session. The agent continues with its next SVID and is
   * refused nothing, so that no refusal is recorded.
   */
  handOver(spiffeId: string): PkiError {
    const { refusals, clock } = this.#dependencies;
    const error = new PkiError('AGENT_SUPERSEDED', `a later session of ${spiffeId} took over`);
    refusals.mark(error, uuidv7(clock.nowMs()));
    return error;
  }
}

const maximumLostFiles = 8;

const lostFiles = (lost: readonly string[]): readonly string[] =>
  lost.slice(0, maximumLostFiles).map((file) => checkText('lost_state', file, 64));
