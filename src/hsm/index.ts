export * from './contract.ts';
export { LoginTurns } from './login-turns.ts';
export { createSigners, type ManagedSigners, type SignersOptions } from './signers.ts';
export { readPinFile } from './pin-file.ts';
export { failedOutcome } from './sign-queue.ts';
export { SignerRouter } from './signer-router.ts';
export { DeferredSigners } from './deferred-signers.ts';
export { openTokenAdmin, type TokenAdminOptions } from './token-admin.ts';
export type { EngineMode } from './protocol.ts';
