import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Logger } from '../../common/runtime/index.ts';
import {
  allShares,
  parentOf,
  type AuditEvent,
  type Authority,
  type AuthorityState,
  type Confirmation,
  type RotatedKind,
  type RotationAction,
  type RotationOperation,
  type RotationSpec,
  type TokenRole,
} from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type {
  AuthorityStore,
  Lease,
  RotationStore,
  TransitionContext,
} from '../../store/ports/index.ts';
import { authorityEvent } from '../authority-event.ts';
import { completeAuthority, recordAuthority, type MakerDependencies } from '../authority-maker.ts';
import { evidenceOf, type EvidenceDependencies } from './evidence.ts';
import type { Observation } from './observer.ts';

export interface ActionDependencies
  extends Omit<MakerDependencies, 'authorities'>,
    Omit<EvidenceDependencies, 'store'> {
  readonly store: {
    readonly authorities: AuthorityStore;
    readonly rotations: RotationStore;
  };
  /** Opens a session process on a token; closed again as soon as the work on it is done. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly logger: Logger;
  /** One for each transition. */
  readonly moved: (kind: string, to: AuthorityState) => void;
}

const namedLaggards = 50;

/**
 * Carries out one action. Each is idempotent: what a crash cut short is asked for again by the
 * decision, and goes on from there.
 */
export async function execute(
  action: RotationAction,
  seen: Observation,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const move = async (
    authority: Authority,
    to: AuthorityState,
    detail: AuditEvent['detail'] = {},
    context: Omit<TransitionContext, 'lease'> = {},
    actor = 'server',
  ): Promise<void> => {
    await dependencies.store.authorities.transition(
      { id: authority.id, version: authority.version, now: dependencies.clock.now() },
      to,
      authorityEvent(dependencies, { actor, kind: `authority.${to}`, authority }, detail),
      { ...context, lease },
    );
    dependencies.moved(authority.kind, to);
    dependencies.logger.info(
      { authority: authority.id, kind: authority.kind, from: authority.state, to },
      'authority moved',
    );
    dependencies.step?.(`${authority.kind}-${to}`);
  };
  switch (action.type) {
    case 'open':
      await openOperation(
        {
          kind: action.kind,
          actor: 'server',
          targets: action.targets,
          parentId: action.parentId,
          trigger: action.trigger,
          ...(action.successorId === undefined
            ? {}
            : { spec: { successorId: action.successorId } }),
        },
        dependencies,
        lease,
      );
      return;
    case 'standby':
      await prepareStandby(action, lease, dependencies);
      return;
    case 'drop':
      await move(
        action.authority,
        action.authority.state === 'published' ? 'withdrawn' : 'discarded',
        { reason: 'another stands by' },
      );
      return;
    case 'cancel':
      await cancelOperation(action.operation, 'server', action.reason, dependencies, lease);
      return;
    case 'prepare':
      await prepare(action.operation, seen, lease, dependencies);
      return;
    case 'publish':
      await move(action.authority, 'published');
      return;
    case 'activate': {
      const { without } = action;
      const found = seen.confirmations.get(action.authority.id);
      const evidence = await evidenceOf(action, seen, dependencies);
      await move(
        action.authority,
        'active',
        {
          evidence: evidence.sha256,
          provenNeeded: evidence.proven.needed,
          provenConfirmed: evidence.proven.confirmed,
          without: without.kind,
          ...(without.kind === 'forced' ? { reason: without.reason } : {}),
          ...countsOf(found),
          ...scopeOf(action.scope),
        },
        { scope: action.scope, evidence },
        without.kind === 'forced' ? without.by : 'server',
      );
      return;
    }
    case 'widen':
      await dependencies.store.authorities.rescope(
        { id: action.authority.id, version: action.authority.version, lease },
        action.scope,
        authorityEvent(
          dependencies,
          { actor: 'server', kind: 'authority.scope', authority: action.authority },
          scopeOf(action.scope),
        ),
      );
      return;
    case 'supersede':
      await move(action.authority, 'old', { by: action.by });
      return;
    case 'taint':
      await move(
        action.authority,
        'tainted',
        { windowSeconds: action.windowSeconds },
        action.windowSeconds > 0 ? { taintWindowSeconds: action.windowSeconds } : {},
      );
      return;
    case 'retire':
      await move(action.authority, 'retired');
      return;
    case 'revoke':
      await move(action.authority, 'revoked', {
        reason: 'nothing that it signed is valid any more',
      });
      return;
    case 'finish':
      await dependencies.store.rotations.update(
        {
          id: action.operation.id,
          version: action.operation.version,
          now: dependencies.clock.now(),
          lease,
        },
        { state: 'done' },
        rotationEvent(dependencies, 'server', 'rotation.done', action.operation),
      );
  }
}

