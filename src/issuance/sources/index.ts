export type { AuthorityRequest } from './authority-request.ts';
export type { ImportedAuthority } from './imported-authority.ts';
export type { SourceDependencies } from './source-dependencies.ts';
export type { UpstreamAuthority } from './upstream-authority.ts';
export { crossSign, type CrossDependencies, type CrossRequest } from './cross.ts';
export {
  signDownstream,
  type DownstreamAuthority,
  type DownstreamDependencies,
  type DownstreamGrant,
  type DownstreamRequest,
} from './downstream.ts';
export { AuthoritySources } from './sources.ts';
export { UpstreamCrls } from './upstream-crls.ts';
export { UpstreamSupply } from './upstream-supply.ts';
export { vaultUpstream, type VaultUpstreamOptions } from './vault-upstream.ts';
export { VaultSession, type VaultAuth, type VaultOptions } from './vault-session.ts';
