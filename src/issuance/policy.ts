import { fail, ok, PkiError, type Result } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { decide, factsSha256, type Policy } from '../common/policy/index.ts';
import {
  builtInPolicyVersion,
  isNamesKind,
  sameSubject,
  type CertificateKind,
  type Requester,
  type Subject,
} from '../domain/index.ts';
import { factsOf, type PolicyRequest } from './policy-request.ts';

export type PolicyDecision =
  | { readonly allowed: true; readonly version: number; readonly basis?: DecisionBasis }
  | {
      readonly allowed: false;
      readonly version: number;
      readonly basis?: DecisionBasis;
      readonly reason: string;
    };

/** What a policy of operators decided by. It goes to the record, so that a replay can compare. */
export interface DecisionBasis {
  /** Unix seconds. */
  readonly at: number;
  readonly factsSha256: string;
  /** Undefined: no rule matched. */
  readonly rule: string | undefined;
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
export const passThroughPolicy: IssuancePolicy = {
  decide: () => ({ allowed: true, version: builtInPolicyVersion }),
};

/** A policy of operators, under the version by which the log knows it. */
export function policyOf(
  { version, policy }: { readonly version: number; readonly policy: Policy },
  clock: Pick<Clock, 'now'>,
): IssuancePolicy {
  return {
    decide: (request, caller) => {
      const facts = factsOf(request, caller, clock.now());
      if (facts === undefined) return { allowed: true, version };
      const { allowed, rule, reason } = decide(policy, facts);
      const basis = { at: facts.at, factsSha256: factsSha256(facts), rule };
      return allowed
        ? { allowed: true, version, basis }
        : { allowed: false, version, basis, reason };
    },
  };
}

/** The decision as records state it. Nothing for the built-in policy, which decides nothing. */
const decisionDetail = ({ version, basis }: PolicyDecision): DecisionDetail =>
  basis === undefined
    ? {}
    : {
        policyVersion: version,
        policyAt: basis.at,
        policyFacts: basis.factsSha256,
        ...(basis.rule === undefined ? {} : { policyRule: basis.rule }),
      };

export type DecisionDetail = Readonly<Record<string, string | number>>;

/**
 * A request that the policy allowed. Only `admit` makes one. Nothing is prepared or signed without
 * it.
 */
class Admitted {
  readonly request: PolicyRequest;
  readonly caller: Requester;
  /** For the record. */
  readonly detail: DecisionDetail;
  readonly #version: number;

  constructor(request: PolicyRequest, caller: Requester, decision: PolicyDecision) {
    this.request = request;
    this.caller = caller;
    this.detail = decisionDetail(decision);
    this.#version = decision.version;
    Object.freeze(this);
  }

  /** The version of the policy that decided. */
  get version(): number {
    return this.#version;
  }

  static isOne(value: Admitted): boolean {
    return #version in value;
  }
}
export type { Admitted as Admission };

/** Asks the policy. Fails with POLICY_DENIED; the caller of this function records the refusal. */
export function admit(
  policy: IssuancePolicy,
  request: PolicyRequest,
  caller: Requester,
): Result<Admitted> {
  const decision = policy.decide(request, caller);
  return decision.allowed
    ? ok(new Admitted(request, caller, decision))
    : fail('POLICY_DENIED', decision.reason, { detail: decisionDetail(decision) });
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
  if ((isNamesKind(kind) || isNamesKind(request.profile)) && kind !== request.profile)
    throw new PkiError(
      'INTERNAL',
      `a certificate of kind ${kind} has no profile ${request.profile}`,
    );
}
