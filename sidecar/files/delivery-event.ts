import type { PkiError } from '../../src/common/errors/index.ts';
import type { DeliveredSet } from './delivery-record.ts';

/** What happened: the outcome of the step that ran, or something from outside while at rest. */
export type DeliveryEvent =
  /** A new certificate is wanted: by its life, a changed bundle, entry or authority, or a retry. */
  | { readonly kind: 'due'; readonly stageOnly: boolean }
  | { readonly kind: 'leased'; readonly set: DeliveredSet }
  | { readonly kind: 'checked' }
  | { readonly kind: 'offered' }
  | { readonly kind: 'swapped' }
  | { readonly kind: 'applied'; readonly trusted: boolean }
  | { readonly kind: 'verified'; readonly trusted: boolean }
  | { readonly kind: 'shown'; readonly trusted: boolean }
  | { readonly kind: 'swapped-back' }
  | { readonly kind: 'driver-back' }
  | { readonly kind: 'shown-back'; readonly trusted: boolean }
  /** The step that ran did not succeed. */
  | { readonly kind: 'failed'; readonly error: PkiError }
  /** The server has, or may lack, the OCSP answer for the set that `current` names. */
  | { readonly kind: 'stapled' }
  | { readonly kind: 'unstapled'; readonly error: PkiError }
  /** A hand, a turn, or a server that is away while the served certificate ends. */
  | { readonly kind: 'promoted' }
  /** The time of the planned retry has come. */
  | { readonly kind: 'retry' }
  | { readonly kind: 'rolled-back-by-hand'; readonly to: DeliveredSet }
  | { readonly kind: 'restarted' }
  /** `current` names something else than the record says, or nothing any more. */
  | { readonly kind: 'found'; readonly current: DeliveredSet | undefined; readonly error: PkiError }
  | { readonly kind: 'removed'; readonly set: DeliveredSet }
  | { readonly kind: 'not-removed'; readonly set: DeliveredSet; readonly error: PkiError };

/** What the decision rests on beside the record. */
export interface DeliveryContext {
  /** Unix seconds. */
  readonly now: number;
  readonly promote: 'automatic' | 'by hand';
  readonly inRollout: boolean;
  readonly hasListeners: boolean;
  readonly graceSeconds: number;
  /** How long to wait before a retry (seconds), after this number of failures in a row. */
  readonly retryDelaySeconds: (failures: number) => number;
}
