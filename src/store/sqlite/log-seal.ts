import type { LogSeal } from '../contract.ts';

/** What a session's key signs for one commit: who, from where to where, and the leaf hash of each record. */
export function sealBytes(seal: Omit<LogSeal, 'signature'>, leafHashes: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(`meshca-audit-seal-v1\n${seal.sessionId}\n${seal.firstSequence}\n${seal.lastSequence}\n`), ...leafHashes]);
}
