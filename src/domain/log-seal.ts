/** The bounds of what a session's key signs for one commit. */
export interface SealBounds {
  readonly sessionId: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
}

/** What is signed: who, from where to where, and the leaf hash of each record. */
export function sealBytes(
  { sessionId, firstSequence, lastSequence }: SealBounds,
  leafHashes: readonly Buffer[],
): Buffer {
  return Buffer.concat([
    Buffer.from(`meshca-audit-seal-v1\n${sessionId}\n${firstSequence}\n${lastSequence}\n`),
    ...leafHashes,
  ]);
}
