import type { SignersState } from './signing-port.ts';

/**
 * Longest wait before a new attempt to start a signer. Signing has to resume within 5 s of the
 * token's return, so it is short; only one attempt runs at a time.
 */
export const respawnMaximumMs = 1000;
const respawnBaseMs = 50;

/**
 * How long to wait before the next start. `failures`: signers in a row that did not start, or died
 * young. `uniform` in [0, 1) spreads replicas that lost the same token at the same moment.
 */
export function respawnDelayMs(failures: number, uniform: number): number {
  const ceiling = Math.min(respawnBaseMs * 2 ** Math.min(failures, 16), respawnMaximumMs);
  return ceiling * (0.5 + 0.5 * uniform);
}

export interface SignersFacts {
  readonly closed: boolean;
  readonly fatal: boolean;
  /** Whether the first start has succeeded. */
  readonly started: boolean;
  readonly signers: number;
  readonly signersReady: number;
}

/** The circuit is open as long as no signer is ready; a signer that starts closes it. */
export function signersStatus(facts: SignersFacts): SignersState['status'] {
  if (facts.closed) return 'closed';
  if (facts.fatal) return 'fatal';
  if (!facts.started) return 'starting';
  if (facts.signersReady === 0) return 'open';
  return facts.signersReady < facts.signers ? 'degraded' : 'ready';
}

/** Before anything is known of the token's speed. */
const firstChunk = 8;
/**
 * Work given to a signer at once, in milliseconds: long enough that a hand-over costs little, short
 * enough to keep all signers busy to the end of a batch.
 */
const chunkTargetMs = 10;
/**
 * On a machine that is short of processors each item seems to take longer, and smaller chunks would
 * cost it more: so many go together, as long as they do not seem to take too long.
 */
const crowdedChunk = 16;
const crowdedTargetMs = 50;
export const chunkMaximum = 64;

export interface ChunkFacts {
  readonly queued: number;
  readonly signersReady: number;
  /** Operations that the signer has in the token at once. */
  readonly concurrency: number;
  /** What an item took lately, undefined before the first. */
  readonly itemMs: number | undefined;
}

/** How many items to hand to one signer now: its share of the queue, bounded by time. */
export function chunkSize(facts: ChunkFacts): number {
  const share = Math.ceil(facts.queued / Math.max(facts.signersReady, 1));
  const byTime =
    facts.itemMs === undefined || facts.itemMs <= 0
      ? firstChunk
      : Math.floor(chunkTargetMs / facts.itemMs);
  const crowded =
    facts.itemMs === undefined || facts.itemMs <= 0
      ? 0
      : Math.min(crowdedChunk, Math.floor(crowdedTargetMs / facts.itemMs));
  const limit = Math.min(Math.max(byTime, crowded, facts.concurrency, 1), chunkMaximum);
  return Math.min(share, limit);
}
