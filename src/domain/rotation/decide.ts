import {
  isTrusted,
  type Authority,
  type AuthorityScope,
  type AuthorityState,
} from '../authority.ts';
import { isConfirmed, type Confirmation } from './confirmation.ts';
import { activationDeadline, prepareDue } from './schedule.ts';
import { keepStandby } from './standby.ts';
import {
  rotatedKinds,
  type ActivationProof,
  type AuthorityFacts,
  type HandshakeFacts,
  type RenewalFacts,
  type RotatedKind,
  type RotationAction,
  type RotationNote,
  type RotationOperation,
  type RotationPolicy,
} from './types.ts';

export interface DecisionInput {
  readonly authorities: readonly AuthorityFacts[];
  /** By ID, for those in `published`. */
  readonly confirmations: ReadonlyMap<string, Confirmation>;
  /** Running ones. */
  readonly operations: readonly RotationOperation[];
  /** By authority ID, while it signs for a part only. */
  readonly handshakes: ReadonlyMap<string, HandshakeFacts>;
  /** The same, of issuance. */
  readonly renewals?: ReadonlyMap<string, RenewalFacts>;
  readonly policy: RotationPolicy;
  readonly now: number;
  /**
   * The wall clock jumped against the monotonic one: whatever rests on the passing of time waits.
   */
  readonly clockJumped: boolean;
  /** Since when the issuing token has not answered, Unix seconds; absent: it answers. */
  readonly issuingTokenLostAt?: number | undefined;
}

export interface Decision {
  readonly actions: readonly RotationAction[];
  readonly notes: readonly RotationNote[];
}

const ended: readonly AuthorityState[] = ['retired', 'revoked', 'discarded', 'withdrawn'];

/**
 * What is to be done now. Pure: the same input gives the same answer, an action that was carried
 * out is not asked for again, and one that was lost in a crash is.
 */
export function decide(input: DecisionInput): Decision {
  const actions: RotationAction[] = [];
  const notes: RotationNote[] = [];
  const byId = new Map(input.authorities.map((facts) => [facts.authority.id, facts]));
  for (const operation of input.operations)
    if (operation.state === 'running') advance(operation, input, byId, actions, notes);
  for (const facts of input.authorities) {
    withItsRoot(facts.authority, byId, actions);
    withoutItsRoot(facts.authority, input, actions);
    endLife(facts, input, actions, notes);
  }
  if (!input.clockJumped) {
    for (const kind of rotatedKinds) begin(kind, input, byId, actions, notes);
    for (const kind of input.policy.standby ?? [])
      keepStandby(
        kind,
        input,
        kind === 'issuing' ? parentOf(null, input) : undefined,
        actions,
        notes,
      );
  } else notes.push({ code: 'CLOCK_JUMPED', authorityId: '', at: 0, alert: true });
  return { actions, notes };
}

function advance(
  operation: RotationOperation,
  input: DecisionInput,
  byId: ReadonlyMap<string, AuthorityFacts>,
  actions: RotationAction[],
  notes: RotationNote[],
): void {
  const { spec } = operation;
  const successor = byId.get(spec.successorId)?.authority;
  const wait = (code: RotationNote['code'], at = 0, alert = false): void =>
    void notes.push({ code, authorityId: spec.successorId, at, alert });
  // dates in a certificate, and the instant of publication, would be those of a clock that is wrong
  if (input.clockJumped && spec.force === undefined && successor?.state !== 'active') {
    wait('CLOCK_JUMPED');
    return;
  }
  if (successor === undefined || successor.state === 'preparing') {
    if (input.policy.imported.includes(operation.kind)) wait('WAITING_IMPORT');
    else if (
      successor === undefined &&
      operation.kind === 'issuing' &&
      parentOf(spec.parentId, input) === undefined
    )
      wait('WAITING_CONFIRMATION');
    else actions.push({ type: 'prepare', operation });
    return;
  }
  switch (successor.state) {
    case 'prepared':
      if (spec.stopAfter === 'prepared') wait('WAITING_OPERATOR');
      else actions.push({ type: 'publish', authority: successor });
      return;
    case 'published':
      if (spec.stopAfter === 'published') wait('WAITING_OPERATOR');
      else activation(operation, successor, input, byId, actions, notes);
      return;
    case 'active':
      handOver(operation, successor, input, byId, actions, notes);
      return;
    default:
      // withdrawn, tainted or ended by hand: this operation has nothing more to do
      actions.push({ type: 'finish', operation });
  }
}

