import { SpiffeId, type TrustDomain } from './spiffe-id.ts';

/**
 * Paths of the CA itself. No ID that a user registers, delegates or mints may be at or below
 * `/meshca`.
 */
const reservedRoot = '/meshca';

const serverPath = '/meshca/server';

export const serverId = (trustDomain: TrustDomain): SpiffeId =>
  SpiffeId.in(trustDomain, serverPath);

/** Whether this is the ID of the server of its trust domain. */
export const isServerId = ({ path }: SpiffeId): boolean => path === serverPath;

/** The ID of an agent: its name, or the type that attested it and its name there. */
export const agentId = (trustDomain: TrustDomain, ...segments: readonly string[]): SpiffeId =>
  SpiffeId.in(trustDomain, `/meshca/agent/${segments.join('/')}`);

/** The ID that delegations name to grant identities to callers of a control plane's front. */
export const controlPlaneId = (
  trustDomain: TrustDomain,
  type: string,
  tokenIssuer: string,
): SpiffeId => SpiffeId.in(trustDomain, `/meshca/control-plane/${type}/${tokenIssuer}`);

export const isReserved = (id: SpiffeId): boolean =>
  id.path === reservedRoot || id.path.startsWith(`${reservedRoot}/`);

export const isAgentId = (id: SpiffeId): boolean => id.path.startsWith('/meshca/agent/');

/** The ID of an issuer of tokens: the parent of the entries that its tokens match. */
export const tokenIssuerId = (trustDomain: TrustDomain, name: string): SpiffeId =>
  SpiffeId.in(trustDomain, `/meshca/token-issuer/${name}`);

/** The name in the ID of an issuer of tokens. Undefined: it is none. */
export function tokenIssuerOf({ segments }: SpiffeId): string | undefined {
  const [root, kind, name, ...more] = segments;
  return root === 'meshca' && kind === 'token-issuer' && more.length === 0 ? name : undefined;
}
