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
export { lintOcsp } from './ocsp-lint.ts';
export {
  parseOcspResponse,
  parseOcspTbs,
  type ReadOcspAnswer,
  type ReadOcspResponse,
} from './ocsp-reader.ts';
export { maximumOcspRequestBytes, parseOcspRequest } from './ocsp-request.ts';
export {
  assembleOcsp,
  buildOcspTbs,
  ocspErrorResponse,
  ocspForm,
  ocspIssuerHashes,
} from './ocsp-response.ts';
export { buildOcspSignerTbs, ocspSignerProblem, ocspSignerSubject } from './ocsp-signer.ts';
export {
  ocspHashes,
  type OcspAnswer,
  type OcspCertId,
  type OcspError,
  type OcspHash,
  type OcspResponder,
} from './ocsp-types.ts';
export { newSerial, serialTimeMs } from './serial.ts';
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
