export { AuthorityRegistry, type RegistryDependencies } from './authority-registry.ts';
export { authorityEvent } from './authority-event.ts';
export {
  completeAuthority,
  labelOf,
  recordAuthority,
  type AuthorityPlan,
  type MakerDependencies,
} from './authority-maker.ts';
export * from './rotation/index.ts';
export { bootstrapAuthorities, type BootstrapDependencies } from './bootstrap.ts';
export { bundleContent, bundleDocument, issuerKeys } from './bundle-document.ts';

export { BundleFloor } from './bundle-floor.ts';
export { publishBundle, type BundlePublisherDependencies } from './bundle-publisher.ts';
export type { Authorities } from './authorities.ts';
export type {
  IssuedJwt,
  IssuedLeaf,
  Issuer,
  JwtRequest,
  LeafRequest,
  LeafResult,
} from './issuer.ts';
export type { ImportedCrl } from './crl/import.ts';
export { CrlPublisher, type CrlPublisherDependencies } from './crl/publisher.ts';
export type { OcspReply } from './ocsp/answerer.ts';
export {
  OcspPublisher,
  type OcspPublisherDependencies,
  type OcspStanding,
} from './ocsp/publisher.ts';
export { ShardAllocator } from './crl/shard-allocator.ts';
export { createJwtIssuer, type JwtIssuerDependencies } from './jwt.ts';
export {
  createIssuer,
  type IssuanceObserver,
  type PipelineDependencies,
} from './leaf/leaf-issuer.ts';
export type { IssuerView, PrepareOptions } from './leaf/prepare.ts';
export {
  admit,
  builtInPolicy,
  PolicyDenial,
  policyOf,
  type Admission,
  type IssuancePolicy,
  type PolicyDecision,
} from './policy.ts';
export { PolicyInForce, type PolicyObserver } from './policy-in-force.ts';
export type { GrantingToken, PolicyRequest } from './policy-request.ts';
export { signerOf, type CertificateDraft } from './certificate-draft.ts';
export type { CertificateOutcome } from './endings.ts';
export {
  createRecordedIssuance,
  type PreparedCertificate,
  type RecordedIssuance,
  type RecordedStep,
} from './recorded.ts';
export type { IssuanceUnderWay } from './runs-under-way.ts';
export { ServerCertificate, type ServerIdentity } from './server-certificate.ts';
export {
  AuthoritySources,
  crossSign,
  type CrossRequest,
  signDownstream,
  type DownstreamAuthority,
  type DownstreamGrant,
  type DownstreamRequest,
  UpstreamCrls,
  UpstreamSupply,
  VaultSession,
  vaultUpstream,
  type AuthorityRequest,
  type ImportedAuthority,
  type SourceDependencies,
  type UpstreamAuthority,
  type VaultOptions,
} from './sources/index.ts';
export { issuerNotBegun } from './issuer-end.ts';
export { placeOfTenant, tenantCounter, TenantGate } from './tenant-gate.ts';
