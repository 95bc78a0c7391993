import { PkiError } from '../../common/errors/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import {
  isIssuingKind,
  isLegalTransition,
  rotatedKinds,
  type Authority,
  type RotationSpec,
  type Verb,
} from '../../domain/index.ts';
import {
  openOperation,
  rootOf,
  type ClockGuard,
  type RotationController,
  type RotationState,
} from '../../issuance/index.ts';
import type { LedgerEvidence } from '../../ledger/index.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type {
  CompromisePlan,
  EvidencePart,
  Rotation,
  RotateInput,
  UnreplacedReport,
} from '../services.ts';
import { evidenceParts } from './rotation-evidence.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { canaryOf, disregarding, reasonOf, scopeOf, sharesOf } from './rotation-checks.ts';
import { samePlace, remains } from './rotation-scope.ts';
import { illegal, RotationActs, type RotationActDependencies } from './rotation-acts.ts';
import { compromisePlanOf } from './compromise-plan.ts';
import { inUse, unreplacedReport } from './unreplaced.ts';

export interface RotationDependencies extends RotationActDependencies {
  readonly controller: Pick<RotationController, 'look' | 'settle' | 'poke' | 'onState'>;
  readonly guard: Pick<ClockGuard, 'accept' | 'jumpedSeconds'>;
  readonly store: RotationActDependencies['store'] & { readonly evidence: LedgerEvidence };
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly defaultTaintWindowSeconds: number;
}

/** An act of an operator, and the rights that it needs. `force` also needs authority.force. */
interface Acting {
  readonly operation: OperationName;
  readonly subject?: string | undefined;
  readonly verb: Verb;
  readonly force?: boolean;
  /** Absent for acts that take trust away. */
  readonly signal?: AbortSignal | undefined;
}

const longestWindowSeconds = 30 * 86_400;

/**
 * Acts of operators on authorities. Each act records a goal or one transition, with the operator's
 * name, and wakes the controller.
 */
export class RotationService implements Rotation {
  readonly #dependencies: RotationDependencies;
  readonly #acts: RotationActs;

  constructor(dependencies: RotationDependencies) {
    this.#dependencies = dependencies;
    this.#acts = new RotationActs(dependencies);
  }

