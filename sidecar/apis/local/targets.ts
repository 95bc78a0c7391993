import { PkiError, type Result } from '../../../src/common/errors/index.ts';
import type { FileTarget } from '../../../src/common/wire/generated/meshca/agent/v1/FileTarget.ts';
import type { ListTargetsRequest__Output } from '../../../src/common/wire/generated/meshca/agent/v1/ListTargetsRequest.ts';
import type { TargetRequest__Output } from '../../../src/common/wire/generated/meshca/agent/v1/TargetRequest.ts';
import type { UnaryMethod } from '../../local-server/index.ts';
import type { FileTargets, TargetStatus } from '../../ports/file-targets.ts';

/** What operators of the node see of its file targets, and do with them. */
export const targetMethods = (targets: FileTargets): Readonly<Record<string, UnaryMethod>> => ({
  ListTargets: {
    kind: 'unary',
    run: async (_session, request) => {
      const { name } = request as ListTargetsRequest__Output;
      const chosen = name === '' ? targets.list() : [findTarget(targets, name)];
      return { targets: chosen.map(targetToWire) };
    },
  },
  StageTarget: act(targets, (name) => targets.stage(name)),
  PromoteTarget: act(targets, (name) => targets.promote(name)),
  RollbackTarget: act(targets, (name) => targets.rollback(name)),
});

const act = (
  targets: FileTargets,
  run: (name: string) => Promise<Result<TargetStatus>>,
): UnaryMethod => ({
  kind: 'unary',
  run: async (_session, request) => {
    const { name } = request as TargetRequest__Output;
    findTarget(targets, name);
    const result = await run(name);
    if (!result.ok) throw result.error;
    return targetToWire(result.value);
  },
});

/** @throws PkiError TARGET_UNKNOWN */
export function findTarget(targets: Pick<FileTargets, 'list'>, name: string): TargetStatus {
  const all = targets.list();
  const target = all.find((each) => each.name === name);
  if (target === undefined) throw unknown(name, all);
  return target;
}

const unknown = (name: string, all: readonly TargetStatus[]): PkiError =>
  new PkiError('TARGET_UNKNOWN', `this agent has no file target ${JSON.stringify(name)}`, {
    next:
      all.length === 0
        ? 'Its configuration has no file targets: docs/file-targets.md shows one.'
        : `Its targets are ${all.map((each) => each.name).join(', ')}.`,
  });

export const targetToWire = (status: TargetStatus): FileTarget => ({
  name: status.name,
  driver: status.driver,
  state: status.state,
  reason: status.reason,
  next: status.next,
  spiffeId: status.spiffeId,
  names: [...status.names],
  since: status.since,
  rolloutGroup: status.rollout?.group ?? '',
  waitsFor: status.waitsFor === 'nothing' ? '' : status.waitsFor,
  directory: status.directory,
  sets: status.sets.map((each) => ({ ...each })),
  history: status.history.map((each) => ({ ...each })),
});
