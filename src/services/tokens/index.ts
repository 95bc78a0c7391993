export {
  tokenAlgorithms,
  tokensContradiction,
  tokensSchema,
  type TokenIssuerSettings,
  type TokenPurpose,
  type TokensSettings,
} from './settings.ts';
export type {
  KubernetesIdentity,
  TokenDemand,
  TokenIssuerStanding,
  TokenVerifier,
  VerifiedToken,
} from './token-verifier.ts';
export { tokenVerifier, type TokenVerifierDependencies } from './verifier.ts';
