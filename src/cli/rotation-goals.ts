import { PkiError } from '../common/errors/index.ts';
import type { RotationStatus__Output } from '../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import type { CliContext } from './context.ts';
import { shortId, summaryLine } from './rotation-picture.ts';
import type { Goal } from './rotation-progress.ts';

const ended = ['retired', 'revoked', 'discarded', 'withdrawn'];
const order = ['preparing', 'prepared', 'published', 'active', 'old'];

export const stateOf = (status: RotationStatus__Output, id: string): string | undefined =>
  status.authorities.find(({ authority }) => authority?.id === id)?.authority?.state;

export function successorOf(status: RotationStatus__Output, kind: string): string {
  const operation = status.operations.find((operation) => operation.kind === kind);
  if (operation === undefined)
    throw new PkiError('NOT_FOUND', `no rotation of kind ${kind} is under way`, {
      next: 'Begin one: meshca authority prepare, or rotate.',
    });
  return operation.successorId;
}

/** Reached when the authority is in this state or a later one. */
export function arrives(context: CliContext, id: string, wanted: string): Goal {
  return {
    reached: (status) => {
      const state = stateOf(status, id);
      if (state !== undefined && (ended.includes(state) || state === 'tainted'))
        throw new PkiError('CONFLICT', `authority ${id} has become ${state}`, {
          next: 'See meshca authority status.',
        });
      return state !== undefined && order.indexOf(state) >= order.indexOf(wanted);
    },
    line: (status) => summaryLine(status, id, context.now()),
  };
}

/** The kind of the intermediates below each kind of root. */
const belowRoot: Readonly<Record<string, string>> = {
  root: 'issuing',
  'names-root': 'names-issuing',
};

/**
 * Reached when the successor signs (for a root also an intermediate under it) and the authorities
 * before it have stopped signing, or with `retired` have ended.
 */
export function rotated(
  context: CliContext,
  begun: RotationStatus__Output,
  kind: string,
  retired: boolean,
): Goal {
  const operation = begun.operations.find((operation) => operation.kind === kind);
  if (operation === undefined) return { reached: () => true, line: () => 'done' };
  const { successorId, targets } = operation;
  const active = arrives(context, successorId, 'active');
  const gone = (status: RotationStatus__Output, id: string): boolean => {
    const state = stateOf(status, id);
    return state === undefined || ended.includes(state) || (!retired && state !== 'active');
  };
  return {
    reached: (status) => {
      if (!active.reached(status) || !targets.every((id) => gone(status, id))) return false;
      const belowKind = belowRoot[kind];
      if (belowKind === undefined) return true;
      const issuers = status.authorities.flatMap(({ authority }) =>
        authority?.kind === belowKind && authority.token !== 'external' ? [authority] : [],
      );
      return (
        issuers.some(({ state, parentId }) => state === 'active' && parentId === successorId) &&
        issuers
          .filter(({ parentId }) => targets.includes(parentId))
          .every(({ id }) => gone(status, id))
      );
    },
    line: (status) => {
      const below = status.operations.find((operation) => operation.kind === belowRoot[kind]);
      return below !== undefined && active.reached(status)
        ? summaryLine(status, below.successorId, context.now())
        : summaryLine(status, successorId, context.now());
    },
  };
}

/** Reached when the authority is tainted and none of its leaves is live. */
export function replaced(id: string): Goal {
  const progress = (status: RotationStatus__Output) =>
    status.authorities.find(({ authority }) => authority?.id === id);
  return {
    reached: (status) =>
      ['tainted', 'revoked'].includes(stateOf(status, id) ?? '') &&
      (progress(status)?.live ?? 0) === 0,
    line: (status) =>
      `${shortId(id)} ${stateOf(status, id) ?? 'unknown'}, ${progress(status)?.live ?? 0} live leaves`,
  };
}
