import {
  decide,
  decisionIn,
  identityOf,
  issuedKinds,
  type Policy,
  type PolicyFacts,
  type PolicyKind,
} from '../../common/policy/index.ts';
import type { AuditStatement } from '../../domain/index.ts';

/** What is kept, whatever the number of identities. Further ones are counted only. */
const maximumLosses = 10_000;
/** Agents renew around this share of the life. */
export const renewalShare = 1 / 3;

/** Live certificates of one identity whose renewal another policy would deny, by one rule. */
export interface RenewalLoss {
  readonly identity: string;
  readonly kind: PolicyKind;
  /** Empty: no rule matches. */
  readonly rule: string;
  readonly certificates: number;
  /** Unix seconds: when the first of them is expected to be renewed, and the last of them ends. */
  readonly nextRenewal: number;
  readonly liveUntil: number;
}

export interface RenewalLossTotals {
  readonly identities: number;
  readonly certificates: number;
  /** Live certificates that were decided. */
  readonly live: number;
  /** Live certificates whose records do not state the facts of their decision. */
  readonly unknown: number;
}

type Loss = { -readonly [Key in keyof RenewalLoss]: RenewalLoss[Key] };

export interface RenewalPolicies {
  /** Undefined: the built-in one. */
  readonly present: Policy | undefined;
  readonly next: Policy;
}

/**
 * Finds live certificates whose renewal the next policy would deny and the present one would not.
 * Takes the records of issuances, the newest first, so that it sees which certificates were
 * replaced. Owner of the losses, whose number is bounded.
 */
export class RenewalLosses {
  readonly #policies: RenewalPolicies;
  readonly #now: number;
  readonly #isRevoked: (serial: string) => boolean;
  /** Serials that a newer certificate replaced, until their own record has come. */
  readonly #replaced = new Set<string>();
  readonly #losses = new Map<string, Loss>();
  readonly #counts = { identities: 0, certificates: 0, live: 0, unknown: 0 };

  constructor(policies: RenewalPolicies, now: number, isRevoked: (serial: string) => boolean) {
    this.#policies = policies;
    this.#now = now;
    this.#isRevoked = isRevoked;
  }

  add(record: AuditStatement): void {
    const notAfter = issuedKinds.has(record.kind) ? this.#endOf(record) : undefined;
    if (notAfter === undefined) return;
    const decision = decisionIn(record);
    if (decision.type === 'none') return;
    if (decision.type === 'unknown') {
      this.#counts.unknown += 1;
      return;
    }
    this.#counts.live += 1;
    const { at } = decision.facts;
    const due = Math.floor(at + (notAfter - at) * renewalShare);
    const renewal = Math.min(Math.max(due, this.#now), notAfter);
    const facts = { ...decision.facts, at: renewal };
    const { present, next } = this.#policies;
    const verdict = decide(next, facts);
    if (verdict.allowed || (present !== undefined && !decide(present, facts).allowed)) return;
    this.#count(facts, verdict.rule ?? '', notAfter);
  }

  /** Undefined: no certificate or JWT-SVID that is live and has no successor. */
  #endOf({ detail }: AuditStatement): number | undefined {
    const { serial, replaces, notAfter, expiresAt } = detail;
    const isReplaced = typeof serial === 'string' && this.#replaced.delete(serial);
    if (typeof replaces === 'string') this.#replaced.add(replaces);
    const end = notAfter ?? expiresAt;
    if (isReplaced || typeof end !== 'number' || end <= this.#now) return undefined;
    return typeof serial === 'string' && this.#isRevoked(serial) ? undefined : end;
  }

  #count(facts: PolicyFacts, rule: string, notAfter: number): void {
    this.#counts.certificates += 1;
    const identity = identityOf(facts);
    const { kind, at } = facts;
    const key = JSON.stringify([identity, kind, rule]);
    const loss = this.#losses.get(key);
    if (loss !== undefined) {
      loss.certificates += 1;
      loss.nextRenewal = Math.min(loss.nextRenewal, at);
      loss.liveUntil = Math.max(loss.liveUntil, notAfter);
      return;
    }
    if (this.#losses.size >= maximumLosses) return;
    this.#counts.identities += 1;
    this.#losses.set(key, {
      identity,
      kind,
      rule,
      certificates: 1,
      nextRenewal: at,
      liveUntil: notAfter,
    });
  }

  totals(): RenewalLossTotals {
    return { ...this.#counts };
  }

  /** Those that come to an end first are first. */
  losses(): readonly RenewalLoss[] {
    return [...this.#losses.values()].sort(
      (one, other) =>
        one.nextRenewal - other.nextRenewal ||
        other.certificates - one.certificates ||
        (one.identity < other.identity ? -1 : 1),
    );
  }
}
