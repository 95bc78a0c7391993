export { lintCrl } from './crl-lint.ts';
export { assembleSigned } from './assemble.ts';
export {
  checkAuthorityChain,
  type AuthorityChain,
  type AuthorityChainInput,
} from './authority-chain.ts';
export { assembleCsr, buildAuthorityCsr } from './authority-csr.ts';
export { buildAuthorityTbs } from './authority-tbs.ts';
export { buildCrlTbs } from './crl-tbs.ts';
export { parseCsr } from './csr.ts';
export { buildLeafTbs } from './leaf-tbs.ts';
export { lint } from './lint.ts';
export {
  isLeafProfile,
  maximumLeafBackdateSeconds,
  profiles,
  type ProfileRules,
} from './profiles.ts';
export { confirmReading, readCrlTwice, readTwice } from './second-reading.ts';
export { newSerial } from './serial.ts';
export { authorityIdentity, subjectProblem } from './subject.ts';
export {
  type AuthorityInput,
  type AuthorityProfile,
  type CrlEntry,
  type CrlInput,
  type CrlReason,
  type CsrProof,
  type InformationAccess,
  type LeafInput,
  type LeafProfile,
  type LintContext,
  type ParsedCsr,
  type Profile,
} from './types.ts';
