export { parseCertificate, parseTbsCertificate, type TbsFields } from './certificate.ts';
export { verifyChain } from './chain.ts';
export { checkCrlSignature, checkRevocation, isCrlOf, parseCrl, parseTbsCrl } from './crl.ts';
export { createCsr, type CsrOptions } from './csr-writer.ts';
export { DerError, DerReader, oidText, parsing, splitDer, tag } from './der-reader.ts';
export * as derWriter from './der-writer.ts';
export { ecdsaSigValue } from './ecdsa-signature.ts';
export { canonicalIp, ipOctets, ipText } from './ip-address.ts';
export { readGeneralNames, readName } from './names.ts';
export {
  encodeGeneralizedTime,
  encodeTime,
  readGeneralizedTime,
  readRequiredTime,
  readTime,
} from './time.ts';
export { keyIdentifierOf, setDigest, sha256Hex } from './digest.ts';
export { parseFingerprint } from './fingerprint.ts';
export { readExtensions, type Extensions } from './extensions.ts';
export { generateKeyPairAsync, pkcs8Of, publicKeyOf, spkiOf, type KeyPair } from './keys.ts';
export { keyTypes, type KeyType } from './key-type.ts';
export {
  certificatesFromPem,
  certificatesToPem,
  csrFromPem,
  pemDecode,
  pemEncode,
  type PemBlock,
} from './pem.ts';
export {
  hashOf,
  signatureAlgorithmFor,
  signatureAlgorithmOf,
  type SigningScheme,
} from './signature-algorithm.ts';
export { serverIssuerOf, type ServerIssuer, type ServerIssuers } from './server-issuer.ts';
export { checkSignature } from './signature-check.ts';
export { keyTypeOfSpki } from './spki.ts';
export { verifyX509Svid } from './svid.ts';
export {
  keyUsageNames,
  type AltNames,
  type KeyUsageName,
  type ParsedCertificate,
  type ParsedCrl,
  type RevokedEntry,
  type SignatureAlgorithm,
  type VerifiedChain,
  type VerifiedSvid,
  type VerifyChainInput,
  type VerifySvidInput,
} from './types.ts';
