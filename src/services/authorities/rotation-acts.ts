import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  hindrance,
  isLegalTransition,
  isRotated,
  legalTransitions,
  rotatedKinds,
  type Authority,
  type AuthorityKind,
  type RotationOperation,
} from '../../domain/index.ts';
import { cancelOperation, openOperation, rotationEvent } from '../../issuance/index.ts';
import type { LedgerRotations } from '../../ledger/index.ts';
import type { AuditStore, AuthorityStore } from '../../store/ports/index.ts';
import type { Rotation } from '../services.ts';
import { checkText } from '../requests.ts';
import { reasonOf, sharesOf } from './rotation-checks.ts';
import { samePlace, whole } from './rotation-scope.ts';

export interface RotationActDependencies {
  readonly store: {
    readonly authorities: AuthorityStore;
    readonly rotations: LedgerRotations;
    readonly audit: Pick<AuditStore, 'append' | 'list'>;
  };
  readonly clock: Clock;
  /** Whether the token can use this key. */
  readonly canUse: (ckaId: string) => boolean;
}

/** The actor and the reason. If `signal` is aborted before the first write, nothing is written. */
export interface Act {
  readonly actor: string;
  readonly reason: string;
  readonly signal?: AbortSignal | undefined;
}

/** Reads and records for the acts of operators on authorities. */
export class RotationActs {
  readonly #dependencies: RotationActDependencies;

  constructor(dependencies: RotationActDependencies) {
    this.#dependencies = dependencies;
  }

  /** The published authority in the standby token with this ID, unless a rotation owns it. */
  async standby(id: string): Promise<Authority | undefined> {
    const authority = (await this.list()).find(
      (authority) =>
        authority.id === id && authority.token === 'standby' && authority.state === 'published',
    );
    return authority === undefined ||
      (await this.operations()).some(({ spec }) => spec.successorId === id)
      ? undefined
      : authority;
  }

