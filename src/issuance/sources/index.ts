export type { AuthorityRequest, ImportedAuthority, SourceDependencies, UpstreamAuthority } from './contract.ts';
export { AuthoritySources } from './sources.ts';
export { UpstreamStart } from './upstream-start.ts';
export { vaultUpstream, type VaultUpstreamOptions } from './vault-upstream.ts';
export { VaultSession, type VaultAuth, type VaultOptions } from './vault-session.ts';
