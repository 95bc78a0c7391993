// The types of node attestation that this agent knows, one line each.
export { joinToken } from './join-token/attestor.ts';
export { x509pop } from './x509pop/attestor.ts';
