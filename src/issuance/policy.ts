import { fail, ok, PkiError, type Result } from '../common/errors/index.ts';
import type { SpiffeId } from '../common/spiffe/index.ts';
import type { KeyType } from '../common/x509/index.ts';
import {
  builtInPolicyVersion,
  isNamesKind,
  sameSubject,
  type CertificateKind,
  type Requester,
  type Subject,
} from '../domain/index.ts';

/** A request whose caller's rights were already checked. */
export type PolicyRequest =
  | {
      readonly type: 'x509';
      readonly kind: CertificateKind;
      readonly subject: Subject;
      readonly profile: string;
      readonly keyType: KeyType;
      /** undefined: as long as the authorities above allow */
      readonly ttlSeconds: number | undefined;
      readonly entryId: string | null;
      readonly delegationId: string | null;
    }
  | {
      readonly type: 'jwt';
      readonly spiffeId: SpiffeId;
      readonly audience: readonly string[];
      readonly ttlSeconds: number;
      readonly entryId: string;
    };

export type PolicyDecision =
  | { readonly allowed: true; readonly version: number }
  | { readonly allowed: false; readonly version: number; readonly reason: string };

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

/**
 * A request that the policy allowed. Only `admit` makes one. Nothing is prepared or signed without
 * it.
 */
class Admitted {
  readonly request: PolicyRequest;
  readonly caller: Requester;
  readonly #version: number;

  constructor(request: PolicyRequest, caller: Requester, version: number) {
    this.request = request;
    this.caller = caller;
    this.#version = version;
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
    ? ok(new Admitted(request, caller, decision.version))
    : fail('POLICY_DENIED', decision.reason);
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
