import type { ClockState } from '../domain/index.ts';
import type { AcceptedBundles } from './accepted-bundles.ts';
import type { AdminIds } from './admin-ids.ts';
import type { Blocked } from './blocked.ts';
import type { Living } from './living.ts';
import type { AcceptedRestore } from './restores.ts';
import type { RevokedCopy } from './revoked.ts';

/** By kind and ID, as `kind id`. */
export interface ObjectsContent extends RevokedCopy {
  readonly admins: ReturnType<AdminIds['copy']>;
  readonly blocked: ReturnType<Blocked['copy']>;
  readonly accepted: ReturnType<AcceptedBundles['copy']>;
  readonly living: ReturnType<Living['copy']>;
  readonly clock: ClockState | undefined;
  readonly restores: readonly AcceptedRestore[];
  readonly objects: readonly (readonly [
    key: string,
    said: { readonly sha256: string; readonly sequence: number },
  ])[];
  readonly evidence: readonly (readonly [
    authorityId: string,
    said: { readonly sha256: string; readonly sequence: number },
  ])[];
}
