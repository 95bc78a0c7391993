import type { SignersState } from './signing-port.ts';

/**
 * Longest wait before a new attempt to start a signer. It is short, because signing must resume
 * within 5 s of the token's return. Only one attempt runs at a time.
 */
export const respawnMaximumMs = 1000;
const respawnBaseMs = 50;

/**
 * Milliseconds until the next start. `failures`: signers in a row that did not start or died young.
 * `uniform` in [0, 1) spreads replicas that lost the same token at the same moment.
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

/** The circuit is open while no signer is ready. A signer that starts closes it. */
export function signersStatus(facts: SignersFacts): SignersState['status'] {
  if (facts.closed) return 'closed';
  if (facts.fatal) return 'fatal';
  if (!facts.started) return 'starting';
  if (facts.signersReady === 0) return 'open';
  return facts.signersReady < facts.signers ? 'degraded' : 'ready';
}

/** The first chunk, before the speed of the token is known. */
const firstChunk = 8;
/**
 * Target duration of a chunk in milliseconds: long enough that a hand-over costs little, short
 * enough to keep all signers busy to the end of a batch.
 */
const chunkTargetMs = 10;
/**
 * On a machine with too few processors each item seems slow, and smaller chunks would make it
 * slower. Therefore this many items go together, unless they seem to take longer than the target
 * below.
 */
const crowdedChunk = 16;
const crowdedTargetMs = 50;
export const chunkMaximum = 64;

export interface ChunkFacts {
  readonly queued: number;
  readonly signersReady: number;
  /** The number of operations that the signer runs in the token at once. */
  readonly concurrency: number;
  /** The recent time per item in milliseconds; undefined before the first item. */
  readonly itemMs: number | undefined;
}

/**
 * So few items go to one signer whole. A hand-over costs both processes a system call and a
 * wake-up, and items that are answered together share a commit.
 */
const unsplitItems = 16;
/** Unless they take longer than this, and would be answered sooner by several signers. */
const unsplitTargetMs = 8;

/**
 * The number of items for one signer now: its share of the queue, limited by time. A few items are
 * not shared out.
 */
export function chunkSize(facts: ChunkFacts): number {
  const unsplit =
    facts.itemMs === undefined || facts.itemMs <= 0
      ? 1
      : Math.min(unsplitItems, Math.floor(unsplitTargetMs / facts.itemMs));
  const share = Math.max(
    Math.min(facts.queued, unsplit),
    Math.ceil(facts.queued / Math.max(facts.signersReady, 1)),
  );
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

/**
 * Target duration in milliseconds of a chunk for which nobody waits. Somebody who comes now waits
 * for it, and for the one behind it.
 */
const backgroundTargetMs = 2;

/** The same for items for which nobody waits. */
export function backgroundChunkSize(facts: ChunkFacts): number {
  const { queued, signersReady, concurrency, itemMs } = facts;
  const byTime =
    itemMs === undefined || itemMs <= 0 ? firstChunk : Math.floor(backgroundTargetMs / itemMs);
  return Math.min(
    Math.ceil(queued / Math.max(signersReady, 1)),
    Math.max(byTime, concurrency, 1),
    chunkMaximum,
  );
}
