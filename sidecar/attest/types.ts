// The types of workload attestation that this agent knows, one line each.
export { unix } from './unix/attestor.ts';
