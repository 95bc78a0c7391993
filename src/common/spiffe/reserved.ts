import { SpiffeId, type TrustDomain } from './spiffe-id.ts';

/**
 * Paths of the CA itself. No ID that a user registers, delegates or mints may be at or below
 * `/meshca`.
 */
const reservedRoot = '/meshca';

export const serverId = (trustDomain: TrustDomain): SpiffeId =>
  SpiffeId.in(trustDomain, '/meshca/server');

/** The ID of an agent: its name, or the type that attested it and its name there. */
export const agentId = (trustDomain: TrustDomain, ...segments: readonly string[]): SpiffeId =>
  SpiffeId.in(trustDomain, `/meshca/agent/${segments.join('/')}`);

export const isReserved = (id: SpiffeId): boolean =>
  id.path === reservedRoot || id.path.startsWith(`${reservedRoot}/`);

export const isAgentId = (id: SpiffeId): boolean => id.path.startsWith('/meshca/agent/');
