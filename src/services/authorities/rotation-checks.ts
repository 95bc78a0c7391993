import { PkiError, unwrap } from '../../common/errors/index.ts';
import { allShares, type RotatedKind, type RotationSpec, type Shares } from '../../domain/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import type { RotateInput } from '../services.ts';
import { checkText } from '../requests.ts';

const maximumDisregarded = 100;

export function reasonOf(reason: string, needed: boolean): string {
  checkText('reason', reason, 500);
  if (needed && reason.trim() === '')
    throw new PkiError(
      'INVALID_REQUEST',
      'a reason is missing: this act needs one for the audit record',
    );
  return reason;
}

export function sharesOf(shares: Shares | undefined): Shares {
  if (shares === undefined) return allShares;
  for (const [name, share] of Object.entries(shares))
    if (!(share >= 0 && share <= 1))
      throw new PkiError('INVALID_REQUEST', `the share ${name} must be between 0 and 1`);
  return shares;
}

export function canaryOf(
  kind: RotatedKind,
  canary: NonNullable<RotationSpec['canary']>,
): NonNullable<RotationSpec['canary']> {
  if (kind !== 'issuing')
    throw new PkiError(
      'INVALID_REQUEST',
      `a canary is for issuing authorities only: a ${kind} authority can not sign for a part`,
    );
  if (canary.steps.length === 0 || canary.steps.length > 20)
    throw new PkiError('INVALID_REQUEST', 'a canary has 1 to 20 steps');
  for (const { share, selectors } of canary.steps) {
    if (share !== undefined && !(share > 0 && share <= 1))
      throw new PkiError('INVALID_REQUEST', 'the share of a step must be above 0 and at most 1');
    if (share === undefined && (selectors === undefined || selectors.length === 0))
      throw new PkiError('INVALID_REQUEST', 'a step needs a share or selectors');
  }
  return canary;
}

export function scopeOf(
  { kind, canary }: RotateInput,
  scope: NonNullable<RotationSpec['scope']>,
): NonNullable<RotationSpec['scope']> {
  if (kind !== 'issuing')
    throw new PkiError(
      'INVALID_REQUEST',
      `a scope is for issuing authorities only: a ${kind} authority can not be limited to a replica or region`,
    );
  if (canary !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      'a canary signs in every place: it can not be combined with a replica or region',
    );
  return scope;
}

/** The canary of an operation with more agents whose handshake reports do not count. */
export function disregarding(
  { canary }: Pick<RotationSpec, 'canary'>,
  { disregarded, reason }: { readonly disregarded: readonly string[]; readonly reason: string },
): Pick<RotationSpec, 'canary'> {
  if (disregarded.length === 0) return {};
  if (canary === undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      'this rotation has no canary, so that no handshake reports are judged',
      { next: 'Continue it without naming agents to disregard.' },
    );
  reasonOf(reason, true);
  for (const agent of disregarded) unwrap(SpiffeId.parse(agent));
  const all = [...new Set([...(canary.disregarded ?? []), ...disregarded])];
  if (all.length > maximumDisregarded)
    throw new PkiError(
      'INVALID_REQUEST',
      `a canary disregards at most ${maximumDisregarded} agents, and not ${all.length}`,
      { next: 'Mend the nodes, or taint the authority.' },
    );
  return { canary: { ...canary, disregarded: all } };
}
