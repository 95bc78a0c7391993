import {
  policyProfiles,
  statedLater,
  type PolicyCaller,
  type PolicyFacts,
  type PolicyKind,
  type PolicyProfile,
  type QuotaPlace,
} from '../common/policy/index.ts';
import type { SpiffeId } from '../common/spiffe/index.ts';
import type { KeyType } from '../common/x509/index.ts';
import type {
  CertificateKind,
  EabKey,
  NameClaim,
  Requester,
  RequesterClass,
  Subject,
} from '../domain/index.ts';

/** The EAB key of the holder of an ACME account. */
export type GrantingEabKey = Pick<EabKey, 'id' | 'source'>;

/** The token of another issuer by which a job asks. */
export interface GrantingToken {
  /** The name of the issuer in the configuration. */
  readonly issuer: string;
  readonly subject: string;
}

/** A request whose caller's rights were already checked. `tenant`: the `TenantGate` fills it. */
export type PolicyRequest = { readonly tenant?: string | undefined } & (
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
      /** Who asks for the names; absent: nobody's. */
      readonly claim?: NameClaim | undefined;
      /** What it takes of the quotas of what granted it. */
      readonly places?: readonly QuotaPlace[] | undefined;
      readonly eabKey?: GrantingEabKey | undefined;
      readonly token?: GrantingToken | undefined;
    }
  | {
      readonly type: 'jwt';
      readonly spiffeId: SpiffeId;
      readonly audience: readonly string[];
      readonly ttlSeconds: number;
      readonly entryId: string;
    }
);

/** Undefined: not subject to a policy, which could otherwise end the CA. */
const kinds: Readonly<Record<CertificateKind, PolicyKind | undefined>> = {
  workload: 'workload',
  admin: 'admin',
  delegated: 'delegated',
  token: 'token',
  endpoint: 'endpoint',
  linkerd: 'linkerd',
  agent: undefined,
  server: undefined,
  // its own authorities; those downstream are told by their profile
  authority: undefined,
};

const callers: Readonly<Record<RequesterClass, PolicyCaller | undefined>> = {
  agent: 'agent',
  workload: 'workload',
  delegate: 'delegate',
  token: 'token',
  acme: 'acme',
  admin: 'admin',
  local: 'local',
  // a node asks for the SVID of its agent alone, and the server for its own certificates
  node: undefined,
  server: undefined,
};

/** What a policy decides by; undefined if the request is not subject to one. */
export function factsOf(
  request: PolicyRequest,
  { class: callerClass, name: callerName }: Requester,
  at: number,
): PolicyFacts | undefined {
  const caller = callers[callerClass];
  const kind = kindOf(request);
  if (caller === undefined || kind === undefined) return undefined;
  const common = { at, kind, caller, callerName, ...laterFactsOf(request) };
  if (request.type === 'jwt')
    return {
      ...common,
      spiffeId: request.spiffeId,
      dnsNames: undefined,
      ips: undefined,
      audiences: request.audience,
      profile: undefined,
      keyType: undefined,
      ttlSeconds: request.ttlSeconds,
      entryId: request.entryId,
      delegationId: undefined,
    };
  const { subject, keyType, ttlSeconds, entryId, delegationId } = request;
  return {
    ...common,
    // a CA downstream has the ID of the trust domain, as every authority
    spiffeId: subject.kind === 'spiffe' && kind !== 'downstream' ? subject.id : undefined,
    dnsNames: subject.dnsNames,
    ips: subject.kind === 'names' ? subject.ips : [],
    audiences: undefined,
    profile: profileOf(request.profile),
    keyType,
    ttlSeconds,
    entryId: entryId ?? undefined,
    delegationId: delegationId ?? undefined,
  };
}

function laterFactsOf(request: PolicyRequest): ReturnType<typeof statedLater> {
  const { tenant } = request;
  const { eabKey, token: own } = request.type === 'x509' ? request : {};
  // hot path: most requests have none of it
  if (tenant === undefined && eabKey === undefined && own === undefined) return {};
  const source = eabKey?.source ?? undefined;
  const token = source?.by === 'token' ? source : own;
  return statedLater({
    tenant,
    eabKeyId: eabKey?.id,
    exchangedBy: source?.spiffeId,
    exchangedDelegation: source?.delegationId,
    tokenIssuer: token?.issuer,
    tokenSubject: token?.subject,
  });
}

function kindOf(request: PolicyRequest): PolicyKind | undefined {
  if (request.type === 'jwt') return 'jwt-svid';
  return request.kind === 'authority' && request.profile === 'downstream'
    ? 'downstream'
    : kinds[request.kind];
}

const profileOf = (profile: string): PolicyProfile | undefined =>
  policyProfiles.find((known) => known === profile);
