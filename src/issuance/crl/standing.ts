import {
  crlState,
  hasOwnKey,
  worstCrlState,
  type Authority,
  type CrlStanding,
} from '../../domain/index.ts';
import { unlistedBelow } from './import.ts';
import type { KeptCrl } from './shelf.ts';

/**
 * How the CRLs of one authority that consumers need stand: of several the state of the worst, and
 * the end of the first that ends. undefined in `needed`: a missing one.
 */
export function standingOf(
  authority: Authority,
  needed: readonly (KeptCrl | undefined)[],
  { all, now }: { readonly all: readonly Authority[]; readonly now: number },
): CrlStanding {
  const { id, notAfter } = authority;
  const first = needed.reduce(earlier, needed[0]);
  return {
    authorityId: id,
    source: hasOwnKey(authority) ? 'own' : 'external',
    state: worstCrlState(needed.map((kept) => crlState(kept?.crl, notAfter, now))),
    thisUpdate: first?.crl.thisUpdate ?? 0,
    nextUpdate: first?.crl.nextUpdate ?? 0,
    number: first === undefined ? '' : String(first.parsed?.number ?? first.crl.number),
    shards: needed.filter((kept) => kept !== undefined && kept.crl.shard !== 0).length,
    unlisted:
      first?.parsed === undefined || hasOwnKey(authority)
        ? []
        : unlistedBelow(authority, first.parsed, all, now).map((below) => below.id),
  };
}

/** A missing one comes first. */
const earlier = (one: KeptCrl | undefined, other: KeptCrl | undefined): KeptCrl | undefined =>
  one === undefined || other === undefined
    ? undefined
    : one.crl.nextUpdate <= other.crl.nextUpdate
      ? one
      : other;
