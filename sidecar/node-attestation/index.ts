export { AgentIdentity, type AgentIdentityDependencies } from './agent-identity.ts';
export {
  attest,
  purposeOf,
  tokenSha256,
  type AttestationRequest,
  type NodeCredential,
} from './attest.ts';
export { configuredCredential, type CredentialFiles } from './configured-credential.ts';