function activation(
  operation: RotationOperation,
  successor: Authority,
  input: DecisionInput,
  byId: ReadonlyMap<string, AuthorityFacts>,
  actions: RotationAction[],
  notes: RotationNote[],
): void {
  const { spec } = operation;
  const scope = spec.canary?.steps[0] ?? wholeScope(spec, byId, successor);
  const go = (without: ActivationProof): void =>
    void actions.push({ type: 'activate', authority: successor, scope, without });
  if (spec.force !== undefined) {
    go({ kind: 'forced', ...spec.force });
    return;
  }
  const found = input.confirmations.get(successor.id);
  // what rests on the expiry of something, or on a time of waiting, is not to be had from a clock
  // that jumped
  if (found !== undefined && !input.clockJumped && isConfirmed(found, spec.shares, input.now)) {
    go({ kind: 'proven' });
    return;
  }
  const deadline = deadlineOf(operation, input, byId);
  if (deadline !== undefined && !input.clockJumped) {
    if (input.now >= deadline) {
      if (input.policy.onDeadline === 'proceed') {
        go({ kind: 'deadline', deadline });
        return;
      }
      notes.push({ code: 'DEADLINE_PASSED', authorityId: successor.id, at: deadline, alert: true });
    } else if (
      input.now >=
      (successor.publishedAt ?? input.now) + (deadline - (successor.publishedAt ?? input.now)) / 2
    ) {
      notes.push({ code: 'DEADLINE_NEAR', authorityId: successor.id, at: deadline, alert: true });
    }
  }
  if ((found?.alteredAgents ?? 0) > 0)
    notes.push({ code: 'AGENTS_ALTERED', authorityId: successor.id, at: 0, alert: true });
  notes.push({
    code: 'WAITING_CONFIRMATION',
    authorityId: successor.id,
    at: Math.max(found?.inferred.until ?? 0, found?.unprovable.until ?? 0),
    alert: false,
  });
}

/** The successor signs: widen it to everything, then the ones before stop. Done when they have. */
function handOver(
  operation: RotationOperation,
  successor: Authority,
  input: DecisionInput,
  byId: ReadonlyMap<string, AuthorityFacts>,
  actions: RotationAction[],
  notes: RotationNote[],
): void {
  const { spec } = operation;
  const next = nextScope(successor, spec.canary?.steps, wholeScope(spec, byId, successor));
  if (next !== undefined) {
    const held =
      (successor.activatedAt ?? input.now) + (spec.canary?.holdSeconds ?? 0) * next.index;
    const seen = input.handshakes.get(successor.id);
    const total = (seen?.succeeded ?? 0) + (seen?.failed ?? 0);
    if (total > 0 && (seen?.failed ?? 0) / total > (spec.canary?.maximumFailureRate ?? 0)) {
      notes.push({ code: 'CANARY_FAILING', authorityId: successor.id, at: 0, alert: true });
      return;
    }
    const renewals = input.renewals?.get(successor.id);
    if (renewals !== undefined && worse(renewals, spec.canary?.maximumFailureRate ?? 0)) {
      notes.push({ code: 'CANARY_RENEWALS', authorityId: successor.id, at: 0, alert: true });
      return;
    }
    if ((seen?.reporters ?? 0) === 0)
      notes.push({ code: 'CANARY_UNREPORTED', authorityId: successor.id, at: held, alert: false });
    if (input.clockJumped || input.now < held)
      notes.push({ code: 'WAITING_CANARY', authorityId: successor.id, at: held, alert: false });
    else actions.push({ type: 'widen', authority: successor, scope: next.scope });
    return;
  }
  let open = 0;
  for (const id of spec.targets) {
    const target = byId.get(id)?.authority;
    if (
      target === undefined ||
      target.id === successor.id ||
      ended.includes(target.state) ||
      target.state === 'tainted'
    )
      continue;
    const taint = spec.targetsBecome === 'tainted';
    // how an old one ends is a matter of time, and needs no operation
    if (!taint && target.state === 'old') continue;
    open += 1;
    // those below a tainted root are tainted with it: not before somebody else can sign in their
    // place
    const replaced = target.kind !== 'root' || signsOutside(target.id, input);
    if (taint && replaced)
      actions.push({
        type: 'taint',
        authority: target,
        windowSeconds: spec.taintWindowSeconds ?? 0,
      });
    else if (target.state === 'active')
      actions.push({ type: 'supersede', authority: target, by: successor.id });
  }
  if (open === 0) actions.push({ type: 'finish', operation });
}