  /**
   * Activates a standby authority, which was published long ago. A rotation under way needs the
   * lost token, so that it ends.
   */
  async activateStandby(
    authority: Authority,
    { actor, signal }: Pick<Act, 'actor' | 'signal'>,
    input: Parameters<Rotation['proceed']>[1],
  ): Promise<void> {
    const { kind } = authority;
    if (!isRotated(kind))
      throw new PkiError('INVALID_REQUEST', `a ${kind} authority is not rotated`);
    if (!this.#dependencies.canUse(authority.ckaId))
      throw new PkiError(
        'HSM_UNAVAILABLE',
        `the standby token can not use the key of authority ${authority.id}`,
        {
          next:
            'Check that the standby token is reachable (hsm.standby). The log of the server ' +
            'says what is wrong with it.',
        },
      );
    const running = (await this.operations()).find((operation) => operation.kind === kind);
    if (running !== undefined)
      await cancelOperation(
        running,
        { actor, reason: 'the standby is activated instead', signal },
        this.#dependencies,
      );
    const signing = (await this.list()).filter(
      (authority) =>
        authority.kind === kind && authority.state === 'active' && authority.token !== 'external',
    );
    // authorities of a replica or region are in the lost token too; the standby signs everywhere
    const targets = signing.some(({ scope }) => whole(scope))
      ? signing.filter(({ scope, token }) => whole(scope) || token === 'issuing')
      : [];
    await openOperation(
      {
        kind,
        actor,
        targets: targets.map(({ id }) => id),
        trigger: 'operator',
        reason: reasonOf(input.reason, input.force),
        spec: {
          successorId: authority.id,
          shares: sharesOf(input.shares),
          ...(input.force ? { force: { by: actor, reason: input.reason } } : {}),
        },
      },
      this.#dependencies,
      // an act whose first write is durable is finished
      running === undefined ? { signal } : {},
    );
  }

  /**
   * For the last authority that signs: makes its successor first. This is one operation, which
   * continues after a crash.
   */
  async replaceThenTaint(
    authority: Authority,
    { actor, reason }: Act,
    { windowSeconds, force }: { readonly windowSeconds: number; readonly force: boolean },
  ): Promise<void> {
    const kind = rotatedKinds.find((rotated) => rotated === authority.kind);
    if (kind === undefined)
      throw new PkiError('INVALID_REQUEST', `a ${authority.kind} authority is not rotated`);
    const spec = {
      targetsBecome: 'tainted' as const,
      taintWindowSeconds: windowSeconds,
      ...(force ? { force: { by: actor, reason } } : {}),
    };
    const { operations } = await this.#dependencies.store.rotations.standing();
    const running = operations.find((operation) => operation.kind === kind);
    // a successor for one place can not replace an authority of another place
    const elsewhere =
      running?.spec.scope !== undefined && !samePlace(running.spec.scope, authority.scope);
    if (running !== undefined && elsewhere)
      await cancelOperation(
        running,
        { actor, reason: `${authority.id} is tainted, and needs a successor first` },
        this.#dependencies,
      );
    if (running === undefined || elsewhere) {
      await openOperation(
        { kind, actor, targets: [authority.id], trigger: 'taint', reason, spec },
        this.#dependencies,
      );
      return;
    }
    const { stopAfter: _, ...rest } = running.spec;
    await this.update(
      running,
      {
        state: 'running',
        spec: { ...rest, ...spec, targets: [...new Set([...rest.targets, authority.id])] },
      },
      { actor, reason },
      'rotation.taints',
    );
  }

  /**
   * Makes one transition. `detail.windowSeconds`: for a taint, the time in which the leaves are
   * replaced.
   */
  async move(
    authority: Authority,
    to: Authority['state'],
    { actor, signal }: Pick<Act, 'actor' | 'signal'>,
    detail: Readonly<Record<string, string | number | boolean>> & {
      readonly windowSeconds?: number;
    },
  ): Promise<void> {
    const { windowSeconds } = detail;
    if (!isLegalTransition(authority.state, to)) throw illegal(authority, to);
    const { clock, store } = this.#dependencies;
    await store.authorities.transition(
      { id: authority.id, version: authority.version, now: clock.now() },
      to,
      {
        timeMs: clock.nowMs(),
        actor,
        kind: `authority.${to}`,
        subject: authority.id,
        detail: { authorityKind: authority.kind, ...detail },
      },
      { signal, ...(windowSeconds === undefined ? {} : { taintWindowSeconds: windowSeconds }) },
    );
  }

  update(
    operation: RotationOperation,
    change: Parameters<LedgerRotations['update']>[1],
    { actor, reason, signal }: Act,
    kind: string,
  ): Promise<RotationOperation> {
    const event = rotationEvent(
      this.#dependencies,
      { actor, kind, operation: { ...operation, spec: change.spec ?? operation.spec } },
      checkText('reason', reason, 500),
    );
    return this.#dependencies.store.rotations.update(
      { id: operation.id, version: operation.version, now: this.#dependencies.clock.now() },
      change,
      event,
      signal,
    );
  }

  /** @throws PkiError OBJECT_NOT_IN_LOG if one of them was altered past the server */
  list(): Promise<readonly Authority[]> {
    return this.#dependencies.store.authorities.list();
  }

  /**
   * The authorities of a kind, for an act that begins something.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG if one on which the kind rests was altered past the server
   */
  async complete(kind: AuthorityKind): Promise<readonly Authority[]> {
    const { authorities, altered } = await this.#dependencies.store.rotations.standing();
    const row = hindrance(altered, kind);
    if (row !== undefined)
      throw new PkiError(
        'OBJECT_NOT_IN_LOG',
        `the ${row.object} ${row.id} in the database differs from the audit log; no ${kind} ` +
          'authority is rotated before it is put right',
        { detail: { kind: row.object, id: row.id } },
      );
    return authorities.filter((authority) => authority.kind === kind);
  }

  /** Those that the log vouches for: to take trust away, or to show what would happen. */
  async proven(): Promise<readonly Authority[]> {
    return (await this.#dependencies.store.rotations.standing()).authorities;
  }

  operations(): Promise<readonly RotationOperation[]> {
    return this.#dependencies.store.rotations.list({ underWay: true });
  }

  async underWay(matches: (operation: RotationOperation) => boolean): Promise<RotationOperation> {
    const operation = (await this.operations()).find(matches);
    if (operation === undefined)
      throw new PkiError('NOT_FOUND', 'there is no such rotation under way', {
        next: 'See what is under way: meshca authority status.',
      });
    return operation;
  }

  async authority(id: string, signal?: AbortSignal): Promise<Authority> {
    const authority = await this.#dependencies.store.authorities.byId(id, signal);
    if (authority === undefined)
      throw new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
    return authority;
  }
}

export function illegal(authority: Authority, to: string): PkiError {
  const legal = legalTransitions(authority.state);
  return new PkiError(
    'CONFLICT',
    `authority ${authority.id} is ${authority.state} and can not become ${to}`,
    {
      next:
        legal.length === 0
          ? `${authority.state} is final.`
          : `From ${authority.state} it may go to ${legal.join(', ')}.`,
    },
  );
}
