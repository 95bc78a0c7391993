import { PkiError } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import type { OperationName } from '../common/wire/index.ts';
import {
  isLegalTransition,
  isRotated,
  legalTransitions,
  rotatedKinds,
  type Authority,
  type AuthorityScope,
  type RotationOperation,
  type RotationSpec,
  type Verb,
} from '../domain/index.ts';
import {
  cancelOperation,
  openOperation,
  rootOf,
  rotationEvent,
  type ClockGuard,
  type RotationController,
  type RotationState,
} from '../issuance/index.ts';
import type { LedgerEvidence, LedgerRotations } from '../ledger/index.ts';
import type { AuditStore, AuthorityStore } from '../store/ports/index.ts';
import type { Access } from './access.ts';
import { actorOf, type OperatorCaller } from './caller.ts';
import type { CompromisePlan, EvidencePart, Rotation, RotateInput } from './contract.ts';
import { evidenceParts } from './rotation-evidence.ts';
import { refusing, type RefusalLog } from './refusals.ts';
import { canaryOf, reasonOf, scopeOf, sharesOf } from './rotation-checks.ts';
import { checkText } from './requests.ts';

export interface RotationDependencies {
  readonly controller: Pick<RotationController, 'look' | 'settle' | 'poke' | 'onState'>;
  readonly guard: Pick<ClockGuard, 'accept' | 'jumpedSeconds'>;
  readonly store: {
    readonly authorities: AuthorityStore;
    readonly rotations: LedgerRotations;
    readonly audit: Pick<AuditStore, 'append' | 'list'>;
    readonly evidence: LedgerEvidence;
  };
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly defaultTaintWindowSeconds: number;
  /** Whether its token answers for this key. */
  readonly canUse: (ckaId: string) => boolean;
}

const longestWindowSeconds = 30 * 86_400;

/**
 * What operators do to authorities. Each act records a goal or one transition, with the operator's
 * name, and wakes the controller.
 */
export class RotationService implements Rotation {
  readonly #deps: RotationDependencies;

  constructor(deps: RotationDependencies) {
    this.#deps = deps;
  }

