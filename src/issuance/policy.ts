import { fail, ok, PkiError, type ErrorCode, type Result } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import {
  decide,
  factsSha256,
  unstatedFacts,
  type Policy,
  type PolicyFacts,
  type QuotaPlace,
  type RecordedAct,
} from '../common/policy/index.ts';
import {
  builtInPolicyVersion,
  isNamesKind,
  namesProfileFits,
  placeEnded,
  placesDetail,
  sameSubject,
  type CertificateKind,
  type Requester,
  type Right,
  type Subject,
} from '../domain/index.ts';
import type { LedgerQuotas } from '../ledger/index.ts';
import { factsOf, type PolicyRequest } from './policy-request.ts';

export type PolicyDecision =
  | {
      readonly allowed: true;
      readonly version: number;
      readonly basis?: DecisionBasis;
      /** What the request takes of a quota. */
      readonly place?: QuotaPlace;
      /** The tenant whose names they are; undefined: nobody's. */
      readonly tenant?: TenantGrant | undefined;
    }
  | {
      readonly allowed: false;
      readonly version: number;
      readonly basis?: DecisionBasis;
      readonly reason: string;
      /** The expression of the rule could not be decided: why. */
      readonly failure?: string;
      /** The names are refused, not the policy: the code. */
      readonly code?: ErrorCode;
    };

/** The tenant that a request is for. */
export interface TenantGrant {
  readonly name: string;
  /** What the request takes of the quota of the tenant. */
  readonly place?: QuotaPlace;
}

/**
 * What was decided about, for each request that is subject to a policy. It goes to the record, so
 * that another policy can decide it again.
 */
export interface DecisionBasis {
  readonly facts: PolicyFacts;
  /** Absent: the built-in policy, which decides nothing. */
  readonly factsSha256?: string;
  /** Undefined: no rule matched. */
  readonly rule?: string | undefined;
}

/**
 * What the operators of this CA allow, beyond the rights of the caller. It is asked before every
 * certificate and token, and before a recorded answer is returned again. `decide` is called once
 * per item on the hot path: it is pure and does no I/O. `version` names the policy that decided.
 * The transaction that releases checks that this version is still the present one.
 */
export interface IssuancePolicy {
  decide(request: PolicyRequest, caller: Requester): PolicyDecision;
}

/** Allows everything that the caller has a right to. */
export const builtInPolicy = (clock: Pick<Clock, 'now'>): IssuancePolicy => ({
  decide: (request, caller) => {
    const facts = factsOf(request, caller, clock.now());
    return facts === undefined
      ? { allowed: true, version: builtInPolicyVersion }
      : { allowed: true, version: builtInPolicyVersion, basis: { facts } };
  },
});

/** A policy of operators, under the version by which the log knows it. */
export function policyOf(
  { version, policy }: { readonly version: number; readonly policy: Policy },
  clock: Pick<Clock, 'now'>,
): IssuancePolicy {
  return {
    decide: (request, caller) => {
      const facts = factsOf(request, caller, clock.now());
      if (facts === undefined) return { allowed: true, version };
      const { allowed, rule, reason, failure, place } = decide(policy, facts);
      const basis = { facts, factsSha256: factsSha256(facts), rule };
      return allowed
        ? { allowed: true, version, basis, ...(place !== undefined && { place }) }
        : { allowed: false, version, basis, reason, ...(failure !== undefined && { failure }) };
    },
  };
}

/** What of a decision the record of an act does not state by itself. */
function decisionDetail(decision: PolicyDecision, act: RecordedAct): DecisionDetail {
  const { version, basis } = decision;
  if (basis === undefined) return {};
  const { facts, factsSha256: digest, rule } = basis;
  const detail: Record<string, DecisionDetail[string]> = { ...unstatedFacts(facts, act) };
  if (digest === undefined) return detail;
  detail['policyVersion'] = version;
  detail['policyFacts'] = digest;
  if (rule !== undefined) detail['policyRule'] = rule;
  return detail;
}

const noPlaces: readonly QuotaPlace[] = [];

export type DecisionDetail = Readonly<Record<string, string | number | readonly string[]>>;

/**
 * A request that the policy allowed. Only `admit` makes one. Nothing is prepared or signed without
 * it.
 */
class Admitted {
  readonly request: PolicyRequest;
  readonly caller: Requester;
  readonly #decision: PolicyDecision;

  constructor(request: PolicyRequest, caller: Requester, decision: PolicyDecision) {
    this.request = request;
    this.caller = caller;
    this.#decision = decision;
    Object.freeze(this);
  }

