import type { OperationName } from '../../common/wire/index.ts';
import { isTrusted } from '../../domain/index.ts';
import type { Ledger } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { LostAct, Restore, RestoreView } from '../services.ts';
import type { InspectionDependencies } from './inspection-dependencies.ts';
import { refusing } from '../callers/refusal-log.ts';

/** What the process knows of a database that is older than what was signed. */
export interface RestoreFacts {
  stale():
    | { readonly size: number; readonly expected: number; readonly foundBy: string }
    | undefined;
  /** The lost acts, read from the replaced database if that still exists. */
  lost(): { readonly proven: boolean; readonly lost: readonly LostAct[] };
  /** @throws PkiError CONFLICT */
  accept(size: number, actor: string): Promise<void>;
}

export interface RestoreDependencies extends InspectionDependencies {
  readonly store: Pick<Ledger, 'tokens' | 'authorities' | 'agents' | 'log'>;
  readonly facts: RestoreFacts;
}

/** At most this many agents are named in one answer. The others are only counted. */
const namedAgents = 500;

/**
 * Shows what a database restored from a backup lacks, and lets an operator take responsibility for
 * continuing with it.
 */
export class RestoreService implements Restore {
  readonly #dependencies: RestoreDependencies;

  constructor(dependencies: RestoreDependencies) {
    this.#dependencies = dependencies;
  }

  show(caller: OperatorCaller): Promise<RestoreView> {
    return this.#everything(caller, 'ShowRestore', () => this.#view());
  }

  accept(caller: OperatorCaller, size: number): Promise<RestoreView> {
    return this.#everything(caller, 'AcceptRestore', async () => {
      await this.#dependencies.facts.accept(size, actorOf(caller));
      return this.#view();
    });
  }

  async #view(): Promise<RestoreView> {
    const { facts, store } = this.#dependencies;
    const stale = facts.stale();
    if (stale === undefined) {
      const { size } = await store.log.head();
      return {
        stale: false,
        size,
        expected: size,
        foundBy: '',
        proven: false,
        lost: [],
        comingBack: [],
        agents: 0,
      };
    }
    return { stale: true, ...stale, ...facts.lost(), ...(await this.#comingBack()) };
  }

  async #comingBack(): Promise<Pick<RestoreView, 'comingBack' | 'agents'>> {
    const { store, clock } = this.#dependencies;
    const comingBack: RestoreView['comingBack'][number][] = [];
    for await (const tokens of pagesOf((page) => store.tokens.list(page))) {
      for (const { id, agentId, expiresAt, usedAt } of tokens)
        if (usedAt === null && expiresAt > clock.now())
          comingBack.push({ kind: 'token', id, state: `open for ${agentId}` });
    }
    for (const { id, kind, state } of await store.authorities.rows())
      if (isTrusted(state)) comingBack.push({ kind: 'authority', id: `${kind}/${id}`, state });
    let agents = 0;
    for await (const agentPage of pagesOf((page) => store.agents.list({ state: 'active' }, page))) {
      for (const { spiffeId, state } of agentPage)
        if ((agents += 1) <= namedAgents) comingBack.push({ kind: 'agent', id: spiffeId, state });
    }
    return { comingBack, agents };
  }

  #everything<T>(
    caller: OperatorCaller,
    operation: OperationName,
    act: () => Promise<T>,
  ): Promise<T> {
    return refusing(this.#dependencies.refusals, { caller, operation }, async () => {
      (await this.#dependencies.access.of(caller)).requireEverything('a restore');
      return act();
    });
  }
}
