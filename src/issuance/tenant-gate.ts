import type { QuotaPlace } from '../common/policy/index.ts';
import { PkiError, type Result } from '../common/errors/index.ts';
import {
  tenantOfNames,
  type NameOwner,
  type NameOwners,
  type NamesAsk,
  type Requester,
} from '../domain/index.ts';
import type { IssuancePolicy, PolicyDecision, TenantGrant } from './policy.ts';
import type { PolicyInForce } from './policy-in-force.ts';
import type { PolicyRequest } from './policy-request.ts';

/**
 * The policy, and behind it the tenants: names of a tenant are given to nobody else, in every way of
 * issuing, and the certificate takes a place in the quota of its tenant. `owners` gives those in force,
 * and throws while nobody knows them.
 * The transaction that releases checks that the tenant is still active.
 */
export class TenantGate implements IssuancePolicy {
  readonly #policy: Pick<PolicyInForce, 'decide' | 'preview'>;
  readonly #owners: () => NameOwners;

  constructor(policy: Pick<PolicyInForce, 'decide' | 'preview'>, owners: () => NameOwners) {
    this.#policy = policy;
    this.#owners = owners;
  }

  decide(request: PolicyRequest, caller: Requester): PolicyDecision {
    return this.#judged(request, caller, (known) => this.#policy.decide(known, caller));
  }

  /** Decides for somebody who only wants to know. */
  preview(request: PolicyRequest, caller: Requester): PolicyDecision {
    return this.#judged(request, caller, (known) => this.#policy.preview(known, caller));
  }

  /** The policy knows whose the names are. Where nobody does, the gate denies whatever it allows. */
  #judged(
    request: PolicyRequest,
    caller: Requester,
    decide: (request: PolicyRequest) => PolicyDecision,
  ): PolicyDecision {
    if (!isSubjectToTenants(request, caller)) return decide(request);
    const tenant = this.#tenantOf(request);
    const name = tenant.ok ? tenant.value?.name : undefined;
    const decision = decide(name === undefined ? request : { ...request, tenant: name });
    if (!decision.allowed) return decision;
    if (tenant.ok)
      return tenant.value === undefined
        ? decision
        : { ...decision, tenant: grantOf(tenant.value, request) };
    const { code, message: reason } = tenant.error;
    return { allowed: false, version: decision.version, reason, code };
  }

  #tenantOf(request: PolicyRequest): Result<NameOwner | undefined> {
    try {
      return tenantOfNames(this.#owners(), asked(request));
    } catch (thrown) {
      return { ok: false, error: PkiError.from(thrown) };
    }
  }
}

/**
 * The certificates of the server and of agents, and those of its own authorities, have names that no
 * tenant can own. So have the proxies of Linkerd.
 */
function isSubjectToTenants(request: PolicyRequest, { class: callerClass }: Requester): boolean {
  if (request.type === 'jwt') return true;
  const { kind, profile } = request;
  if (kind === 'authority') return profile === 'downstream' && callerClass !== 'server';
  return kind !== 'server' && kind !== 'agent' && kind !== 'linkerd';
}

function asked(request: PolicyRequest): NamesAsk {
  if (request.type === 'jwt') return { spiffeId: request.spiffeId.toString(), dnsNames: [] };
  const { kind, subject, claim } = request;
  // a CA downstream has the ID of the trust domain, and is its entry's
  if (kind === 'authority') return { dnsNames: [], claim };
  const { dnsNames } = subject;
  return subject.kind === 'spiffe'
    ? { spiffeId: subject.id.toString(), dnsNames, claim }
    : { dnsNames, claim };
}

/** The quota counts certificates. A JWT-SVID takes no place. */
function grantOf(owner: NameOwner, { type }: PolicyRequest): TenantGrant {
  const place = type === 'jwt' ? undefined : placeOfTenant(owner);
  return place === undefined ? { name: owner.name } : { name: owner.name, place };
}

/** What a certificate takes of the quota of a tenant. Undefined: it has none. */
export const placeOfTenant = ({
  name,
  quotaCertificates: limit,
  quotaSeconds: perSeconds,
}: Pick<NameOwner, 'name' | 'quotaCertificates' | 'quotaSeconds'>): QuotaPlace | undefined =>
  limit === 0
    ? undefined
    : { counter: tenantCounter(name), of: 'tenant', rule: name, limit, perSeconds };

/** What the places in the quota of a tenant are counted by. */
export const tenantCounter = (name: string): string => `tenant:${name}`;
