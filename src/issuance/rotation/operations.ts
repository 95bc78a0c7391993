import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  allShares,
  type AuditEvent,
  type Authority,
  type RotatedKind,
  type RotationOperation,
  type RotationSpec,
} from '../../domain/index.ts';
import type {
  AuthorityStore,
  Lease,
  RotationStore,
  WriteContext,
} from '../../store/ports/index.ts';
import { authorityEvent } from '../authority-event.ts';

export interface Cancellation {
  readonly actor: string;
  readonly reason: string;
  readonly lease?: Lease | undefined;
  /** If it is aborted before the first write, nothing is given up. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Gives up the goal. The authority that was made for it is dropped as well, unless it has signed.
 */
export async function cancelOperation(
  operation: RotationOperation,
  { actor, reason, lease, signal }: Cancellation,
  dependencies: {
    readonly store: {
      readonly authorities: Pick<AuthorityStore, 'byId' | 'transition'>;
      readonly rotations: Pick<RotationStore, 'update'>;
    };
    readonly clock: Clock;
  },
): Promise<void> {
  const { store, clock } = dependencies;
  await store.rotations.update(
    { id: operation.id, version: operation.version, now: clock.now(), lease },
    { state: 'cancelled' },
    rotationEvent(dependencies, { actor, kind: 'rotation.cancelled', operation }, reason),
    signal,
  );
  const successor = await store.authorities.byId(operation.spec.successorId);
  const to =
    successor?.state === 'published'
      ? 'withdrawn'
      : successor?.state === 'preparing' || successor?.state === 'prepared'
        ? 'discarded'
        : undefined;
  if (successor !== undefined && to !== undefined)
    await store.authorities.transition(
      { id: successor.id, version: successor.version, now: clock.now() },
      to,
      authorityEvent(
        dependencies,
        { actor, kind: `authority.${to}`, authority: successor },
        { reason },
      ),
      lease === undefined ? {} : { lease },
    );
}

export interface OperationAsk {
  readonly kind: RotatedKind;
  readonly actor: string;
  readonly targets: readonly string[];
  readonly parentId?: string | null;
  readonly trigger: RotationSpec['trigger'];
  readonly spec?: Partial<RotationSpec>;
  readonly reason?: string;
}

/**
 * Opens an operation with a new goal and the ID of the authority that it will make. CONFLICT if an
 * operation of the same kind is under way.
 */
export async function openOperation(
  ask: OperationAsk,
  dependencies: {
    readonly store: { readonly rotations: Pick<RotationStore, 'create'> };
    readonly clock: Clock;
  },
  context?: WriteContext,
): Promise<RotationOperation> {
  const { clock, store } = dependencies;
  const operation: RotationOperation = {
    id: uuidv7(clock.nowMs()),
    kind: ask.kind,
    state: 'running',
    version: 0,
    createdBy: ask.actor,
    createdAt: clock.now(),
    updatedAt: clock.now(),
    spec: {
      successorId: uuidv7(clock.nowMs()),
      targets: ask.targets,
      targetsBecome: 'old',
      parentId: ask.parentId ?? null,
      trigger: ask.trigger,
      shares: allShares,
      ...ask.spec,
    },
  };
  await store.rotations.create(
    operation,
    rotationEvent(
      dependencies,
      { actor: ask.actor, kind: 'rotation.opened', operation },
      ask.reason,
    ),
    context,
  );
  return operation;
}

/** An act on an operation, for its audit record. */
export interface OperationAct {
  readonly actor: string;
  /** `rotation.verb`. */
  readonly kind: string;
  readonly operation: RotationOperation;
}

export function rotationEvent(
  { clock }: { readonly clock: Clock },
  { actor, kind, operation }: OperationAct,
  reason?: string,
): AuditEvent {
  const { spec } = operation;
  return {
    timeMs: clock.nowMs(),
    actor,
    kind,
    subject: operation.id,
    detail: {
      authorityKind: operation.kind,
      successor: spec.successorId,
      targets: spec.targets,
      targetsBecome: spec.targetsBecome,
      trigger: spec.trigger,
      ...(reason === undefined ? {} : { reason }),
      ...(spec.force === undefined
        ? {}
        : { forced: true, forceReason: spec.force.reason, forcedBy: spec.force.by }),
      ...(spec.stopAfter === undefined ? {} : { stopAfter: spec.stopAfter }),
      ...(spec.canary?.disregarded === undefined ? {} : { disregarded: spec.canary.disregarded }),
      ...scopeOf(spec.scope ?? {}),
    },
  };
}

export const scopeOf = (scope: Authority['scope']): AuditEvent['detail'] =>
  Object.keys(scope).length === 0 ? {} : { scope: JSON.stringify(scope) };
