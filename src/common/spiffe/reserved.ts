import { SpiffeId, type TrustDomain } from './spiffe-id.ts';

/**
 * Paths of the CA itself. Nothing that a user registers, delegates or mints may lie at or below
 * `/meshca`.
 */
const reservedRoot = '/meshca';

export const serverId = (trustDomain: TrustDomain): SpiffeId =>
  SpiffeId.in(trustDomain, '/meshca/server');

/** The ID of an agent that joined by token: `name` is one path segment. */
export const joinedAgentId = (trustDomain: TrustDomain, name: string): SpiffeId =>
  SpiffeId.in(trustDomain, `/meshca/agent/${name}`);

/** The ID of an agent attested by x509pop: the SHA-256 fingerprint of its certificate, in hex. */
export const x509popAgentId = (trustDomain: TrustDomain, fingerprintHex: string): SpiffeId =>
  SpiffeId.in(trustDomain, `/meshca/agent/x509pop/${fingerprintHex}`);

export const isReserved = (id: SpiffeId): boolean =>
  id.path === reservedRoot || id.path.startsWith(`${reservedRoot}/`);

export const isAgentId = (id: SpiffeId): boolean => id.path.startsWith('/meshca/agent/');
