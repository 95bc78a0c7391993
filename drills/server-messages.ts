/** Kills a process of the product when `step` is reached for the `after`-th time. */
export interface Armed {
  readonly step: string;
  readonly after: number;
  readonly victim: 'server' | 'signer';
}

export interface ServerProcessOptions {
  readonly arm?: Armed;
  readonly synchronous?: 'FULL' | 'OFF';
}

export type ToServer =
  | { readonly type: 'arm'; readonly arm: Armed }
  | { readonly type: 'invalidate-sessions' }
  | { readonly type: 'signer-pids' }
  | { readonly type: 'fill'; readonly fill: RevocationFill }
  /** Asks how long the event loop was blocked since the last time. */
  | { readonly type: 'loop' };

/** A long log of leaves of one authority, all of them revoked. */
export interface RevocationFill {
  readonly authorityId: string;
  /** The base of the URLs of shards, with the authority. */
  readonly baseUrl: string;
  /** How many revoked leaves go into each of these shards. */
  readonly shards: readonly { readonly shard: number; readonly leaves: number }[];
  readonly notAfter: number;
}

/** Of the main process of a server. */
export interface LoopFigures {
  /** The longest time that no other work could run. */
  readonly longestMs: number;
  /** The same in time of a processor. */
  readonly longestWorkMs: number;
  readonly rssBytes: number;
}

export type FromServer =
  | { readonly type: 'ready'; readonly port: number }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'signer-killed'; readonly pid: number; readonly step: string }
  | { readonly type: 'signer-pids'; readonly pids: readonly number[] }
  | { readonly type: 'filled'; readonly failure: string }
  | { readonly type: 'loop'; readonly figures: LoopFigures };
