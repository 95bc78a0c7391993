import { signsCertificates, isNamesAuthority, type AuthorityKind } from '../authority.ts';
import type { Turn } from './turn.ts';
import type { AlteredRow } from './types.ts';

/**
 * The altered row because of which nothing of this kind may be begun, activated or ended: another
 * authority could be made in the place of one that exists, or one ended that others rest on. Roots
 * and the authorities below them rest on each other.
 */
export const hindrance = (
  altered: readonly AlteredRow[],
  kind: AuthorityKind,
): AlteredRow | undefined =>
  altered.find(
    (row) =>
      row.kind === kind ||
      (signsCertificates(row.kind) &&
        signsCertificates(kind) &&
        isNamesAuthority(row.kind) === isNamesAuthority(kind)),
  );

/**
 * Notes every altered row. Returns whether a kind goes on. What takes trust away goes on in any
 * case: it rests on what is there.
 */
export function noteAltered({ input, notes }: Turn): (kind: AuthorityKind) => boolean {
  const altered = input.altered ?? [];
  for (const { object, id: authorityId } of altered)
    notes.push({
      code: object === 'authority' ? 'AUTHORITY_ALTERED' : 'ROTATION_ALTERED',
      authorityId,
      at: 0,
      alert: true,
    });
  return (kind) => hindrance(altered, kind) === undefined;
}
