import type { Clock, Random } from '../../src/common/runtime/index.ts';
import type { Identity } from '../ports/entries.ts';
import type { DeliveryContext } from './delivery-event.ts';
import type { DeliveredSet, DeliveryRecord } from './delivery-record.ts';
import type { FileTarget } from './target.ts';

/** What a set is compared with. */
export interface DeliveryWorld {
  /** Unix seconds. */
  readonly now: number;
  /** Hex. Undefined: no bundle yet. */
  readonly authoritySetDigest: string | undefined;
  /** Of the CRLs, hex. Undefined: the sets of this target have no CRLs. */
  readonly crlsDigest: string | undefined;
  /** Of the files of foreign trust domains, hex. Empty: the sets of this target have none. */
  readonly federatedDigest: string;
  /** Undefined: no entry gives one now. */
  readonly identity: Identity | undefined;
  /**
   * The tainted authorities by ID, and revoked certificates by serial, with the seconds in which
   * their leaves, or they themselves, are to be replaced.
   */
  readonly tainted: ReadonlyMap<string, number>;
}

/** Why a new set is wanted, and within which time (seconds). 0: at once. */
export interface Want {
  readonly reason:
    | 'none yet'
    | 'life'
    | 'roots'
    | 'entry'
    | 'taint'
    | 'revoked'
    | 'crls'
    | 'ending';
  readonly spreadSeconds: number;
}

/** The agents of a mesh see a change of the roots at the same moment. */
const maximumRootsSpreadSeconds = 30;
const maximumCrlsSpreadSeconds = 600;
const entrySpreadSeconds = 2;
/** The rest of the life from which on a set that is served is about to end. */
const endingShare = 0.25;

const lifeOf = ({ notBefore, notAfter }: DeliveredSet): number => notAfter - notBefore;

/** From then on (Unix seconds) the set is about to end. */
export const endingAt = (set: DeliveredSet): number =>
  set.endsAt - Math.round(lifeOf(set) * endingShare);

/** Pure. Undefined: what is there is good. */
export function wanted(record: DeliveryRecord, world: DeliveryWorld): Want | undefined {
  const { served, candidate, held } = record;
  const { now, identity } = world;
  // also where an operator took it back: others may have its key
  const replaced = world.tainted.get((candidate ?? served)?.serial ?? '');
  if (replaced !== undefined) return { reason: 'revoked', spreadSeconds: replaced };
  // what an operator took back stays so until it is about to end
  if (held && served !== undefined)
    return now >= endingAt(served) ? { reason: 'ending', spreadSeconds: 0 } : undefined;
  const newest = candidate ?? served;
  if (newest === undefined) return { reason: 'none yet', spreadSeconds: 0 };
  const life = lifeOf(newest);
  const window = world.tainted.get(newest.authorityId);
  if (window !== undefined) return { reason: 'taint', spreadSeconds: window };
  if (now >= newest.renewAt) return { reason: 'life', spreadSeconds: 0 };
  // the roots and CRLs of the mesh are no matter of a set for names
  const ofMesh = newest.forNames === undefined;
  if (
    (ofMesh &&
      world.authoritySetDigest !== undefined &&
      world.authoritySetDigest !== newest.authoritySetDigest) ||
    world.federatedDigest !== newest.federatedDigest
  )
    return { reason: 'roots', spreadSeconds: Math.min(maximumRootsSpreadSeconds, life / 60) };
  if (
    identity !== undefined &&
    (identity.entry.id !== newest.entryId ||
      identity.entry.revision !== newest.entryRevision ||
      identity.spiffeId.toString() !== newest.spiffeId)
  )
    return { reason: 'entry', spreadSeconds: entrySpreadSeconds };
  if (ofMesh && world.crlsDigest !== undefined && world.crlsDigest !== newest.crlsDigest)
    return { reason: 'crls', spreadSeconds: Math.min(maximumCrlsSpreadSeconds, life / 10) };
  return undefined;
}

/** How long to wait after this number of failures in a row: growing, but never past the end. */
export function retryDelaySeconds(
  failures: number,
  random: number,
  { now, served }: { readonly now: number; readonly served: DeliveredSet | undefined },
): number {
  const left = served === undefined ? Infinity : served.endsAt - now;
  const life = served === undefined ? Infinity : lifeOf(served);
  const cap = Math.max(1, Math.min(3600, life / 20, left > 0 ? left / 4 : 60));
  const ceiling = Math.min(cap, 10 * 2 ** Math.min(failures - 1, 20));
  return Math.max(1, Math.round(ceiling * (0.5 + 0.5 * random)));
}

/** What a decision rests on beside the record, now. */
export function contextOf(
  {
    target,
    clock,
    random,
  }: { readonly target: FileTarget; readonly clock: Clock; readonly random: Random },
  served: DeliveredSet | undefined,
): DeliveryContext {
  const now = clock.now();
  return {
    now,
    promote: target.promote,
    inRollout: target.rollout !== undefined,
    hasListeners: target.listeners.length > 0,
    graceSeconds: target.graceSeconds,
    retryDelaySeconds: (failures) => retryDelaySeconds(failures, random.uniform(), { now, served }),
  };
}
