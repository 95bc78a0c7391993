import {
  crlIsDue,
  hasCompleteCrl,
  isIssuingKind,
  maySign,
  type Authority,
  type CrlShard,
  type StoredCrl,
} from '../../domain/index.ts';
import type { RevokedScope } from '../../ledger/index.ts';
import type { OpenShard } from './shard-allocator.ts';

/** One CRL of one of our authorities. */
export interface CrlUnit {
  readonly authority: Authority;
  /** 0: the complete CRL. */
  readonly shard: number;
  /** The distribution point of a shard; undefined for the complete CRL. */
  readonly url: string | undefined;
  /** The last certificate in it ends then; Infinity: others may come. */
  readonly lastNotAfter: number;
}

/** The complete CRL lists what is on those of the shards as well. */
export const scopeOf = ({
  authority,
  shard,
}: Pick<CrlUnit, 'authority' | 'shard'>): RevokedScope => ({
  authorityId: authority.id,
  shard: shard === 0 ? 'all' : shard,
});

/**
 * The CRLs of an authority: the complete one, those of the shards of its leaves by the log, and
 * those of the shards that are open for leaves.
 */
export function unitsOf(
  authority: Authority,
  {
    logged,
    open,
    urlOf,
  }: {
    readonly logged: readonly CrlShard[];
    readonly open: readonly OpenShard[];
    /** For a shard whose URL is in no record. */
    readonly urlOf: (shard: number) => string | undefined;
  },
): readonly CrlUnit[] {
  const units: CrlUnit[] = [];
  if (hasCompleteCrl(authority))
    units.push({ authority, shard: 0, url: undefined, lastNotAfter: Infinity });
  for (const { shard, url } of open) units.push({ authority, shard, url, lastNotAfter: Infinity });
  for (const { shard, url: recorded, lastNotAfter } of logged) {
    if (open.some((each) => each.shard === shard)) continue;
    const url = recorded === '' ? urlOf(shard) : recorded;
    if (url !== undefined) units.push({ authority, shard, url, lastNotAfter });
  }
  return units;
}

/** Whether leaves of this authority get a shard before the first of them is asked for. */
export const opensInAdvance = ({ kind, state }: Authority): boolean =>
  isIssuingKind(kind) && kind === 'names-issuing' && (state === 'published' || maySign(state));

/**
 * - `urgent`: a revoked certificate is not on the CRL, or there is no CRL.
 * - `due`: half of its life is over, or its last certificate has ended.
 * - `over`: every certificate in it has ended, also by slow clocks, and a later CRL has listed them
 *   (RFC 5280, section 3.3). None is signed any more.
 */
export type CrlNeed = 'urgent' | 'due' | 'none' | 'over';

export function needOf({
  unit: { authority, lastNotAfter },
  stored,
  unlisted,
  ...at
}: {
  readonly unit: CrlUnit;
  readonly stored: Pick<StoredCrl, 'thisUpdate' | 'nextUpdate'> | undefined;
  readonly unlisted: boolean;
  readonly lifeSeconds: number;
  readonly clockSkewSeconds: number;
  readonly now: number;
  /** By a clock that is not believed 0: nothing has ended. */
  readonly validFrom: number;
}): CrlNeed {
  const { lifeSeconds, clockSkewSeconds, now, validFrom } = at;
  if (lastNotAfter + clockSkewSeconds < validFrom) {
    if (stored === undefined) return 'over';
    if (unlisted) return 'urgent';
    return stored.thisUpdate > lastNotAfter ? 'over' : 'due';
  }
  if (stored === undefined || unlisted) return 'urgent';
  const { notAfter } = authority;
  return crlIsDue({ stored, unlisted, lifeSeconds, notAfter, now }) ? 'due' : 'none';
}