  /** The version of the policy that decided. */
  get version(): number {
    return this.#decision.version;
  }

  /** What the request takes of quotas: of the policy, of the tenant, of what granted it. */
  get places(): readonly QuotaPlace[] {
    if (!this.#decision.allowed) return noPlaces;
    const { place, tenant } = this.#decision;
    const granted = this.request.type === 'x509' ? (this.request.places ?? noPlaces) : noPlaces;
    // hot path: most requests take none
    if (place === undefined && tenant?.place === undefined && granted.length === 0) return noPlaces;
    return [place, tenant?.place, ...granted].filter((each) => each !== undefined);
  }

  /** Undefined: nobody's. */
  get tenant(): string | undefined {
    return this.#decision.allowed ? this.#decision.tenant?.name : undefined;
  }

  /** The transaction that releases checks them. The places in quotas come last. */
  get rights(): readonly Right[] {
    const { tenant } = this;
    return [
      { kind: 'policy', version: this.version },
      ...(tenant === undefined ? [] : [{ kind: 'tenant', name: tenant } as const]),
      ...this.places.map((place) => ({ kind: 'quota', ...place }) as const),
    ];
  }

  /** What the record of the act states of the decision. */
  detailOf(act: RecordedAct & { readonly timeMs: number }): DecisionDetail {
    const { tenant, places } = this;
    const decided = decisionDetail(this.#decision, act);
    if (tenant === undefined && places.length === 0) return decided;
    return {
      ...decided,
      ...(tenant === undefined ? {} : { tenant }),
      ...placesDetail(places, Math.floor(act.timeMs / 1000)),
    };
  }

  static isOne(value: Admitted): boolean {
    return #decision in value;
  }
}
export type { Admitted as Admission };

/** The policy denied a request. Whoever records the refusal adds the facts of the decision. */
export class PolicyDenial extends PkiError {
  readonly #decision: PolicyDecision;

  constructor(decision: Extract<PolicyDecision, { readonly allowed: false }>) {
    const rule = decision.basis?.rule;
    const code =
      decision.code ?? (decision.failure === undefined ? 'POLICY_DENIED' : 'POLICY_FAILED');
    super(code, decision.reason, {
      detail:
        decision.code === undefined
          ? {
              policyVersion: decision.version,
              ...(rule === undefined ? {} : { policyRule: rule }),
            }
          : {},
    });
    this.#decision = decision;
  }

  /** What the record of the refusal states of the decision. */
  detailOf(act: RecordedAct): DecisionDetail {
    return decisionDetail(this.#decision, act);
  }
}

/**
 * Asks the policy. Fails with POLICY_DENIED or POLICY_FAILED; the caller of this function records the
 * refusal.
 */
export function admit(
  policy: IssuancePolicy,
  request: PolicyRequest,
  caller: Requester,
): Result<Admitted> {
  const decision = policy.decide(request, caller);
  return decision.allowed
    ? ok(new Admitted(request, caller, decision))
    : { ok: false, error: new PolicyDenial(decision) };
}

/**
 * @throws PkiError INTERNAL unless the policy allowed a certificate of this kind for this subject
 */
export function requireAdmitted(
  admission: Admitted,
  kind: CertificateKind,
  subject: Subject,
): void {
  if (!Admitted.isOne(admission))
    throw new PkiError('INTERNAL', 'the policy was not asked about a certificate');
  if (isNamesKind(kind) !== (subject.kind === 'names'))
    throw new PkiError('INTERNAL', `a certificate of kind ${kind} has no such subject`);
  const { request } = admission;
  if (request.type !== 'x509' || request.kind !== kind || !sameSubject(request.subject, subject))
    throw new PkiError('INTERNAL', 'the policy was asked about another certificate');
  if (!namesProfileFits(kind, request.profile))
    throw new PkiError(
      'INTERNAL',
      `a certificate of kind ${kind} has no profile ${request.profile}`,
    );
}

/**
 * Fails with POLICY_QUOTA_USED, TENANT_QUOTA_USED or EAB_QUOTA_USED if no place is free, so that
 * nothing is signed. The transaction that releases decides: of several requests for the last place
 * it lets one pass.
 */
export function quotaUsed(
  { places }: Admitted,
  quotas: LedgerQuotas,
  now: number,
): Result<never> | undefined {
  for (const place of places) {
    const used = placeEnded(place, quotas.ends(place.counter), now);
    if (used !== undefined) return fail(used.code, used.message);
  }
  return undefined;
}
