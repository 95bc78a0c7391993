import type { PolicyFacts, PolicyKind } from './facts.ts';
import { decide, type Policy } from './policy.ts';
import { decisionIn, type RecordedAct } from './recorded-facts.ts';

/** What is kept of a replay, whatever its length. Further groups are counted only. */
export const maximumGroups = 10_000;

/** Requests of one identity and caller that the other policy decides otherwise, by one rule. */
export interface ReplayGroup {
  /** `lost`: it was issued and would be denied. `gained`: it was denied and would be allowed. */
  readonly change: 'lost' | 'gained';
  /** See `identityOf`. */
  readonly identity: string;
  readonly kind: PolicyKind;
  readonly caller: string;
  /** The rule of the other policy that decides; empty: none matches. */
  readonly rule: string;
  readonly count: number;
  /** Unix milliseconds. */
  readonly oldestMs: number;
  readonly newestMs: number;
  /** Sequence of the newest record. */
  readonly newestRecord: number;
}

export interface ReplayTotals {
  /** Records that were read. */
  readonly records: number;
  /** Issuances and refusals that were decided again. */
  readonly decided: number;
  readonly lost: number;
  readonly gained: number;
  /** Issuances and refusals whose records do not state all facts. */
  readonly older: number;
  /** Records whose facts are not the decided ones. */
  readonly differing: number;
  /** Records that the log does not vouch for. */
  readonly unproven: number;
  /** Of `lost` and `gained`: those of groups that were too many to keep. */
  readonly ungrouped: number;
}

type Counts = { -readonly [Key in keyof ReplayTotals]: ReplayTotals[Key] };
type Group = { -readonly [Key in keyof ReplayGroup]: ReplayGroup[Key] };

/**
 * Decides recorded requests by another policy, and keeps what it decides otherwise. Owner of the
 * groups, whose number is bounded.
 */
export class PolicyReplay {
  readonly #policy: Policy;
  readonly #groups = new Map<string, Group>();
  readonly #counts: Counts = {
    records: 0,
    decided: 0,
    lost: 0,
    gained: 0,
    older: 0,
    differing: 0,
    unproven: 0,
    ungrouped: 0,
  };

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  /** @param act undefined: a record that the log does not vouch for */
  add(sequence: number, act: RecordedAct | undefined): void {
    const counts = this.#counts;
    counts.records += 1;
    if (act === undefined) {
      counts.unproven += 1;
      return;
    }
    const decision = decisionIn(act);
    if (decision.type === 'none') return;
    if (decision.type === 'unknown') {
      counts[decision.why === 'older' ? 'older' : 'differing'] += 1;
      return;
    }
    counts.decided += 1;
    const { allowed, rule = '' } = decide(this.#policy, decision.facts);
    if (allowed === decision.allowed) return;
    const change = allowed ? 'gained' : 'lost';
    counts[change] += 1;
    this.#count({ change, rule, sequence, timeMs: act.timeMs }, decision.facts);
  }

  #count(
    changed: {
      readonly change: 'lost' | 'gained';
      readonly rule: string;
      readonly sequence: number;
      readonly timeMs: number;
    },
    facts: PolicyFacts,
  ): void {
    const { change, rule, sequence, timeMs } = changed;
    const identity = identityOf(facts);
    const { kind, callerName: caller } = facts;
    const key = JSON.stringify([change, identity, kind, caller, rule]);
    const group = this.#groups.get(key);
    if (group !== undefined) {
      group.count += 1;
      group.oldestMs = Math.min(group.oldestMs, timeMs);
      if (timeMs >= group.newestMs) {
        group.newestMs = timeMs;
        group.newestRecord = sequence;
      }
    } else if (this.#groups.size >= maximumGroups) this.#counts.ungrouped += 1;
    else
      this.#groups.set(key, {
        change,
        identity,
        kind,
        caller,
        rule,
        count: 1,
        oldestMs: timeMs,
        newestMs: timeMs,
        newestRecord: sequence,
      });
  }

  totals(): ReplayTotals {
    return { ...this.#counts };
  }

  /** What is lost comes before what is gained, and then the newest first. */
  groups(): readonly ReplayGroup[] {
    return [...this.#groups.values()].sort((one, other) =>
      one.change === other.change
        ? other.newestMs - one.newestMs || other.newestRecord - one.newestRecord
        : one.change === 'lost'
          ? -1
          : 1,
    );
  }
}

/** Whom a request was for: the SPIFFE ID, the first name, or the caller that is to be a CA. */
export function identityOf({ spiffeId, dnsNames, ips, callerName }: PolicyFacts): string {
  if (spiffeId !== undefined) return spiffeId.toString();
  const [name] = dnsNames ?? [];
  if (name !== undefined) return `dns:${name}`;
  const [ip] = ips ?? [];
  return ip === undefined ? callerName : `ip:${ip}`;
}
