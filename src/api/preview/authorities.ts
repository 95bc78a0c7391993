import type { OperatorCaller } from '../../services/callers/caller.ts';
import { authorityMessage } from '../messages/views.ts';
import type { OperationDependencies } from '../operation.ts';
import { isoTime } from './entries.ts';

/** The present state of the authorities that an operation concerns. */
export async function authorityLines(
  { services }: OperationDependencies,
  caller: OperatorCaller,
  concerned: (authority: { readonly id: string; readonly kind: string }) => boolean,
): Promise<readonly string[]> {
  const views = await services.authorities.list(caller, {});
  return views
    .filter(({ authority }) => concerned(authority))
    .map((view) => {
      const { id, kind, state, notAfter, liveCertificates } = authorityMessage(view);
      return `now: ${kind} ${id} is ${state}, ends ${isoTime(Number(notAfter))}, ${liveCertificates} live certificates`;
    });
}

type ShareClass = 'proven' | 'inferred' | 'unprovable';

/** The proof that an activation waits for. */
export const proofText = (
  force: boolean,
  shares: Readonly<Record<ShareClass, number>> | null,
): string => {
  if (force) return 'WITHOUT waiting for proof (force)';
  const consumers =
    shares === null
      ? 'all consumers'
      : (['proven', 'inferred', 'unprovable'] as const)
          .map((part) => `${shares[part] * 100} % ${part}`)
          .join(', ');
  return `when ${consumers} have confirmed`;
};

/** The place where a scoped authority signs; empty for one that signs everywhere. */
export function scopeLines(replica: string, region: string): readonly string[] {
  if (replica === '' && region === '') return [];
  const place = [
    replica === '' ? '' : `replica ${JSON.stringify(replica)}`,
    region === '' ? '' : `region ${JSON.stringify(region)}`,
  ]
    .filter((text) => text !== '')
    .join(' in ');
  return [
    `only for ${place}: replaces the authority that signs only there, or signs in addition ` +
      'to those that sign everywhere',
  ];
}
