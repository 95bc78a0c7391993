import type { ErrorCode } from '../../src/common/errors/index.ts';
import type { TargetEvent, TargetState } from '../ports/file-targets.ts';
import type { StoredSet } from './certificate-set.ts';

/** A set with what the agent knows of it beside its files. */
export interface DeliveredSet extends StoredSet {
  /** Subject names of its roots, DER in hex. None of a set for names: its server asks for none. */
  readonly rootNames: readonly string[];
  /** SHA-256 over its CRLs, hex. Empty: it has none. */
  readonly crlsDigest: string;
  /** Of the roots in its files of foreign trust domains, hex. Empty: it has none. */
  readonly federatedDigest: string;
  /** Of the certificate, or of who owns a certificate for names. */
  readonly spiffeId: string;
  readonly entryId: string;
  readonly entryRevision: number;
  /** The authority that signed the leaf. */
  readonly authorityId: string;
  /** By the clock of this node, Unix seconds: when to replace it, and when it ends. */
  readonly renewAt: number;
  readonly endsAt: number;
}

/**
 * What is done next. A step is in the journal before it begins. It may run again after a crash.
 *
 * - `lease`: a certificate is obtained and written as a set
 * - `check`: the set is checked offline
 * - `offer`: the driver stages it
 * - `swap`, `apply`, `verify`, `prove`: forward
 * - `swap-back`, `driver-back`, `prove-back`: back
 */
export type DeliveryStep =
  | 'lease'
  | 'check'
  | 'offer'
  | 'swap'
  | 'apply'
  | 'verify'
  | 'prove'
  | 'swap-back'
  | 'driver-back'
  | 'prove-back';

export interface Obstacle {
  readonly code: ErrorCode;
  readonly message: string;
  readonly next: string;
}

/** What is known of the trust of the server that serves a set. */
export type ServedTrust = 'proven' | 'inferred' | 'unprovable';

/** The whole state of one target, as it stands in its journal. Owner: Delivery. */
export interface DeliveryRecord {
  readonly step: DeliveryStep | 'rest';
  /** The set under way: staged, being delivered, or taken back. */
  readonly candidate: DeliveredSet | undefined;
  /** What `current` names where the candidate is not swapped in. */
  readonly served: DeliveredSet | undefined;
  /** Whether `current` may name the candidate. */
  readonly swapped: boolean;
  /** How the last delivery ended. */
  readonly outcome: 'none' | 'proven' | 'applied' | 'rolled-back' | 'failed';
  readonly trust: ServedTrust;
  /**
   * The end of the last certificate that was served with other roots than the present ones (Unix
   * seconds), as long as the present ones are not proven. 0: none.
   */
  readonly otherRootsUntil: number;
  /** What the candidate waits for, at rest. */
  readonly waitsFor: 'nothing' | 'turn' | 'hand';
  /** The candidate was delivered once, and did not prove itself or was taken back. */
  readonly tried: boolean;
  /** The candidate goes on after its check, whatever it waited for. */
  readonly promoted: boolean;
  /** The next lease only stages: an operator asked for it. */
  readonly stageOnly: boolean;
  /** An operator took the set before: no new one until that one is about to end. */
  readonly held: boolean;
  /** The step that a retry begins with. Undefined: the candidate again, or a new lease. */
  readonly resume: DeliveryStep | undefined;
  readonly obstacle: Obstacle | undefined;
  /** Why the server may lack the OCSP answer for what it serves. It stands in the way of nothing. */
  readonly unstapled: Obstacle | undefined;
  /** Failures since the last success. */
  readonly failures: number;
  /** Unix seconds. 0: nothing is planned. */
  readonly retryAt: number;
  /** Sets that are removed from disk at that time (Unix seconds), oldest first. */
  readonly retired: readonly { readonly set: DeliveredSet; readonly removeAt: number }[];
  readonly since: number;
  readonly history: readonly TargetEvent[];
}

export const emptyRecord = (now: number): DeliveryRecord => ({
  step: 'rest',
  candidate: undefined,
  served: undefined,
  swapped: false,
  outcome: 'none',
  trust: 'unprovable',
  otherRootsUntil: 0,
  waitsFor: 'nothing',
  tried: false,
  promoted: false,
  stageOnly: false,
  held: false,
  resume: undefined,
  obstacle: undefined,
  unstapled: undefined,
  failures: 0,
  retryAt: 0,
  retired: [],
  since: now,
  history: [],
});

/** The set that `current` names, as far as the record knows. */
export const currentOf = ({
  swapped,
  candidate,
  served,
}: DeliveryRecord): DeliveredSet | undefined => (swapped ? (candidate ?? served) : served);

/** Whether the server is being told of the set before. */
export const isBack = ({ step }: DeliveryRecord): boolean =>
  step === 'driver-back' || step === 'prove-back';

/** What people see of the record. */
export function stateOf(record: DeliveryRecord): TargetState {
  switch (record.step) {
    case 'swap':
    case 'apply':
    case 'verify':
      return 'applying';
    case 'prove':
      return 'proving';
    case 'swap-back':
    case 'driver-back':
    case 'prove-back':
      return 'rolling-back';
    default:
      break;
  }
  if (record.candidate !== undefined && record.waitsFor !== 'nothing' && !record.tried)
    return 'staged';
  return record.outcome === 'none' ? 'waiting' : record.outcome;
}
