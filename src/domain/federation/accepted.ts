import type { LoggedObject } from '../audit.ts';

/** What the log states of the bundle that was accepted last: enough to judge the next one. */
export interface AcceptedBundle {
  readonly trustDomain: string;
  readonly relationshipId: string;
  readonly sequence: number;
  readonly receivedAt: number;
  /** SHA-256 (hex) of each root. */
  readonly roots: readonly string[];
  /** Key IDs. */
  readonly jwtKeys: readonly string[];
  /** How many roots of its document were left out. Absent: none. */
  readonly leftOut?: number;
  /** The last bundle of this relationship that lacked keys of the one before. */
  readonly shrunk: ShrunkBundle | undefined;
}

export interface ShrunkBundle {
  readonly at: number;
  readonly sequence: number;
  /** SHA-256 (hex) of roots. */
  readonly lostRoots: readonly string[];
  /** Key IDs. */
  readonly lostJwtKeys: readonly string[];
}

/**
 * Reads a record of the kind `federation.bundle-accepted`. `before`: what the record before stated.
 * Undefined: the record states too little; releases before wrote such ones.
 */
export function loggedAccepted(
  { id: trustDomain, detail }: Pick<LoggedObject, 'id' | 'detail'>,
  before: AcceptedBundle | undefined,
): AcceptedBundle | undefined {
  const { relationship, sequence, receivedAt, leftOut } = detail;
  if (
    typeof relationship !== 'string' ||
    typeof sequence !== 'number' ||
    typeof receivedAt !== 'number'
  )
    return undefined;
  const texts = (name: string): readonly string[] => (detail[name] ?? []) as readonly string[];
  const [lostRoots, lostJwtKeys] = [texts('lostRoots'), texts('lostJwtKeys')];
  return {
    ...{ trustDomain, relationshipId: relationship, sequence, receivedAt },
    ...{ roots: texts('roots'), jwtKeys: texts('jwtKeys') },
    ...(typeof leftOut === 'number' ? { leftOut } : {}),
    shrunk:
      lostRoots.length + lostJwtKeys.length > 0
        ? { at: receivedAt, sequence, lostRoots, lostJwtKeys }
        : before?.relationshipId === relationship
          ? before.shrunk
          : undefined,
  };
}
