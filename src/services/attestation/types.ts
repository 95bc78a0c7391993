// The types of node attestation that this server knows, one per line.
export { joinToken } from './join-token/attestor.ts';
export { x509pop } from './x509pop/attestor.ts';
