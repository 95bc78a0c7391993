export {
  BundleStore,
  type BundlePersistence,
  type BundleStep,
  type RefusedStep,
} from './bundle-store.ts';
export {
  FederatedBundles,
  type FederatedDocument,
  type FederatedUpdate,
} from './federated-bundles.ts';
export { checkCrlSet } from './crl-set.ts';
export { IssuerChains, type PublishedChain } from './issuer-chains.ts';
export {
  parseBundleDocument,
  rootsOnly,
  toTrustBundle,
  type BundleDocument,
  type JwtAuthority,
} from './document.ts';
export { nobodysAuthority, nobodysBundle } from './nobody.ts';
export { readBundleFile } from './bundle-file.ts';
