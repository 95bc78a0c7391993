import { crossOf, hasEnded, hasOwnKey, type Authority } from '../authority.ts';
import type { Turn } from './turn.ts';
import type { RotationOperation } from './types.ts';

/**
 * The active root of names that still has to certify its successor. Relying parties of names never
 * confirm, so that servers send the cross-certificate to those who have only the earlier root. A
 * root that is replaced because it is tainted certifies nothing.
 */
export function missingCross(
  { spec }: RotationOperation,
  successor: Authority,
  { input, byId }: Turn,
): Authority | undefined {
  if (successor.kind !== 'names-root' || spec.targetsBecome === 'tainted') return undefined;
  if (input.clock !== 'believed') return undefined;
  const present = new Set(
    crossOf(
      successor,
      input.authorities.map(({ authority }) => authority),
    ).map(({ parentId }) => parentId),
  );
  return spec.targets
    .flatMap((id) => byId.get(id)?.authority ?? [])
    .find(
      (target) =>
        target.state === 'active' &&
        hasOwnKey(target) &&
        !hasEnded(target, input.now) &&
        !present.has(target.id),
    );
}
