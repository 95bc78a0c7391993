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
 * The ID of the authority that a rotation under way waits for; undefined if none waits for this
 * kind.
 */
export async function awaitedId(
  kind: RotatedKind,
  { authorities, rotations }: Pick<SourceDependencies, 'authorities' | 'rotations'>,
): Promise<string | undefined> {
  const operation = (await rotations.list({ underWay: true })).find(
    (underWay) => underWay.kind === kind,
  );
  if (operation === undefined) return undefined;
  const successor = await authorities.byId(operation.spec.successorId);
  return successor === undefined || successor.state === 'preparing'
    ? operation.spec.successorId
    : undefined;
}

/**
 * Hands an imported authority to rotation, which publishes it, waits for confirmations and
 * activates it. A rotation that waits for the authority continues by itself. Otherwise an operation
 * is opened that stops at `prepared`: an operator decides whether to trust a new root or to change
 * the issuer. A new root gets its own operation, which comes first, because nobody can confirm an
 * issuer before its root.
 *
 * Returns notes for the operator.
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
    const present = underWay.find((operation) => operation.kind === kind);
    if (present?.spec.successorId === authority.id) return;
    if (present !== undefined)
      warnings.push(
        `${kind} authority ${authority.id} waits, because a rotation to ` +
          `${present.spec.successorId} is under way: withdraw that authority, then import ` +
          'again',
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
 * The active authorities with the same purpose and scope. Empty for the first authority of a
 * region. Roots of other CAs are replaced by a new root like our own.
 */
const targetsOf = (
  kind: RotatedKind,
  scope: AuthorityScope,
  all: readonly Authority[],
): RotationOperation['spec']['targets'] =>
  all
    .filter(
      (authority) =>
        authority.kind === kind &&
        authority.state === 'active' &&
        (kind === 'root' || authority.token !== 'external') &&
        JSON.stringify(authority.scope) === JSON.stringify(scope),
    )
    .map(({ id }) => id);
