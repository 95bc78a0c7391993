import { hasEnded, type Authority } from '../authority.ts';
import type { NodeHandshakes } from './canary.ts';
import type { ClockStanding } from './clock.ts';
import type { Confirmation } from './confirmation.ts';
import type {
  AuthorityFacts,
  RenewalFacts,
  RotationAction,
  RotationNote,
  RotationOperation,
  RotationPolicy,
} from './types.ts';

export interface DecisionInput {
  readonly authorities: readonly AuthorityFacts[];
  /** By ID, for those in `published`. */
  readonly confirmations: ReadonlyMap<string, Confirmation>;
  /** Running ones. */
  readonly operations: readonly RotationOperation[];
  /** By authority ID, while it signs for a part only. */
  readonly handshakes: ReadonlyMap<string, readonly NodeHandshakes[]>;
  /** The same, of issuance. */
  readonly renewals?: ReadonlyMap<string, RenewalFacts>;
  readonly policy: RotationPolicy;
  readonly now: number;
  /** Unless it is believed, whatever rests on the passing of time waits. */
  readonly clock: ClockStanding;
  /** An operator needs the approval of others to rotate. */
  readonly dualControl: boolean;
  /** Since when the issuing token has not answered, Unix seconds; absent: it answers. */
  readonly issuingTokenLostAt?: number | undefined;
}

export interface Decision {
  readonly actions: readonly RotationAction[];
  readonly notes: readonly RotationNote[];
}

/** A decision in the making. `decide` owns it; each part reads the input and adds what follows. */
export interface Turn {
  readonly input: DecisionInput;
  readonly byId: ReadonlyMap<string, AuthorityFacts>;
  readonly actions: RotationAction[];
  readonly notes: RotationNote[];
}

/**
 * The root that signs a new issuing authority: the named one, or the newest that is active, ours
 * and not past its end.
 */
export function parentOf(
  parentId: string | null,
  { authorities, now }: Pick<DecisionInput, 'authorities' | 'now'>,
): Authority | undefined {
  const roots = authorities
    .map(({ authority }) => authority)
    .filter(
      (authority) =>
        authority.kind === 'root' &&
        authority.state === 'active' &&
        authority.token !== 'external' &&
        !hasEnded(authority, now),
    );
  return parentId === null ? roots.at(-1) : roots.find(({ id }) => id === parentId);
}
