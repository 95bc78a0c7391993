export { BundleStore, type BundleStep } from './bundle-store.ts';
export { authoritySetDigest, parseBundleDocument, rootsOnly, toTrustBundle, type BundleDocument, type JwtAuthority } from './document.ts';
export { readBundleFile } from './bundle-file.ts';
