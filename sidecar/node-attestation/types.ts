// The types of node attestation that this agent knows, one line each.
export { joinToken } from './join-token/attestor.ts';
export { kubernetesToken } from './k8s-psat/attestor.ts';
export { oidc } from './oidc/attestor.ts';
export { x509pop } from './x509pop/attestor.ts';
