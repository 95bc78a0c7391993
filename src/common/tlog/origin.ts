import type { NoteKey } from './note.ts';

/**
 * A log whose database was put back from a backup goes on under a new origin: the records that were
 * lost can not be under a tree that leaves them out. `base` for the first epoch, then `base/1`,
 * `base/2` and so on.
 */
export const originOfEpoch = (base: string, epoch: number): string =>
  epoch === 0 ? base : `${base}/${epoch}`;

/** The epoch of an origin of this log, or undefined if it is another's. */
export function epochOfOrigin(base: string, origin: string): number | undefined {
  if (origin === base) return 0;
  const rest = origin.startsWith(`${base}/`) ? origin.slice(base.length + 1) : '';
  return /^[1-9][0-9]{0,8}$/.test(rest) ? Number(rest) : undefined;
}

/** The origin without its epoch. */
export const baseOfOrigin = (origin: string): string =>
  origin.replace(/(\/meshca\/audit)\/[1-9][0-9]{0,8}$/, '$1');

/**
 * The same key under the name that it has in an epoch: an ECDSA key's ID does not depend on its
 * name.
 */
export const keyInEpoch = (key: NoteKey, epoch: number): NoteKey => ({
  ...key,
  name: originOfEpoch(baseOfOrigin(key.name), epoch),
});
