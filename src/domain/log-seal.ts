/** The bounds of what a session's key signs for one commit. */
export interface SealBounds {
  readonly sessionId: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
  /**
   * The last record under the seal that the same session made before, 0 for its first: the seals of
   * a session are a chain, from which no commit can be taken without a trace. null: the seal of an
   * older release, which names none.
   */
  readonly previousSequence: number | null;
}

/**
 * The bytes to sign: the session, the end of the previous seal, the first and last sequence, and
 * the leaf hash of each record.
 */
export function sealBytes(
  { sessionId, firstSequence, lastSequence, previousSequence }: SealBounds,
  leafHashes: readonly Buffer[],
): Buffer {
  const head =
    previousSequence === null
      ? ['meshca-audit-seal-v1', sessionId]
      : ['meshca-audit-seal-v2', sessionId, previousSequence];
  return Buffer.concat([
    Buffer.from(`${[...head, firstSequence, lastSequence].join('\n')}\n`),
    ...leafHashes,
  ]);
}
