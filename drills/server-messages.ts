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
  | { readonly type: 'signer-pids' };

export type FromServer =
  | { readonly type: 'ready'; readonly port: number }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  | { readonly type: 'signer-killed'; readonly pid: number; readonly step: string }
  | { readonly type: 'signer-pids'; readonly pids: readonly number[] };
