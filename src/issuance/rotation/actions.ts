import type { Logger } from '../../common/runtime/index.ts';
import {
  serverRequester,
  type AuditEvent,
  type Authority,
  type AuthorityState,
  type Confirmation,
  type RotationAction,
} from '../../domain/index.ts';
import type {
  AuthorityStore,
  Lease,
  RotationStore,
  TransitionContext,
} from '../../store/ports/index.ts';
import { authorityEvent } from '../authority-event.ts';
import { crossSign } from '../sources/cross.ts';
import { evidenceOf, type EvidenceDependencies } from './evidence.ts';
import type { Observation } from './observer.ts';
import { cancelOperation, openOperation, rotationEvent, scopeOf } from './operations.ts';
import { prepare, prepareStandby, type PreparationDependencies } from './preparation.ts';

export interface ActionDependencies
  extends PreparationDependencies,
    Omit<EvidenceDependencies, 'store'> {
  readonly store: {
    readonly authorities: AuthorityStore;
    readonly rotations: RotationStore;
  };
  readonly logger: Logger;
}

const namedLaggards = 50;

type Of<Type extends RotationAction['type']> = Extract<RotationAction, { type: Type }>;

/**
 * Carries out one action. Each action is idempotent. After a crash the decision asks for the same
 * action again, and it resumes.
 */
export async function execute(
  action: RotationAction,
  observation: Observation,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  switch (action.type) {
    case 'open':
      await open(action, lease, dependencies);
      return;
    case 'standby':
      await prepareStandby(action, lease, dependencies);
      return;
    case 'cancel': {
      const { operation, reason } = action;
      await cancelOperation(operation, { actor: 'server', reason, lease }, dependencies);
      return;
    }
    case 'cross':
      await cross(action, dependencies);
      return;
    case 'prepare':
      await prepare(action.operation, observation, lease, dependencies);
      return;
    case 'activate':
      await activate(action, observation, lease, dependencies);
      return;
    case 'widen':
      await widen(action, lease, dependencies);
      return;
    case 'finish':
      await finish(action, lease, dependencies);
      return;
    default:
      await move(action.authority, stepOf(action), lease, dependencies);
  }
}

/** A transition, with the detail of its record. */
interface Step {
  readonly to: AuthorityState;
  readonly detail?: AuditEvent['detail'];
  readonly context?: Omit<TransitionContext, 'lease'>;
  readonly actor?: string;
}

/** The transition of an action that consists of a transition only. */
function stepOf(
  action: Of<'drop' | 'publish' | 'supersede' | 'taint' | 'retire' | 'revoke'>,
): Step {
  switch (action.type) {
    case 'drop':
      return {
        to: action.authority.state === 'published' ? 'withdrawn' : 'discarded',
        detail: {
          reason:
            action.authority.token === 'external'
              ? 'a root at one end of this cross-certificate is over'
              : 'another authority stands by',
        },
      };
    case 'publish':
      return { to: 'published' };
    case 'supersede':
      return { to: 'old', detail: { by: action.by } };
    case 'taint': {
      const { windowSeconds } = action;
      return {
        to: 'tainted',
        detail: { windowSeconds },
        context: windowSeconds > 0 ? { taintWindowSeconds: windowSeconds } : {},
      };
    }
    case 'retire':
      return { to: 'retired' };
    case 'revoke':
      return { to: 'revoked', detail: { reason: 'all certificates that it signed have expired' } };
  }
}

async function move(
  authority: Authority,
  { to, detail = {}, context = {}, actor = 'server' }: Step,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const { store, clock, logger, moved, step } = dependencies;
  const { id, version, kind, state } = authority;
  await store.authorities.transition(
    { id, version, now: clock.now() },
    to,
    authorityEvent(dependencies, { actor, kind: `authority.${to}`, authority }, detail),
    { ...context, lease },
  );
  moved(kind, to);
  logger.info({ authority: id, kind, from: state, to }, 'authority moved');
  step?.(`${kind}-${to}`);
}

async function open(
  { kind, targets, parentId, trigger, successorId, force }: Of<'open'>,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  await openOperation(
    {
      kind,
      actor: 'server',
      targets,
      parentId,
      trigger,
      spec: {
        ...(successorId === undefined ? {} : { successorId }),
        ...(force === undefined ? {} : { force }),
      },
    },
    dependencies,
    { lease },
  );
}

/** Activates an authority. The evidence for the activation is recorded in the same transaction. */
async function activate(
  action: Of<'activate'>,
  observation: Observation,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const { authority, scope, without } = action;
  const evidence = await evidenceOf(action, observation, dependencies);
  await move(
    authority,
    {
      to: 'active',
      detail: {
        evidence: evidence.sha256,
        provenNeeded: evidence.proven.needed,
        provenConfirmed: evidence.proven.confirmed,
        without: without.kind,
        ...(without.kind === 'forced' ? { reason: without.reason } : {}),
        ...countsOf(observation.confirmations.get(authority.id)),
        ...scopeOf(scope),
      },
      context: { scope, evidence },
      actor: without.kind === 'forced' ? without.by : 'server',
    },
    lease,
    dependencies,
  );
}

/** What a crash left of an earlier one is dropped by the decision. */
async function cross({ from, to }: Of<'cross'>, dependencies: ActionDependencies): Promise<void> {
  const { store, logger, step } = dependencies;
  const { id } = await crossSign(
    { caller: serverRequester, fromId: from.id, toId: to.id },
    { ...dependencies, authorities: store.authorities },
  );
  logger.info({ authority: id, from: from.id, to: to.id }, 'a root certified its successor');
  step?.(`${to.kind}-cross`);
}

async function widen(
  { authority, scope }: Of<'widen'>,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const { id, version } = authority;
  await dependencies.store.authorities.rescope(
    { id, version, lease },
    scope,
    authorityEvent(
      dependencies,
      { actor: 'server', kind: 'authority.scope', authority },
      scopeOf(scope),
    ),
  );
}

async function finish(
  { operation }: Of<'finish'>,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const { id, version } = operation;
  await dependencies.store.rotations.update(
    { id, version, now: dependencies.clock.now(), lease },
    { state: 'done' },
    rotationEvent(dependencies, { actor: 'server', kind: 'rotation.done', operation }),
  );
}

/** The record names the first agents that were left out. The evidence names all of them. */
function countsOf(confirmation: Confirmation | undefined): AuditEvent['detail'] {
  if (confirmation === undefined) return {};
  const { proven, inferred, unprovable } = confirmation;
  const names = proven.laggards
    .slice(0, namedLaggards)
    .map((agent) =>
      agent.consumerId === ''
        ? agent.agentId
        : `${agent.agentId} ${agent.spiffeId} ${agent.description}`.trim(),
    );
  return {
    inferredNeeded: inferred.needed,
    inferredConfirmed: inferred.confirmed,
    unprovableUntil: unprovable.until,
    ...(names.length === 0 ? {} : { laggards: names, laggardsTotal: proven.laggards.length }),
  };
}