/** Record with its CKA_ID → key in its token → certificate from the root's token → `prepared`. */
async function prepare(
  operation: RotationOperation,
  seen: Observation,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const { store, openToken } = dependencies;
  const { kind, spec } = operation;
  const made = { ...dependencies, authorities: store.authorities };
  const known = await store.authorities.byId(spec.successorId);
  const parentId =
    known?.parentId ??
    (kind === 'issuing'
      ? (parentOf(spec.parentId, { authorities: seen.facts })?.id ?? null)
      : null);
  const parent = parentId === null ? undefined : await store.authorities.byId(parentId);
  if (kind === 'issuing' && parent === undefined)
    throw new PkiError('NO_ISSUER', 'no active root can sign a new issuing authority');
  const authority =
    known ??
    (await recordAuthority(
      {
        id: spec.successorId,
        kind,
        parentId,
        ...(spec.scope === undefined ? {} : { scope: spec.scope }),
        actor: operation.createdBy,
        lease,
      },
      made,
    ));
  dependencies.step?.(`${kind}-recorded`);
  await complete(authority, parent, operation.createdBy, lease, dependencies, openToken);
  dependencies.step?.(`${kind}-prepared`);
}

async function complete(
  authority: Authority,
  parent: Authority | undefined,
  actor: string,
  lease: Lease,
  dependencies: ActionDependencies,
  openToken = dependencies.openToken,
): Promise<void> {
  const { store } = dependencies;
  const token = await openToken(authority.token);
  try {
    const other =
      parent !== undefined && parent.token !== authority.token
        ? await openToken(parent.token)
        : undefined;
    try {
      await completeAuthority(
        {
          authority,
          parent,
          token,
          signingToken: authority.kind === 'root' ? token : (other ?? token),
          actor,
          lease,
        },
        { ...dependencies, authorities: store.authorities },
      );
    } finally {
      await other?.close();
    }
  } finally {
    await token.close();
  }
  dependencies.moved(authority.kind, 'prepared');
}

/** The same in the standby token, for no operation: it is published, and waits. */
async function prepareStandby(
  { kind, parentId, authority: known }: Extract<RotationAction, { type: 'standby' }>,
  lease: Lease,
  dependencies: ActionDependencies,
): Promise<void> {
  const { store } = dependencies;
  const parent = parentId === null ? undefined : await store.authorities.byId(parentId);
  const authority =
    known ??
    (await recordAuthority(
      { kind, parentId, token: 'standby', lease },
      { ...dependencies, authorities: store.authorities },
    ));
  dependencies.step?.(`${kind}-standby-recorded`);
  await complete(authority, parent, 'server', lease, dependencies);
}

/** The goal is given up, and the authority that was made for it as well, unless it has signed. */
export async function cancelOperation(
  operation: RotationOperation,
  actor: string,
  reason: string,
  dependencies: {
    readonly store: Pick<ActionDependencies['store'], 'authorities' | 'rotations'>;
    readonly clock: Clock;
  },
  lease?: Lease,
): Promise<void> {
  const { store, clock } = dependencies;
  await store.rotations.update(
    { id: operation.id, version: operation.version, now: clock.now(), lease },
    { state: 'cancelled' },
    rotationEvent(dependencies, actor, 'rotation.cancelled', operation, reason),
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
 * A new goal, with the ID of the authority that it will make. CONFLICT when one of its kind is
 * under way.
 */
export async function openOperation(
  ask: OperationAsk,
  dependencies: {
    readonly store: { readonly rotations: Pick<RotationStore, 'create'> };
    readonly clock: Clock;
  },
  lease?: Lease,
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
    rotationEvent(dependencies, ask.actor, 'rotation.opened', operation, ask.reason),
    lease,
  );
  return operation;
}

export function rotationEvent(
  { clock }: { readonly clock: Clock },
  actor: string,
  kind: string,
  operation: RotationOperation,
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
      ...scopeOf(spec.scope ?? {}),
    },
  };
}

const scopeOf = (scope: Authority['scope']): AuditEvent['detail'] =>
  Object.keys(scope).length === 0 ? {} : { scope: JSON.stringify(scope) };

/**
 * The first of those who were left out stand in the record by name, all of them in the evidence.
 */
function countsOf(found: Confirmation | undefined): AuditEvent['detail'] {
  if (found === undefined) return {};
  const { proven, inferred, unprovable } = found;
  const names = proven.laggards
    .slice(0, namedLaggards)
    .map((each) =>
      each.consumerId === ''
        ? each.agentId
        : `${each.agentId} ${each.spiffeId} ${each.description}`.trim(),
    );
  return {
    inferredNeeded: inferred.needed,
    inferredConfirmed: inferred.confirmed,
    unprovableUntil: unprovable.until,
    ...(names.length === 0 ? {} : { laggards: names, laggardsTotal: proven.laggards.length }),
  };
}