  rotate(caller: OperatorCaller, input: RotateInput, signal?: AbortSignal): Promise<RotationState> {
    return this.#acting(
      caller,
      {
        operation: 'RotateAuthorities',
        subject: input.kind,
        verb: 'authority.rotate',
        force: input.force,
        signal,
      },
      async (actor) => {
        const targets = (await this.#acts.complete(input.kind)).filter(
          (operation) =>
            operation.state === 'active' &&
            operation.token !== 'external' &&
            samePlace(operation.scope, input.scope ?? {}),
        );
        await openOperation(
          {
            kind: input.kind,
            actor,
            targets: targets.map(({ id }) => id),
            trigger: 'operator',
            reason: reasonOf(input.reason, input.force),
            spec: {
              shares: sharesOf(input.shares),
              ...(input.force ? { force: { by: actor, reason: input.reason } } : {}),
              ...(input.stopAfter === undefined ? {} : { stopAfter: input.stopAfter }),
              ...(input.canary === undefined ? {} : { canary: canaryOf(input.kind, input.canary) }),
              ...(input.scope === undefined ? {} : { scope: scopeOf(input, input.scope) }),
            },
          },
          this.#dependencies,
          { signal },
        );
      },
    );
  }

  proceed(
    caller: OperatorCaller,
    input: Parameters<Rotation['proceed']>[1],
    signal?: AbortSignal,
  ): Promise<RotationState> {
    return this.#acting(
      caller,
      {
        operation: 'ContinueRotation',
        subject: input.id ?? input.kind,
        verb: 'authority.rotate',
        force: input.force || input.disregarded.length > 0,
        signal,
      },
      async (actor) => {
        const standby =
          input.stopAfter === undefined && input.id !== undefined
            ? await this.#acts.standby(input.id)
            : undefined;
        if (standby !== undefined) {
          // its activation has no canary: a list that approvers were shown is refused, never dropped
          disregarding({}, input);
          await this.#acts.activateStandby(standby, { actor, signal }, input);
          return;
        }
        const operation = await this.#acts.underWay((underWay) =>
          input.id === undefined
            ? underWay.kind === input.kind
            : underWay.id === input.id || underWay.spec.successorId === input.id,
        );
        const { stopAfter: _, ...rest } = operation.spec;
        const spec: RotationSpec = {
          ...rest,
          ...(input.stopAfter === undefined ? {} : { stopAfter: input.stopAfter }),
          ...(input.shares === undefined ? {} : { shares: sharesOf(input.shares) }),
          ...(input.force ? { force: { by: actor, reason: reasonOf(input.reason, true) } } : {}),
          ...disregarding(operation.spec, input),
        };
        await this.#acts.update(
          operation,
          { state: 'running', spec },
          { actor, reason: input.reason, signal },
          'rotation.continued',
        );
      },
    );
  }

  withdraw(
    caller: OperatorCaller,
    { id, reason }: Parameters<Rotation['withdraw']>[1],
    signal?: AbortSignal,
  ): Promise<RotationState> {
    return this.#acting(
      caller,
      { operation: 'WithdrawAuthority', subject: id, verb: 'authority.rotate', signal },
      async (actor) => {
        const authority = await this.#acts.authority(id);
        const operation = (await this.#acts.operations()).find(
          (operation) => operation.spec.successorId === id,
        );
        // update the goal first, so that the controller does not continue towards it
        if (operation !== undefined)
          await this.#acts.update(
            operation,
            { state: 'cancelled' },
            { actor, reason, signal },
            'rotation.cancelled',
          );
        await this.#acts.move(
          authority,
          authority.state === 'published' ? 'withdrawn' : 'discarded',
          // an act whose first write is durable is finished
          { actor, ...(operation === undefined ? { signal } : {}) },
          { reason: reasonOf(reason, false) },
        );
      },
    );
  }

  taint(caller: OperatorCaller, input: Parameters<Rotation['taint']>[1]): Promise<RotationState> {
    return this.#acting(
      caller,
      {
        operation: 'TaintAuthority',
        subject: input.id,
        verb: 'authority.taint',
        force: input.force,
      },
      async (actor) => {
        const reason = reasonOf(input.reason, true);
        const windowSeconds =
          input.windowSeconds === 0
            ? this.#dependencies.defaultTaintWindowSeconds
            : input.windowSeconds;
        if (
          !Number.isSafeInteger(windowSeconds) ||
          windowSeconds < 1 ||
          windowSeconds > longestWindowSeconds
        )
          throw new PkiError(
            'INVALID_REQUEST',
            `the window must be 1 to ${longestWindowSeconds} seconds`,
          );
        const authority = await this.#acts.authority(input.id);
        if (!isLegalTransition(authority.state, 'tainted')) throw illegal(authority, 'tainted');
        const all = await this.#acts.proven();
        if (authority.state !== 'active' || remains(authority, all)) {
          await this.#acts.move(authority, 'tainted', { actor }, { reason, windowSeconds });
          return;
        }
        await this.#acts.replaceThenTaint(
          authority,
          { actor, reason },
          { windowSeconds, force: input.force },
        );
      },
    );
  }

  revoke(
    caller: OperatorCaller,
    input: { readonly id: string; readonly reason: string; readonly force: boolean },
  ): Promise<RotationState> {
    return this.#acting(
      caller,
      {
        operation: 'RevokeAuthority',
        subject: input.id,
        verb: 'authority.revoke',
        force: input.force,
      },
      async (actor) => {
        const authority = await this.#acts.authority(input.id);
        if (!isLegalTransition(authority.state, 'revoked')) throw illegal(authority, 'revoked');
        const { observation } = await this.#dependencies.controller.look();
        const facts = observation.facts.find((fact) => fact.authority.id === authority.id);
        const live = facts?.live ?? 0;
        const counts = {
          live,
          liveUnreported: facts?.liveUnreported ?? 0,
          lastExpiry: facts?.lastExpiry ?? 0,
        };
        if (!input.force && live > 0) {
          throw inUse(authority, counts, await this.#unreplaced(authority));
        }
        if (!input.force && this.#dependencies.guard.jumpedSeconds() !== 0)
          throw new PkiError(
            'CONFLICT',
            'the wall clock has jumped, so that the server can not tell which leaves are live',
            { next: 'Set the clock right, or accept it (meshca authority accept-clock).' },
          );
        await this.#acts.move(
          authority,
          'revoked',
          { actor },
          { reason: reasonOf(input.reason, input.force), forced: input.force, ...counts },
        );
      },
    );
  }

  unreplaced(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<UnreplacedReport> {
    return this.#reading(caller, 'ListUnreplaced', async () =>
      this.#unreplaced(await this.#acts.authority(id, signal), signal),
    );
  }

  planCompromise(
    caller: OperatorCaller,
    id: string,
    signal?: AbortSignal,
  ): Promise<CompromisePlan> {
    return this.#reading(caller, 'PlanCompromise', () => this.#plan(id, signal));
  }

  async compromise(
    caller: OperatorCaller,
    input: Parameters<Rotation['compromise']>[1],
  ): Promise<CompromisePlan> {
    const { access, refusals } = this.#dependencies;
    return refusing(
      refusals,
      { caller, operation: 'CompromiseAuthority', subject: input.id.slice(0, 64) },
      async () => {
        (await access.of(caller)).require('authority.revoke', access.all);
        const plan = await this.#plan(input.id);
        const authority = await this.#acts.authority(input.id);
        // Intermediate and root are separate goals: first a new intermediate below the root that
        // every consumer holds, then a new root with its intermediate.
        if (authority.state !== 'tainted') await this.taint(caller, input);
        const rootId =
          plan.replacesRoot && isIssuingKind(authority.kind) ? plan.tainted.at(-1) : undefined;
        const root = rootId === undefined ? undefined : await this.#acts.authority(rootId);
        if (root !== undefined && root.state !== 'tainted')
          await this.taint(caller, { ...input, id: root.id });
        return { ...plan, state: await this.#dependencies.controller.look() };
      },
    );
  }

  acceptClock(
    caller: OperatorCaller,
    reason: string,
    signal?: AbortSignal,
  ): Promise<RotationState> {
    return this.#acting(
      caller,
      { operation: 'AcceptClock', verb: 'authority.force', signal },
      async (actor) => {
        const jumpedSeconds = this.#dependencies.guard.jumpedSeconds();
        signal?.throwIfAborted();
        await this.#dependencies.guard.accept({
          actor,
          kind: 'clock.accepted',
          detail: { jumpedSeconds, reason: reasonOf(reason, true) },
        });
      },
    );
  }

  status(caller: OperatorCaller, signal?: AbortSignal): Promise<RotationState> {
    return this.#reading(caller, 'GetRotationStatus', () => {
      signal?.throwIfAborted();
      return this.#dependencies.controller.look();
    });
  }

  evidence(caller: OperatorCaller, id: string): Promise<AsyncIterable<EvidencePart>> {
    return this.#reading(caller, 'GetActivationEvidence', async () => {
      await this.#acts.authority(id);
      return evidenceParts(id, this.#dependencies.store);
    });
  }

  watch(caller: OperatorCaller, listener: (state: RotationState) => void): Promise<() => void> {
    return this.#reading(caller, 'WatchRotation', async () => {
      listener(await this.#dependencies.controller.look());
      return this.#dependencies.controller.onState(listener);
    });
  }

  async #unreplaced(authority: Authority, signal?: AbortSignal): Promise<UnreplacedReport> {
    const { clock, store } = this.#dependencies;
    return unreplacedReport(authority, await this.#acts.proven(), {
      rotations: store.rotations,
      since: clock.now(),
      signal,
    });
  }

  async #plan(id: string, signal?: AbortSignal): Promise<CompromisePlan> {
    const authority = await this.#acts.authority(id, signal);
    if (!rotatedKinds.some((kind) => kind === authority.kind))
      throw new PkiError(
        'INVALID_REQUEST',
        `a ${authority.kind} authority can not be replaced in this way`,
      );
    const { controller, store } = this.#dependencies;
    const state = await controller.look();
    const all = await this.#acts.proven();
    const root = isIssuingKind(authority.kind) ? rootOf(authority, all) : undefined;
    return compromisePlanOf(authority, root, state, await store.rotations.consumers());
  }

  #acting(
    caller: OperatorCaller,
    { operation, subject, verb, force = false, signal }: Acting,
    act: (actor: string) => Promise<void>,
  ): Promise<RotationState> {
    const { access, controller, refusals } = this.#dependencies;
    return refusing(refusals, { caller, operation, subject: subject?.slice(0, 64) }, async () => {
      const rights = await access.of(caller);
      rights.require(verb, access.all);
      if (force) rights.require('authority.force', access.all);
      await act(actorOf(caller));
      controller.poke();
      signal?.throwIfAborted();
      return controller.look();
    });
  }

  #reading<T>(caller: OperatorCaller, operation: OperationName, act: () => Promise<T>): Promise<T> {
    const { access, refusals } = this.#dependencies;
    return refusing(refusals, { caller, operation }, async () => {
      (await access.of(caller)).require('authority.read', { kind: 'none' });
      return act();
    });
  }
}
