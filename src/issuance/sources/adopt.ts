import type {
  Authority,
  AuthorityScope,
  RotatedKind,
  RotationOperation,
} from '../../domain/index.ts';
import { openOperation } from '../rotation/index.ts';
import type { ImportedAuthority } from './imported-authority.ts';
import type { SourceDependencies } from './source-dependencies.ts';

/**
 * The ID under which a rotation that is under way waits for an authority of this kind; undefined:
 * none waits.
 */
export async function awaitedId(
  kind: RotatedKind,
  { authorities, rotations }: Pick<SourceDependencies, 'authorities' | 'rotations'>,
): Promise<string | undefined> {
  const operation = (await rotations.list({ underWay: true })).find((each) => each.kind === kind);
  if (operation === undefined) return undefined;
  const successor = await authorities.byId(operation.spec.successorId);
  return successor === undefined || successor.state === 'preparing'
    ? operation.spec.successorId
    : undefined;
}

/**
 * Hands what was imported to rotation, which publishes, has it confirmed and activates. Where a
 * rotation waits for it, that goes on by itself; else one is opened that stops at `prepared` until
 * an operator goes on: to trust a new root, or to change the issuer, is his decision. A new root
 * comes with an operation of its own, and first: nobody can confirm the issuer below it before.
 * Returns what the operator should know.
 */
export async function adopt(
  imported: ImportedAuthority,
  actor: string,
  dependencies: SourceDependencies,
): Promise<readonly string[]> {
  const { rotations, authorities } = dependencies;
  const underWay = await rotations.list({ underWay: true });
  const all = await authorities.list();
  const warnings: string[] = [];
  const hand = async (kind: RotatedKind, authority: Authority): Promise<void> => {
    if (authority.state !== 'prepared') return;
    const present = underWay.find((each) => each.kind === kind);
    if (present?.spec.successorId === authority.id) return;
    if (present !== undefined)
      warnings.push(
        `${kind} authority ${authority.id} waits: a rotation to ${present.spec.successorId} is under way; withdraw that one, then import again`,
      );
    else
      await openOperation(
        {
          kind,
          actor,
          targets: targetsOf(kind, authority.scope, all),
          trigger: 'operator',
          reason: 'imported',
          spec: { successorId: authority.id, stopAfter: 'prepared' },
        },
        { store: { rotations }, clock: dependencies.clock },
      );
  };
  await hand('root', imported.root);
  await hand('issuing', imported.authority);
  return warnings;
}

/**
 * All active ones that sign, or are trusted, for the same: none where it is the first of its
 * region. Roots of others are replaced by a new root like our own.
 */
const targetsOf = (
  kind: RotatedKind,
  scope: AuthorityScope,
  all: readonly Authority[],
): RotationOperation['spec']['targets'] =>
  all
    .filter(
      (each) =>
        each.kind === kind &&
        each.state === 'active' &&
        (kind === 'root' || each.token !== 'external') &&
        JSON.stringify(each.scope) === JSON.stringify(scope),
    )
    .map(({ id }) => id);
