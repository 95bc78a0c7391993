import { createHash } from 'node:crypto';
import { SpiffeId } from '../spiffe/index.ts';
import type { KeyType } from '../x509/index.ts';

/**
 * What can be asked for: kinds of certificates, the certificate of a CA downstream, and a JWT-SVID.
 * Certificates of agents, of the server and of its own authorities are not subject to a policy.
 */
export const policyKinds = [
  'workload',
  'admin',
  'delegated',
  'token',
  'endpoint',
  'linkerd',
  'downstream',
  'jwt-svid',
] as const;
export type PolicyKind = (typeof policyKinds)[number];

/** JWT-SVIDs have none. */
export const policyProfiles = [
  'short-lived',
  'revocable',
  'short',
  'classic',
  'hours',
  'linkerd',
  'downstream',
] as const;
export type PolicyProfile = (typeof policyProfiles)[number];

/**
 * Who asks. An agent asks for its workloads. `token`: the holder of a token of another issuer;
 * `acme`: the holder of an ACME account; `local`: an operator on the admin socket.
 */
export const policyCallers = [
  'agent',
  'workload',
  'delegate',
  'token',
  'acme',
  'admin',
  'local',
] as const;
export type PolicyCaller = (typeof policyCallers)[number];

/** All that a policy can know of a request. */
export interface PolicyFacts {
  /** Unix seconds. */
  readonly at: number;
  readonly kind: PolicyKind;
  readonly caller: PolicyCaller;
  /** A SPIFFE ID, `uid:N` on the local socket, the ID of the issuer of a token, or `acme:ACCOUNT`. */
  readonly callerName: string;
  /** Undefined for certificates with names alone, and for those of CAs downstream. */
  readonly spiffeId: SpiffeId | undefined;
  /** Undefined for JWT-SVIDs, which can have none. */
  readonly dnsNames: readonly string[] | undefined;
  readonly ips: readonly string[] | undefined;
  /** Undefined for certificates. */
  readonly audiences: readonly string[] | undefined;
  /** Undefined for JWT-SVIDs. */
  readonly profile: PolicyProfile | undefined;
  readonly keyType: KeyType | undefined;
  /** Undefined: as long as the authorities above allow. */
  readonly ttlSeconds: number | undefined;
  readonly entryId: string | undefined;
  readonly delegationId: string | undefined;
  /** The tenant whose names they are. Absent: nobody's. */
  readonly tenant?: string;
  /** Of the holder of an ACME account. */
  readonly eabKeyId?: string;
  /** Of an EAB key that was exchanged: the SPIFFE ID of whoever exchanged it. */
  readonly exchangedBy?: string;
  /** The delegation for which it was exchanged. */
  readonly exchangedDelegation?: string;
  /** Of a token of another issuer: the name of the issuer, and its subject. */
  readonly tokenIssuer?: string;
  readonly tokenSubject?: string;
}

/** What later releases added, in the order of the text. Absent where the request has none. */
export const laterFacts = [
  'tenant',
  'eabKeyId',
  'exchangedBy',
  'exchangedDelegation',
  'tokenIssuer',
  'tokenSubject',
] as const satisfies readonly (keyof PolicyFacts)[];
export type LaterFact = (typeof laterFacts)[number];

/** The facts of this that are stated, since an absent one is not there at all. */
export const statedLater = (
  facts: Readonly<Partial<Record<LaterFact, string | undefined>>>,
): Readonly<Partial<Record<LaterFact, string>>> =>
  Object.fromEntries(
    laterFacts.flatMap((name) => (facts[name] === undefined ? [] : [[name, facts[name]]])),
  );

/** The delegation that gives the right, directly or by an EAB key. */
export const delegationOf = (facts: PolicyFacts): string | undefined =>
  facts.delegationId ?? facts.exchangedDelegation;

/**
 * The facts in one text. It never changes, since records keep its digest: what later releases added
 * stands behind the rest, and only where a request has any of it.
 */
export const factsText = (facts: PolicyFacts): string =>
  JSON.stringify([
    facts.at,
    facts.kind,
    facts.caller,
    facts.callerName,
    facts.spiffeId?.toString() ?? null,
    facts.dnsNames ?? null,
    facts.ips ?? null,
    facts.audiences ?? null,
    facts.profile ?? null,
    facts.keyType ?? null,
    facts.ttlSeconds ?? null,
    facts.entryId ?? null,
    facts.delegationId ?? null,
    ...(laterFacts.some((name) => facts[name] !== undefined)
      ? laterFacts.map((name) => facts[name] ?? null)
      : []),
  ]);

export const factsSha256 = (facts: PolicyFacts): string =>
  createHash('sha256').update('meshca-policy-facts-v1\n').update(factsText(facts)).digest('hex');