/**
 * More of what is asked of it fails than of what is asked of the others, by more than is accepted.
 */
function worse(
  { signed, failed, othersSigned, othersFailed }: RenewalFacts,
  accepted: number,
): boolean {
  const share = (bad: number, good: number): number => (bad + good === 0 ? 0 : bad / (bad + good));
  return share(failed, signed) > share(othersFailed, othersSigned) + accepted;
}

const same = (a: AuthorityScope, b: AuthorityScope): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

/**
 * The step after the one that the successor is at; undefined: it signs for all that its targets
 * signed for.
 */
function nextScope(
  successor: Authority,
  steps: readonly AuthorityScope[] | undefined,
  whole: AuthorityScope,
): { readonly scope: AuthorityScope; readonly index: number } | undefined {
  if (steps === undefined || steps.length === 0 || same(successor.scope, whole)) return undefined;
  const index = steps.findIndex((step) => same(step, successor.scope)) + 1;
  return { scope: steps[index] ?? whole, index: Math.max(index, 1) };
}

/**
 * What the targets sign for, where it is the same for all; else everything. One that takes nobody's
 * place signs for what it was made for.
 */
function wholeScope(
  { targets, scope: asked }: RotationOperation['spec'],
  byId: ReadonlyMap<string, AuthorityFacts>,
  successor: Authority,
): AuthorityScope {
  if (targets.length === 0) return asked ?? successor.scope;
  const [first, ...others] = targets.flatMap((id) => byId.get(id)?.authority.scope ?? []);
  return first !== undefined && others.every((scope) => same(scope, first)) ? first : {};
}

/**
 * One under another root can stand in: where somebody below this one signs everywhere, one that
 * signs everywhere too.
 */
function signsOutside(rootId: string, { authorities }: DecisionInput): boolean {
  const signing = authorities
    .map(({ authority }) => authority)
    .filter(({ kind, state }) => kind === 'issuing' && state === 'active');
  const everywhere = signing.some(({ parentId, scope }) => parentId === rootId && same(scope, {}));
  return signing.some(
    ({ parentId, scope }) => parentId !== rootId && (!everywhere || same(scope, {})),
  );
}

/** Whoever stands below a tainted root is tainted: also when the server stopped between the two. */
function withItsRoot(
  authority: Authority,
  byId: ReadonlyMap<string, AuthorityFacts>,
  actions: RotationAction[],
): void {
  if (authority.parentId === null || !['published', 'active', 'old'].includes(authority.state))
    return;
  const parent = byId.get(authority.parentId)?.authority;
  if (parent?.state === 'tainted')
    actions.push({ type: 'taint', authority, windowSeconds: parent.taintWindowSeconds ?? 0 });
}

/** A cross-certificate goes with the root that it certifies. */
function withoutItsRoot(
  authority: Authority,
  input: DecisionInput,
  actions: RotationAction[],
): void {
  if (
    authority.token !== 'external' ||
    authority.kind !== 'issuing' ||
    authority.state !== 'published'
  )
    return;
  const certified = input.authorities.find(
    ({ authority: root }) =>
      root.kind === 'root' &&
      root.spkiDer !== null &&
      authority.spkiDer?.equals(root.spkiDer) === true,
  )?.authority;
  if (certified !== undefined && (certified.state === 'tainted' || ended.includes(certified.state)))
    actions.push({ type: 'drop', authority });
}

/**
 * Retire what is old once nothing that it signed can be valid any more; revoke what is tainted once
 * all that it signed has been replaced at its holder or has expired.
 */
