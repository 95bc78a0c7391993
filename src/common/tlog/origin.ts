import type { NoteKey } from './note.ts';

/**
 * A log whose database was restored from a backup goes on under a new origin, since a tree without
 * the lost records contradicts the old one. `base` for the first epoch, then `base/1`, `base/2` and
 * so on.
 */
const originOfEpoch = (base: string, epoch: number): string =>
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

/** The same key under its name in an epoch. The ID of an ECDSA key does not depend on its name. */
export const keyInEpoch = (key: NoteKey, epoch: number): NoteKey => ({
  ...key,
  name: originOfEpoch(baseOfOrigin(key.name), epoch),
});
