import type { Authority, Proven, RotationOperation } from '../domain/index.ts';
import type { AuthorityStore, RotationStore } from '../store/ports/index.ts';
import type { LivingObject } from './living.ts';
import { notInLog } from './not-in-log.ts';
import type { Objects } from './objects.ts';

/** Records that arrive during a read make it worth another one. */
const maximumReads = 3;

type StandingObjects = Pick<
  Objects,
  'prove' | 'requireRow' | 'newest' | 'living' | 'announceAbsent'
>;

/** The authorities and the rotations under way that the log vouches for. */
export interface Standing {
  /** Oldest first. */
  readonly authorities: readonly Proven<Authority>[];
  readonly operations: readonly Proven<RotationOperation>[];
  /**
   * What the log has, and whose row was altered or taken away. It exists: nothing may be made or
   * ended as if it did not. Each is announced.
   */
  readonly altered: readonly LivingObject[];
}

/**
 * Authorities, as the log vouches for them. Whoever acts because there is none must not take an
 * altered row for that: such a look is refused.
 */
export interface LedgerAuthorities extends AuthorityStore {
  /**
   * @throws PkiError OBJECT_NOT_IN_LOG if the row of an authority (of this kind) that has not ended
   *   was altered or taken away
   */
  list(filter?: Parameters<AuthorityStore['list']>[0]): Promise<readonly Authority[]>;
  /** @throws PkiError OBJECT_NOT_IN_LOG if the row was altered or taken away */
  byId(id: string, signal?: AbortSignal): Promise<Authority | undefined>;
  /** The rows, which prove nothing: for those who compare them themselves. */
  rows(filter?: Parameters<AuthorityStore['list']>[0]): Promise<readonly Authority[]>;
}

export const ledgerAuthorities = (
  rows: AuthorityStore,
  objects: StandingObjects,
  standing: () => Promise<Standing>,
): LedgerAuthorities => ({
  ...rows,
  rows: (filter) => rows.list(filter),
  list: async ({ kind, states } = {}) => {
    const { authorities, altered } = await standing();
    const missing = altered.find(
      (each) => each.object === 'authority' && (kind === undefined || each.kind === kind),
    );
    if (missing !== undefined) throw notInLog(missing.object, missing.id);
    return authorities.filter(
      (authority) =>
        (kind === undefined || authority.kind === kind) &&
        (states === undefined || states.includes(authority.state)),
    );
  },
  byId: async (id, signal) => {
    const row = await rows.byId(id, signal);
    return objects.requireRow('authority', id, row);
  },
});

export async function standingOf(
  rows: {
    readonly authorities: Pick<AuthorityStore, 'list'>;
    readonly rotations: Pick<RotationStore, 'list'>;
  },
  objects: StandingObjects,
): Promise<Standing> {
  const version = (): number => objects.newest('authority') + objects.newest('rotation');
  for (let reads = 1; ; reads += 1) {
    const before = version();
    const [authorityRows, operationRows] = await Promise.all([
      rows.authorities.list(),
      rows.rotations.list({ underWay: true }),
    ]);
    const changed = version() !== before;
    if (changed && reads < maximumReads) continue;
    const authorities = authorityRows.flatMap((row) => objects.prove('authority', row) ?? []);
    const operations = operationRows.flatMap((row) => objects.prove('rotation', row) ?? []);
    const proven = {
      authority: new Set(authorities.map(({ id }) => id)),
      rotation: new Set(operations.map(({ id }) => id)),
    };
    const altered = objects.living().filter(({ object, id }) => !proven[object].has(id));
    // a new object has no row in an older read
    if (!changed) for (const { object, id } of altered) objects.announceAbsent(object, id);
    return { authorities, operations, altered };
  }
}
