export { answersOcsp, type OcspLeaf, type OcspRecord } from './ocsp.ts';
export { aheadOfAgents } from './agent-clocks.ts';
export {
  lineAfterLoss,
  lineAfterRecovery,
  lineAfterRenewal,
  lineAfterUse,
  lineFrom,
  sameLine,
  standingIn,
  type AgentLine,
  type LineStanding,
  type LineSvid,
} from './agent-line.ts';
export {
  revokedTokenExpiry,
  type Agent,
  type AgentNames,
  type AgentState,
  type ConsumerRecord,
  type JoinToken,
} from './agent.ts';
export {
  canonicalBytes,
  committedObject,
  loggedIn,
  leafHash,
  readCanonical,
  type AuditEvent,
  type AuditRecord,
  type AuditStatement,
  type AuditValue,
  type LoggedObject,
} from './audit.ts';
export { sealBytes, type SealBounds } from './log-seal.ts';
export {
  logObjectDigest,
  logObjectKinds,
  type LogObject,
  type LogObjectKind,
  type ObjectMismatch,
} from './log-object.ts';
export {
  approvalPolicyId,
  deletedObject,
  loggedId,
  loggedObject,
  loggedText,
  loggedVersions,
  selectorList,
  type LoggedValues,
} from './logged-values.ts';
export type { Proven } from './proven.ts';
export {
  endpointProfiles,
  type EndpointProfile,
  type FederationRelationship,
  type ForeignBundle,
  type ForeignJwtKey,
} from './federation/relationship.ts';
export {
  maximumDocumentBytes,
  parseForeignDocument,
  ownDocument,
  type OwnDocument,
  type ReadDocument,
} from './federation/document.ts';
export {
  judgeBundle,
  rootSha256,
  type JudgedBundle,
  type KnownKeys,
} from './federation/judgement.ts';
export {
  loggedAccepted,
  type AcceptedBundle,
  type ShrunkBundle,
} from './federation/accepted.ts';
export { pollSeconds, staleFrom, type PollLimits } from './federation/polling.ts';
export {
  checkRelationship,
  endpointUrl,
  type RelationshipInput,
} from './federation/relationship-rules.ts';
export {
  authorityStates,
  crossOf,
  hasOwnKey,
  isCross,
  isLegalTransition,
  isTrusted,
  legalTransitions,
  endedStates,
  hasEnded,
  maySign,
  preparingAuthority,
  authorityKinds,
  signsCertificates,
  isIssuingKind,
  issuingKindBelow,
  isBesideMesh,
  isNamesAuthority,
  isRootKind,
  rootKindAbove,
  type Authority,
  type AuthorityKind,
  type NamesAuthorityKind,
  type AuthorityScope,
  type AuthorityState,
  type TokenRole,
} from './authority.ts';
export {
  type OperationState,
  type PendingOperation,
  type StoredPolicy,
  type SubmittedApproval,
} from './approval.ts';
export { blockedKeyText, loggedBlockedKey, type BlockedKey } from './blocked-key.ts';
export type { BundleRevision, Position } from './bundle.ts';
export {
  certificateKinds,
  certificateStates,
  isNamesKind,
  workloadProfiles,
  namesProfiles,
  isNamesProfile,
  namesProfileFits,
  namesLives,
  maximumLifeOf,
  isRevocable,
  maximumNames,
  entryProfiles,
  delegationProfiles,
  recordedProfiles,
  shortLivedMaximumSeconds,
  type CertificateKind,
  type CertificateRecord,
  type CertificateState,
  type Intent,
  type WorkloadProfile,
  type NamesProfile,
  type EntryProfile,
  type DelegationProfile,
  type NamesKind,
  type RecordedProfile,
} from './certificate.ts';
export {
  checkSelection,
  fitsSelection,
  selectionTexts,
  type CertificateSelection,
  type SelectedFacts,
} from './certificate-selection.ts';
export type { Delegation, Role } from './delegation.ts';
export {
  linkerdName,
  linkerdServingName,
  linkerdSuffix,
  type LinkerdControlPlane,
  type ServiceAccount,
} from './linkerd.ts';
export { podHolder, renewsItsRoots } from './pod-holder.ts';
export { keepsItsRoots, linkerdHolder, type LinkerdProxy } from './proxy-holder.ts';
export {
  reservationOf,
  reservationReached,
  reservedText,
  type ReservedDnsName,
} from './reserved-names.ts';
export {
  requesterClasses,
  isServerHolder,
  serverHolder,
  serverRequester,
  type Requester,
  type RequesterClass,
} from './requester.ts';
export {
  sameSubject,
  spiffeSubject,
  namesBeside,
  subjectNames,
  subjectText,
  type NamesSubject,
  type SpiffeSubject,
  type Subject,
} from './subject.ts';
export type { EntryDraft, RegistrationEntry } from './entry.ts';
export {
  chooseDelegation,
  checkDelegation,
  chooseNamesDelegation,
  patternReach,
  type DelegatedAsk,
  type DelegatedNamesAsk,
  type DelegationDraft,
  type DelegationLimits,
} from './delegation-rules.ts';
export {
  checkConflicts,
  conflictReads,
  type EntryReads,
  type EntrySight,
} from './entry-conflicts.ts';
export {
  allowedValues,
  checkEntry,
  fixedPrefix,
  userSpiffeId,
  type EntryLimits,
} from './entry-rules.ts';
export { namesOfEntry } from './entry-names.ts';
export {
  checkDnsNames,
  checkIpRange,
  checkNames,
  dnsPatternMatches,
  uncoveredName,
  type NamesGrant,
  type StatedNames,
} from './names.ts';
export { parentsOf } from './node-sets.ts';
export {
  loggedRevocation,
  crlId,
  crlIsDue,
  crlState,
  hasCompleteCrl,
  isInCrlSet,
  leavesPerShard,
  needsCrl,
  publishesCrl,
  raisesReason,
  revocationReasons,
  revokedAtOnce,
  unlistedShard,
  takesCrl,
  worstCrlState,
  type AssignedShard,
  type CrlContent,
  type CrlShard,
  type CrlStanding,
  type CrlState,
  type Revocation,
  type RevocationReason,
  type StoredCrl,
} from './revocation.ts';
export {
  builtInPolicyVersion,
  finishingStates,
  firstEnded,
  wantRows,
  type AgentSvidRight,
  type AuthorityRight,
  type Right,
  type Rights,
  placeEnded,
} from './rights.ts';
export type { AgentRight, CallerRight, DelegationRight } from './holder-rights.ts';
export type { ReadRow, RightEnded, RightNoun, RightRows } from './right-kind.ts';
export { placesDetail, placeText, takenPlacesIn, type TakenPlace } from './quota.ts';
export {
  auditorGrant,
  grantsOf,
  auditorRole,
  checkRole,
  holdsEverything,
  isDnsScope,
  permits,
  prefixesFor,
  tenantOfScope,
  verbs,
  wholeTrustDomain,
  withNamesOfTenants,
  withoutTenants,
  type Grant,
  type RoleInput,
  type Target,
  type Verb,
} from './roles.ts';
export * from './rotation/index.ts';
export * from './targets/index.ts';
export type { IssuancePolicyVersion, StoredIssuancePolicy } from './issuance-policy.ts';
export { crlBounds, crlReach, type CrlReach } from './crl-size.ts';
export type { TokenUse } from './token-use.ts';
export type { OwnedNames, Tenant, TenantNames } from './tenant.ts';
export { judgeDelegationNames, judgeEntryNames } from './tenant-collisions.ts';
export { NameOwners, type NameOwner, type TenantOverlap } from './name-owners.ts';
export { tenantEndedText, tenantOfNames, type NameClaim, type NamesAsk } from './name-claims.ts';
export {
  checkTenant,
  requireDisjoint,
  requireNewName,
  type TenantInput,
  type TenantLimits,
} from './tenant-rules.ts';
export * from './acme/index.ts';