function endLife(
  { authority, lastExpiry, live }: AuthorityFacts,
  input: DecisionInput,
  actions: RotationAction[],
  notes: RotationNote[],
): void {
  if (authority.state !== 'old' && authority.state !== 'tainted') return;
  if (
    authority.kind === 'root' &&
    input.authorities.some(
      ({ authority: child }) => child.parentId === authority.id && stillCounts(child.state),
    )
  )
    return;
  const over = lastExpiry + input.policy.retireMarginSeconds;
  const replaced = authority.state === 'tainted' && authority.kind !== 'jwt' && live === 0;
  if (input.clockJumped || (!replaced && input.now <= over)) {
    notes.push({ code: 'WAITING_EXPIRY', authorityId: authority.id, at: over, alert: false });
    return;
  }
  actions.push(
    authority.state === 'old' ? { type: 'retire', authority } : { type: 'revoke', authority },
  );
}

const stillCounts = (state: AuthorityState): boolean =>
  isTrusted(state) || state === 'preparing' || state === 'prepared';

/** New operations: an issuer whose root no longer signs, and lives that come to their end. */
function begin(
  kind: RotatedKind,
  input: DecisionInput,
  byId: ReadonlyMap<string, AuthorityFacts>,
  actions: RotationAction[],
  notes: RotationNote[],
): void {
  const signing = input.authorities
    .filter(
      ({ authority }) =>
        authority.kind === kind && authority.state === 'active' && authority.token !== 'external',
    )
    .map(({ authority }) => authority);
  if (input.operations.some((operation) => operation.kind === kind)) return;
  if (kind === 'issuing') {
    const orphans = signing.filter(
      (authority) =>
        authority.parentId !== null &&
        ['old', 'tainted'].includes(byId.get(authority.parentId)?.authority.state ?? ''),
    );
    const parent = parentOf(null, input);
    // those that sign for the same get one successor, and who signs everywhere comes first: he can
    // stand in for the others
    const first = orphans.find(({ scope }) => same(scope, {})) ?? orphans[0];
    if (first !== undefined && parent !== undefined) {
      actions.push({
        type: 'open',
        kind,
        targets: orphans.filter(({ scope }) => same(scope, first.scope)).map(({ id }) => id),
        parentId: parent.id,
        trigger: 'root',
      });
      return;
    }
  }
  if (signing.length === 0) {
    // a root of others that is active is nobody's to replace here
    const foreign = input.authorities.some(
      ({ authority }) => authority.kind === kind && authority.state === 'active',
    );
    if (
      !foreign &&
      input.authorities.some(
        ({ authority }) => authority.kind === kind && authority.state !== 'preparing',
      )
    )
      notes.push({ code: 'NO_SUCCESSOR', authorityId: '', at: 0, alert: true });
    return;
  }
  for (const authority of signing) {
    const due = prepareDue(kind, authority, input.policy);
    if (due === undefined) return;
    if (input.now >= due) {
      // one operation at a time: all that sign for the same
      actions.push({
        type: 'open',
        kind,
        targets: signing.filter(({ scope }) => same(scope, authority.scope)).map(({ id }) => id),
        parentId: null,
        trigger: 'schedule',
      });
      return;
    }
    notes.push({ code: 'WAITING_SCHEDULE', authorityId: authority.id, at: due, alert: false });
  }
}

/**
 * The root that signs a new issuing authority: the named one, or the newest that is active and
 * ours.
 */
export function parentOf(
  parentId: string | null,
  input: Pick<DecisionInput, 'authorities'>,
): Authority | undefined {
  const roots = input.authorities
    .map(({ authority }) => authority)
    .filter(
      (authority) =>
        authority.kind === 'root' && authority.state === 'active' && authority.token !== 'external',
    );
  return parentId === null ? roots.at(-1) : roots.find(({ id }) => id === parentId);
}

function deadlineOf(
  { kind, spec }: RotationOperation,
  input: DecisionInput,
  byId: ReadonlyMap<string, AuthorityFacts>,
): number | undefined {
  const deadlines = spec.targets.flatMap((id) => {
    const target = byId.get(id)?.authority;
    return target === undefined || target.state !== 'active'
      ? []
      : [activationDeadline(kind, target, input.policy)];
  });
  return deadlines.length === 0 ? undefined : Math.min(...deadlines);
}
