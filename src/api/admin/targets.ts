import { PkiError } from '../../common/errors/index.ts';
import { silentTurnSeconds } from '../../domain/index.ts';
import type { AgentTarget } from '../../common/wire/generated/meshca/admin/v1/AgentTarget.ts';
import type { ChangedTarget } from '../../common/wire/generated/meshca/admin/v1/ChangedTarget.ts';
import type { TargetGroup } from '../../common/wire/generated/meshca/admin/v1/TargetGroup.ts';
import type { TargetsRequest__Output } from '../../common/wire/generated/meshca/admin/v1/TargetsRequest.ts';
import type { OperatorCaller } from '../../services/callers/caller.ts';
import type {
  TargetAct,
  TargetGroupView,
  TargetOutcome,
  TargetSelection,
  TargetView,
} from '../../services/services.ts';
import { pageOf } from '../messages/common.ts';
import type { OperationDependencies, OperationsOf } from '../operation.ts';

/** The service answers by then in any case: it waits no longer for an agent. */
const patienceSeconds = silentTurnSeconds + 60;

const act =
  (what: TargetAct) =>
  async (
    { services }: OperationDependencies,
    caller: OperatorCaller,
    request: TargetsRequest__Output,
    signal: AbortSignal,
  ) => {
    const outcomes = await services.targets.act(
      caller,
      { act: what, selection: selectionOf(request), reason: request.reason },
      signal,
    );
    return { results: outcomes.map(outcomeMessage) };
  };

export const targetOperations: OperationsOf<'meshca.admin.v1.Targets'> = {
  ListTargets: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, agentId, target, group }, signal) => {
      const { items, next, groups } = await services.targets.list(
        caller,
        {
          ...(agentId === '' ? {} : { agentId }),
          ...(target === '' ? {} : { target }),
          ...(group === '' ? {} : { group }),
        },
        pageOf(page, signal),
      );
      return {
        targets: items.map(targetMessage),
        nextPageToken: next ?? '',
        groups: groups.map(groupMessage),
      };
    },
  },
  // serves nothing: the certificate is one that the entries give to the agent
  StageTargets: { admits: 'operators', dualControl: 'never', patienceSeconds, run: act('stage') },
  PromoteTargets: {
    admits: 'operators',
    dualControl: 'always',
    patienceSeconds,
    preview: async (_, __, request) => [
      `serve what is staged: ${selectedText(selectionOf(request))}`,
    ],
    run: act('promote'),
  },
  // an emergency must not wait
  RollBackTargets: {
    admits: 'operators',
    dualControl: 'never',
    patienceSeconds,
    run: act('rollback'),
  },
};

/** Targets or agents that are named for a group. */
const maximumHolding = 20;

/** Either an agent with a target, or a group. */
function selectionOf({ agentId, target, group }: TargetsRequest__Output): TargetSelection {
  if (group !== '' && agentId === '' && target === '') return { group };
  if (group === '' && agentId !== '' && target !== '') return { agentId, target };
  throw new PkiError('INVALID_REQUEST', 'name either an agent and one of its targets, or a group');
}

const selectedText = (selection: TargetSelection): string =>
  'group' in selection
    ? `all that wait in the group ${JSON.stringify(selection.group)}`
    : `the target ${JSON.stringify(selection.target)} of ${selection.agentId}`;

const targetMessage = ({ agentId, connected, target }: TargetView): AgentTarget => {
  const { rollout, waitsFor, sets, names, turn: _, ...rest } = target;
  return {
    ...{ agentId, connected, ...rest },
    sets: [...sets],
    names: [...names],
    group: rollout?.group ?? '',
    waitsFor: waitsFor === 'nothing' ? '' : waitsFor,
  };
};

const outcomeMessage = ({ agentId, target, error, after }: TargetOutcome): ChangedTarget => ({
  ...{ agentId, target },
  code: error?.code ?? '',
  message: error?.message ?? '',
  next: error?.next ?? '',
  ...(after === undefined ? {} : { after: targetMessage(after) }),
});

const groupMessage = ({ name, phase, hold }: TargetGroupView): TargetGroup => ({
  ...{ name, phase },
  hold: hold?.kind ?? '',
  until: hold?.kind === 'observing' ? hold.until : 0,
  holding:
    hold?.kind === 'canary'
      ? hold.failed
          .slice(0, maximumHolding)
          .map(({ agentId, target, set, reason }) => ({ agentId, target, set, reason }))
      : hold?.kind === 'handshakes'
        ? hold.agents.slice(0, maximumHolding).map((agentId) => ({ agentId }))
        : [],
});
