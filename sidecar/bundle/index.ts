export { BundleStore, type BundleStep } from './bundle-store.ts';
export { checkCrlSet } from './crl-set.ts';
export { IssuerChains, type PublishedChain } from './issuer-chains.ts';
export {
  parseBundleDocument,
  rootsOnly,
  toTrustBundle,
  type BundleDocument,
  type JwtAuthority,
} from './document.ts';
export { readBundleFile } from './bundle-file.ts';