  rotate(caller: OperatorCaller, input: RotateInput): Promise<RotationState> {
    return this.#acting(
      caller,
      'RotateAuthorities',
      input.kind,
      'authority.rotate',
      input.force,
      async (actor) => {
        const targets = (await this.#list()).filter(
          (each) =>
            each.kind === input.kind &&
            each.state === 'active' &&
            each.token !== 'external' &&
            samePlace(each.scope, input.scope ?? {}),
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
          this.#deps,
        );
      },
    );
  }

  proceed(
    caller: OperatorCaller,
    input: Parameters<Rotation['proceed']>[1],
  ): Promise<RotationState> {
    return this.#acting(
      caller,
      'ContinueRotation',
      input.id ?? input.kind,
      'authority.rotate',
      input.force,
      async (actor) => {
        const standby =
          input.stopAfter === undefined && input.id !== undefined
            ? await this.#standby(input.id)
            : undefined;
        if (standby !== undefined) {
          await this.#activateStandby(standby, actor, input);
          return;
        }
        const operation = await this.#underWay((each) =>
          input.id === undefined
            ? each.kind === input.kind
            : each.id === input.id || each.spec.successorId === input.id,
        );
        const { stopAfter: _, ...rest } = operation.spec;
        const spec: RotationSpec = {
          ...rest,
          ...(input.stopAfter === undefined ? {} : { stopAfter: input.stopAfter }),
          ...(input.shares === undefined ? {} : { shares: sharesOf(input.shares) }),
          ...(input.force ? { force: { by: actor, reason: reasonOf(input.reason, true) } } : {}),
        };
        await this.#update(
          operation,
          { state: 'running', spec },
          actor,
          'rotation.continued',
          input.reason,
        );
      },
    );
  }

  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<RotationState> {
    return this.#acting(
      caller,
      'WithdrawAuthority',
      id,
      'authority.rotate',
      false,
      async (actor) => {
        const authority = await this.#authority(id);
        const operation = (await this.#operations()).find((each) => each.spec.successorId === id);
        // first the goal, so that nobody goes on towards it
        if (operation !== undefined)
          await this.#update(
            operation,
            { state: 'cancelled' },
            actor,
            'rotation.cancelled',
            reason,
          );
        await this.#move(
          authority,
          authority.state === 'published' ? 'withdrawn' : 'discarded',
          actor,
          { reason: reasonOf(reason, false) },
        );
      },
    );
  }

  taint(caller: OperatorCaller, input: Parameters<Rotation['taint']>[1]): Promise<RotationState> {
    return this.#acting(
      caller,
      'TaintAuthority',
      input.id,
      'authority.taint',
      input.force,
      async (actor) => {
        const reason = reasonOf(input.reason, true);
        const windowSeconds =
          input.windowSeconds === 0 ? this.#deps.defaultTaintWindowSeconds : input.windowSeconds;
        if (
          !Number.isSafeInteger(windowSeconds) ||
          windowSeconds < 1 ||
          windowSeconds > longestWindowSeconds
        )
          throw new PkiError(
            'INVALID_REQUEST',
            `the window is 1 to ${longestWindowSeconds} seconds`,
          );
        const authority = await this.#authority(input.id);
        if (!isLegalTransition(authority.state, 'tainted')) throw illegal(authority, 'tainted');
        const all = await this.#list();
        if (authority.state !== 'active' || remains(authority, all)) {
          await this.#move(authority, 'tainted', actor, { reason, windowSeconds }, windowSeconds);
          return;
        }
        await this.#replaceThenTaint(authority, actor, reason, windowSeconds, input.force);
      },
    );
  }

  revoke(
    caller: OperatorCaller,
    input: { readonly id: string; readonly reason: string; readonly force: boolean },
  ): Promise<RotationState> {
    return this.#acting(
      caller,
      'RevokeAuthority',
      input.id,
      'authority.revoke',
      input.force,
      async (actor) => {
        const authority = await this.#authority(input.id);
        if (!isLegalTransition(authority.state, 'revoked')) throw illegal(authority, 'revoked');
        const { observation } = await this.#deps.controller.look();
        const facts = observation.facts.find((each) => each.authority.id === authority.id);
        const live = facts?.live ?? 0;
        const counts = {
          live,
          liveUnreported: facts?.liveUnreported ?? 0,
          lastExpiry: facts?.lastExpiry ?? 0,
        };
        if (!input.force && live > 0) {
          throw new PkiError(
            'AUTHORITY_IN_USE',
            `${live} leaves of authority ${authority.id} are live: ${live - counts.liveUnreported} whose holder has not confirmed a replacement, ${counts.liveUnreported} whose holder can't; the last ends at ${new Date(counts.lastExpiry * 1000).toISOString()}`,
            { detail: counts },
          );
        }
        if (!input.force && this.#deps.guard.jumpedSeconds() !== 0)
          throw new PkiError(
            'CONFLICT',
            'the wall clock has jumped: what is live can not be told',
            { next: 'Set the clock right, or accept it (meshca authority accept-clock).' },
          );
        await this.#move(authority, 'revoked', actor, {
          reason: reasonOf(input.reason, input.force),
          forced: input.force,
          ...counts,
        });
      },
    );
  }

  planCompromise(caller: OperatorCaller, id: string): Promise<CompromisePlan> {
    return this.#reading(caller, 'PlanCompromise', () => this.#plan(id));
  }

  async compromise(
    caller: OperatorCaller,
    input: Parameters<Rotation['compromise']>[1],
  ): Promise<CompromisePlan> {
    const { access, refusals } = this.#deps;
    return refusing(refusals, caller, 'CompromiseAuthority', input.id.slice(0, 64), async () => {
      (await access.of(caller)).require('authority.revoke', access.all);
      const plan = await this.#plan(input.id);
      const authority = await this.#authority(input.id);
      // each is a goal of its own kind: the intermediate at once under the root that everybody
      // holds, then root and intermediate
      if (authority.state !== 'tainted') await this.taint(caller, input);
      const rootId =
        plan.replacesRoot && authority.kind === 'issuing' ? plan.tainted.at(-1) : undefined;
      const root = rootId === undefined ? undefined : await this.#authority(rootId);
      if (root !== undefined && root.state !== 'tainted')
        await this.taint(caller, { ...input, id: root.id });
      return { ...plan, state: await this.#deps.controller.look() };
    });
  }

  acceptClock(caller: OperatorCaller, reason: string): Promise<RotationState> {
    return this.#acting(
      caller,
      'AcceptClock',
      undefined,
      'authority.force',
      false,
      async (actor) => {
        const jumpedSeconds = this.#deps.guard.jumpedSeconds();
        await this.#deps.store.audit.append([
          {
            timeMs: this.#deps.clock.nowMs(),
            actor,
            kind: 'clock.accepted',
            subject: 'clock',
            detail: { jumpedSeconds, reason: reasonOf(reason, true) },
          },
        ]);
        await this.#deps.guard.accept();
      },
    );
  }

  status(caller: OperatorCaller): Promise<RotationState> {
    return this.#reading(caller, 'GetRotationStatus', () => this.#deps.controller.look());
  }

  evidence(caller: OperatorCaller, id: string): Promise<AsyncIterable<EvidencePart>> {
    return this.#reading(caller, 'GetActivationEvidence', async () => {
      await this.#authority(id);
      return evidenceParts(id, this.#deps.store);
    });
  }

  watch(caller: OperatorCaller, listener: (state: RotationState) => void): Promise<() => void> {
    return this.#reading(caller, 'WatchRotation', async () => {
      listener(await this.#deps.controller.look());
      return this.#deps.controller.onState(listener);
    });
  }

  /**
   * A CRL closes a stolen intermediate only for those who read it: where anybody does not, or can't
   * tell, its root goes as well.
   */
  async #plan(id: string): Promise<CompromisePlan> {
    const authority = await this.#authority(id);
    if (!rotatedKinds.some((kind) => kind === authority.kind))
      throw new PkiError('INVALID_REQUEST', `a ${authority.kind} authority is not replaced so`);
    const state = await this.#deps.controller.look();
    const all = await this.#list();
    const root = authority.kind === 'issuing' ? rootOf(authority, all) : undefined;
    if (root?.token === 'external')
      throw new PkiError(
        'INVALID_REQUEST',
        'the root is not ours: whoever has its key must replace it',
        {
          next: 'Taint the intermediate (meshca authority taint), and import one under another root.',
        },
      );
    const consumers = (await this.#deps.store.rotations.consumers()).filter(
      ({ kind }) => kind !== 'agent',
    );
    // of those that say so themselves: a row of the database may have been written by anybody
    const enforcing = consumers.filter(
      ({ capabilities, heardAt }) => heardAt !== undefined && capabilities.includes('enforces-crl'),
    ).length;
    const facts = state.observation.facts.find(
      (each) => each.authority.id === (root ?? authority).id,
    );
    const replacesRoot =
      authority.kind === 'root' ||
      (root !== undefined && (enforcing < consumers.length || (facts?.liveUnreported ?? 0) > 0));
    const counted = state.observation.facts.find(
      (each) => each.authority.id === (replacesRoot && root !== undefined ? root.id : id),
    );
    return {
      tainted: [id, ...(replacesRoot && root !== undefined ? [root.id] : [])],
      replacesRoot,
      consumersEnforcingCrl: enforcing,
      consumers: consumers.length,
      live: counted?.live ?? 0,
      liveUnreported: counted?.liveUnreported ?? 0,
      exposedUntil: counted?.lastExpiry ?? 0,
      state,
    };
  }

  async #standby(id: string): Promise<Authority | undefined> {
    const found = (await this.#list()).find(
      (each) => each.id === id && each.token === 'standby' && each.state === 'published',
    );
    return found === undefined ||
      (await this.#operations()).some(({ spec }) => spec.successorId === id)
      ? undefined
      : found;
  }

  /**
   * It was published long ago: what remains is to let it sign. A rotation that is under way would
   * need the token that is lost.
   */
  async #activateStandby(
    authority: Authority,
    actor: string,
    input: Parameters<Rotation['proceed']>[1],
  ): Promise<void> {
    const { kind } = authority;
    if (!isRotated(kind))
      throw new PkiError('INVALID_REQUEST', `a ${kind} authority is not rotated`);
    if (!this.#deps.canUse(authority.ckaId))
      throw new PkiError(
        'HSM_UNAVAILABLE',
        `the standby token does not answer for the key of authority ${authority.id}`,
        {
          next: 'See that the standby token is there (hsm.standby); the log of the server says what is wrong with it.',
        },
      );
    const running = (await this.#operations()).find((each) => each.kind === kind);
    if (running !== undefined)
      await cancelOperation(running, actor, 'the standby is activated in its place', this.#deps);
    const signing = (await this.#list()).filter(
      (each) => each.kind === kind && each.state === 'active' && each.token !== 'external',
    );
    // those of one replica or region are in the lost token as well; the standby signs everywhere
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
      this.#deps,
    );
  }

  /**
   * It is the last that signs: its successor comes first. One operation, that goes on after a
   * crash.
   */
  async #replaceThenTaint(
    authority: Authority,
    actor: string,
    reason: string,
    windowSeconds: number,
    force: boolean,
  ): Promise<void> {
    const kind = rotatedKinds.find((each) => each === authority.kind);
    if (kind === undefined)
      throw new PkiError('INVALID_REQUEST', `a ${authority.kind} authority is not rotated`);
    const spec = {
      targetsBecome: 'tainted' as const,
      taintWindowSeconds: windowSeconds,
      ...(force ? { force: { by: actor, reason } } : {}),
    };
    const running = (await this.#operations()).find((each) => each.kind === kind);
    // what is made for one place can not stand in for who signs elsewhere
    const elsewhere =
      running?.spec.scope !== undefined && !samePlace(running.spec.scope, authority.scope);
    if (running !== undefined && elsewhere)
      await cancelOperation(
        running,
        actor,
        `${authority.id} is tainted, and needs a successor first`,
        this.#deps,
      );
    if (running === undefined || elsewhere) {
      await openOperation(
        { kind, actor, targets: [authority.id], trigger: 'taint', reason, spec },
        this.#deps,
      );
      return;
    }
    const { stopAfter: _, ...rest } = running.spec;
    await this.#update(
      running,
      {
        state: 'running',
        spec: { ...rest, ...spec, targets: [...new Set([...rest.targets, authority.id])] },
      },
      actor,
      'rotation.taints',
      reason,
    );
  }

  async #move(
    authority: Authority,
    to: Authority['state'],
    actor: string,
    detail: Record<string, string | number | boolean>,
    taintWindowSeconds?: number,
  ): Promise<void> {
    if (!isLegalTransition(authority.state, to)) throw illegal(authority, to);
    const { clock, store } = this.#deps;
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
      taintWindowSeconds === undefined ? {} : { taintWindowSeconds },
    );
  }

  #update(
    operation: RotationOperation,
    change: Parameters<LedgerRotations['update']>[1],
    actor: string,
    kind: string,
    reason: string,
  ): Promise<RotationOperation> {
    const event = rotationEvent(
      this.#deps,
      actor,
      kind,
      { ...operation, spec: change.spec ?? operation.spec },
      checkText('reason', reason, 500),
    );
    return this.#deps.store.rotations.update(
      { id: operation.id, version: operation.version, now: this.#deps.clock.now() },
      change,
      event,
    );
  }

  #list(): Promise<readonly Authority[]> {
    return this.#deps.store.authorities.list();
  }

  #operations(): Promise<readonly RotationOperation[]> {
    return this.#deps.store.rotations.list({ underWay: true });
  }

  async #underWay(matches: (operation: RotationOperation) => boolean): Promise<RotationOperation> {
    const operation = (await this.#operations()).find(matches);
    if (operation === undefined)
      throw new PkiError('NOT_FOUND', 'no such rotation is under way', {
        next: 'See what is under way: meshca authority status.',
      });
    return operation;
  }

  async #authority(id: string): Promise<Authority> {
    const authority = await this.#deps.store.authorities.byId(id);
    if (authority === undefined)
      throw new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
    return authority;
  }

  #acting(
    caller: OperatorCaller,
    operation: OperationName,
    subject: string | undefined,
    verb: Verb,
    force: boolean,
    act: (actor: string) => Promise<void>,
  ): Promise<RotationState> {
    const { access, controller, refusals } = this.#deps;
    return refusing(refusals, caller, operation, subject?.slice(0, 64), async () => {
      const rights = await access.of(caller);
      rights.require(verb, access.all);
      if (force) rights.require('authority.force', access.all);
      await act(actorOf(caller));
      controller.poke();
      return controller.look();
    });
  }

  #reading<T>(caller: OperatorCaller, operation: OperationName, act: () => Promise<T>): Promise<T> {
    const { access, refusals } = this.#deps;
    return refusing(refusals, caller, operation, undefined, async () => {
      (await access.of(caller)).require('authority.read', { kind: 'none' });
      return act();
    });
  }
}

const whole = (scope: AuthorityScope): boolean => Object.keys(scope).length === 0;

const samePlace = (a: AuthorityScope, b: AuthorityScope): boolean =>
  a.share === undefined &&
  a.selectors === undefined &&
  a.replica === b.replica &&
  a.region === b.region;

/**
 * Somebody signs for all when this one does no more: another of its kind, and for a root an issuer
 * that does not stand below it.
 */
function remains(authority: Authority, all: readonly Authority[]): boolean {
  const others = all.filter(
    (each) =>
      each.id !== authority.id &&
      each.state === 'active' &&
      each.token !== 'external' &&
      whole(each.scope),
  );
  if (!others.some(({ kind }) => kind === authority.kind)) return false;
  return (
    authority.kind !== 'root' ||
    others.some((each) => each.kind === 'issuing' && each.parentId !== authority.id)
  );
}

function illegal(authority: Authority, to: string): PkiError {
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
