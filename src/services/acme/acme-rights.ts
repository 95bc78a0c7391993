import type { EabKey, Verb } from '../../domain/index.ts';
import type { OperatorRights } from '../callers/access.ts';

type AcmeVerb = Extract<Verb, `acme.${string}`>;

/** Whose names something of ACME has. */
export type AcmeReach = Pick<EabKey, 'tenant' | 'dnsPatterns' | 'ipRanges'>;

/**
 * A role over the tenant, or DNS scopes over every pattern. A pattern is inside a suffix if all that
 * it matches is: its text ends with it. No DNS scope covers an address.
 */
export const permitsAcme = (rights: OperatorRights, verb: AcmeVerb, reach: AcmeReach): boolean =>
  rights.permits(verb, { kind: 'tenant', name: reach.tenant }) ||
  rights.permits(verb, {
    kind: 'names',
    subject: { kind: 'names', dnsNames: reach.dnsPatterns, ips: reach.ipRanges },
  });

/** @throws PkiError ROLE_MISSING */
export function requireAcme(rights: OperatorRights, verb: AcmeVerb, reach: AcmeReach): void {
  if (!permitsAcme(rights, verb, reach))
    rights.require(verb, { kind: 'tenant', name: reach.tenant });
}
