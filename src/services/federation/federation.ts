import type {
  FederationRelationship,
  ForeignBundle,
  RelationshipInput,
} from '../../domain/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { PollState } from './poll-state.ts';

/** A relationship as operators see it. */
export interface FederationView {
  readonly relationship: FederationRelationship;
  readonly bundle: ForeignBundle | undefined;
  /** How many roots of its document were left out: nobody here knows their kind of key. */
  readonly leftOut: number;
  /** Undefined: this process does not poll. */
  readonly polls: PollState | undefined;
  readonly everySeconds: number;
  readonly stale: boolean;
}

export interface RelationshipDraft extends RelationshipInput {
  /** The bundle document that an operator brings. Empty: none. */
  readonly bundleDocument: Buffer;
}

export interface Federation {
  /**
   * Creates the trust in a foreign trust domain. INVALID_REQUEST, TRUST_DOMAIN_INVALID,
   * ALREADY_EXISTS, FEDERATION_BUNDLE_INVALID.
   */
  create(
    caller: OperatorCaller,
    draft: RelationshipDraft,
    signal?: AbortSignal,
  ): Promise<FederationView>;
  /** By trust domain. */
  list(caller: OperatorCaller): Promise<readonly FederationView[]>;
  /** NOT_FOUND. */
  get(caller: OperatorCaller, trustDomain: string): Promise<FederationView>;
  /** Polls the endpoint now. NOT_FOUND, FEDERATION_*. */
  refresh(caller: OperatorCaller, trustDomain: string): Promise<FederationView>;
  /** Takes the trust away, and the bundle from every agent. NOT_FOUND. */
  delete(caller: OperatorCaller, trustDomain: string, reason: string): Promise<void>;
}
