import { hasEnded, isIssuingKind, rootKindAbove, type Authority } from '../authority.ts';
import type { NodeHandshakes } from './canary.ts';
import type { ClockStanding } from './clock.ts';
import type { Confirmation } from './confirmation.ts';
import type {
  AlteredRow,
  AuthorityFacts,
  RenewalFacts,
  RotatedKind,
  RotationAction,
  RotationNote,
  RotationOperation,
  RotationPolicy,
} from './types.ts';

export interface DecisionInput {
  readonly authorities: readonly AuthorityFacts[];
  /** By ID, for authorities in state `published`. */
  readonly confirmations: ReadonlyMap<string, Confirmation>;
  /** What the log has and the rows do not show. Default: none. */
  readonly altered?: readonly AlteredRow[];
  /** The running operations. */
  readonly operations: readonly RotationOperation[];
  /** By authority ID, while it signs for a part only. */
  readonly handshakes: ReadonlyMap<string, readonly NodeHandshakes[]>;
  /** Facts of issuance, likewise. */
  readonly renewals?: ReadonlyMap<string, RenewalFacts>;
  readonly policy: RotationPolicy;
  readonly now: number;
  /** Unless the clock is believed, every decision that rests on elapsed time waits. */
  readonly clock: ClockStanding;
  /** Whether an operator needs approvals to rotate. */
  readonly dualControl: boolean;
  /** The time since which the issuing token has not answered, Unix seconds. Absent: it answers. */
  readonly issuingTokenLostAt?: number | undefined;
}

export interface Decision {
  readonly actions: readonly RotationAction[];
  readonly notes: readonly RotationNote[];
}

/** A decision in progress. `decide` owns it. Each part reads the input and adds its results. */
export interface Turn {
  readonly input: DecisionInput;
  readonly byId: ReadonlyMap<string, AuthorityFacts>;
  readonly actions: RotationAction[];
  readonly notes: RotationNote[];
}

/**
 * The root that signs a new authority of this kind: the named one, or the newest active root whose
 * key is ours and that has not ended. Undefined also for kinds that no root signs.
 */
export function parentOf(
  kind: RotatedKind,
  parentId: string | null,
  { authorities, now }: Pick<DecisionInput, 'authorities' | 'now'>,
): Authority | undefined {
  if (!isIssuingKind(kind)) return undefined;
  const rootKind = rootKindAbove(kind);
  const roots = authorities
    .map(({ authority }) => authority)
    .filter(
      (authority) =>
        authority.kind === rootKind &&
        authority.state === 'active' &&
        authority.token !== 'external' &&
        !hasEnded(authority, now),
    );
  return parentId === null ? roots.at(-1) : roots.find(({ id }) => id === parentId);
}
