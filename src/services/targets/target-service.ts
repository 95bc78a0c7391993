import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { AuditEvent } from '../../domain/index.ts';
import type { AuditStore, Page, PageRequest } from '../../store/ports/index.ts';
import type { Access, OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage, checkText } from '../requests.ts';
import type { Rollouts } from './rollouts.ts';
import { notConnected, type TargetCommands } from './target-commands.ts';
import type { TargetStates } from './target-states.ts';
import type {
  TargetAct,
  TargetFilter,
  TargetGroupView,
  TargetHold,
  TargetOutcome,
  Targets,
  TargetSelection,
  TargetView,
} from './targets.ts';

export interface TargetDependencies {
  readonly states: TargetStates;
  readonly commands: TargetCommands;
  readonly rollouts: Rollouts;
  readonly audit: Pick<AuditStore, 'append'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

const operations = {
  stage: 'StageTargets',
  promote: 'PromoteTargets',
  rollback: 'RollBackTargets',
} as const;

/** The file targets of agents, for operators. */
export class TargetService implements Targets {
  readonly #dependencies: TargetDependencies;

  constructor(dependencies: TargetDependencies) {
    this.#dependencies = dependencies;
  }

  list(
    caller: OperatorCaller,
    filter: TargetFilter,
    page: PageRequest,
  ): Promise<Page<TargetView> & { readonly groups: readonly TargetGroupView[] }> {
    const { refusals, access, states, rollouts } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'ListTargets' }, async () => {
      const rights = await access.of(caller);
      rights.require('target.read', { kind: 'none' });
      const visible = [...states.all()].filter(
        (view) =>
          fits(view, filter) &&
          rights.permits('target.read', { kind: 'id', spiffeId: view.agentId }),
      );
      const shown = paged(visible, checkPage(page));
      const groups = new Set(shown.items.map(({ target }) => target.rollout?.group));
      return {
        ...shown,
        groups: rollouts.groups().filter(({ name }) => groups.has(name)),
      };
    });
  }

  act(
    caller: OperatorCaller,
    order: Parameters<Targets['act']>[1],
    signal?: AbortSignal,
  ): Promise<readonly TargetOutcome[]> {
    const { selection, act } = order;
    const subject = 'group' in selection ? selection.group : selection.agentId;
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: operations[act], subject: subject.slice(0, 300) },
      () => this.#act(caller, order, signal),
    );
  }

  byState(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { connected, target } of this.#dependencies.states.all())
      if (connected) counts[target.state] = (counts[target.state] ?? 0) + 1;
    return counts;
  }

  holding(): readonly TargetHold[] {
    return this.#dependencies.rollouts.holding();
  }

  async #act(
    caller: OperatorCaller,
    { act, selection, reason }: Parameters<Targets['act']>[1],
    signal: AbortSignal | undefined,
  ): Promise<readonly TargetOutcome[]> {
    const rights = await this.#dependencies.access.of(caller);
    const text = checkText('reason', reason, 500);
    const chosen =
      'group' in selection
        ? this.#ofGroup(act, selection.group, rights)
        : [this.#one(selection, rights)];
    signal?.throwIfAborted();
    const outcomes = await this.#order(caller, { act, selection, reason: text }, chosen);
    const [only] = outcomes;
    if (!('group' in selection) && only?.error !== undefined) throw only.error;
    return outcomes;
  }

  #one(
    { agentId, target }: Exclude<TargetSelection, { readonly group: string }>,
    rights: OperatorRights,
  ): TargetView {
    rights.require('target.change', { kind: 'id', spiffeId: agentId });
    const view = this.#dependencies.states.get(agentId, target);
    if (view === undefined)
      throw new PkiError(
        'TARGET_UNKNOWN',
        `${agentId.slice(0, 300)} reports no target ${JSON.stringify(target.slice(0, 80))}`,
      );
    if (!view.connected) throw notConnected(agentId);
    return view;
  }

  /** Every right on every target of the group is needed: none is left out silently. */
  #ofGroup(act: TargetAct, group: string, rights: OperatorRights): readonly TargetView[] {
    const members = [...this.#dependencies.states.all()].filter((view) => fits(view, { group }));
    if (members.length === 0) {
      rights.require('target.change', { kind: 'none' });
      throw new PkiError(
        'TARGET_UNKNOWN',
        `no target is in the group ${JSON.stringify(group.slice(0, 80))}`,
      );
    }
    for (const { agentId } of members)
      rights.require('target.change', { kind: 'id', spiffeId: agentId });
    return act === 'promote'
      ? members.filter(({ target }) => target.state === 'staged' && target.waitsFor !== 'nothing')
      : members;
  }

  /** On record before it has an effect, and again with its result. */
  async #order(
    caller: OperatorCaller,
    { act, selection, reason }: Parameters<Targets['act']>[1],
    chosen: readonly TargetView[],
  ): Promise<readonly TargetOutcome[]> {
    const { audit, clock, commands, rollouts, states } = this.#dependencies;
    const group = 'group' in selection ? selection.group : '';
    const event = (kind: AuditEvent['kind'], view: TargetView, more: AuditEvent['detail']) => ({
      ...{ timeMs: clock.nowMs(), actor: actorOf(caller), kind, subject: view.agentId },
      detail: { act, target: view.target.name, ...(group === '' ? {} : { group }), ...more },
    });
    if (chosen.length > 0)
      await audit.append(chosen.map((view) => event('target.commanded', view, { reason })));
    if (act === 'promote' && group !== '') rollouts.answer(group);
    return Promise.all(
      chosen.map(async (view): Promise<TargetOutcome> => {
        const { agentId, target } = view;
        const { answer } = commands.send(agentId, target.name, { act });
        const error = await answer;
        const code = error?.code ?? '';
        await audit.append([
          event('target.answered', view, { code, outcome: error?.message ?? '' }),
        ]);
        return { agentId, target: target.name, error, after: states.get(agentId, target.name) };
      }),
    );
  }
}

const fits = ({ agentId, target }: TargetView, filter: TargetFilter): boolean =>
  (filter.agentId === undefined || filter.agentId === agentId) &&
  (filter.target === undefined || filter.target === target.name) &&
  (filter.group === undefined || filter.group === target.rollout?.group);

const keyOf = ({ agentId, target }: TargetView): string => `${agentId} ${target.name}`;

/** The views are in the order of their keys. */
function paged(views: readonly TargetView[], { size, after }: PageRequest): Page<TargetView> {
  const from = after === undefined ? 0 : views.findIndex((view) => keyOf(view) > after);
  const items = from < 0 ? [] : views.slice(from, from + size);
  const last = items.at(-1);
  return {
    items,
    next: from < 0 || from + size >= views.length || last === undefined ? undefined : keyOf(last),
  };
}
