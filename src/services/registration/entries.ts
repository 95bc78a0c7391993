import type { PkiError } from '../../common/errors/index.ts';
import type {
  Agent,
  AgentState,
  ConsumerRecord,
  Delegation,
  EntryDraft,
  JoinToken,
  RegistrationEntry,
  Role,
} from '../../domain/index.ts';
import type { EntryChange, EntryFilter, Page, PageRequest } from '../../store/ports/index.ts';
import type { AgentDouble } from '../agents/agent-doubles.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export type EntryResult =
  | { readonly ok: true; readonly id: string; readonly entry: RegistrationEntry }
  | { readonly ok: false; readonly id: string; readonly error: PkiError };

/**
 * An entry as its creator states it. With an empty `id` the server assigns one. `isTemplate` is
 * derived. Selectors may come in any order.
 */
export type EntryInput = Omit<EntryDraft, 'isTemplate'>;

export interface Entries {
  /** Results per item; up to 500 items. */
  create(caller: OperatorCaller, inputs: readonly EntryInput[]): Promise<readonly EntryResult[]>;
  get(caller: OperatorCaller, id: string): Promise<RegistrationEntry>;
  /** Only entries that the caller's roles may read. A page may hold fewer than `size`. */
  list(
    caller: OperatorCaller,
    filter: EntryFilter,
    page: PageRequest,
  ): Promise<Page<RegistrationEntry>>;
  /**
   * Replaces the whole entry. A `revision` other than 0 must be the present one (else CONFLICT).
   */
  update(caller: OperatorCaller, input: EntryInput, revision: number): Promise<RegistrationEntry>;
  delete(caller: OperatorCaller, ids: readonly string[]): Promise<readonly EntryResult[]>;
  /**
   * All or nothing. Entries are matched by ID; those without an ID by SPIFFE ID, parent and
   * selectors. `prune` deletes all other entries that the caller may write.
   */
  apply(
    caller: OperatorCaller,
    inputs: readonly EntryInput[],
    options: { readonly prune: boolean; readonly dryRun: boolean },
  ): Promise<{
    readonly changes: readonly EntryChange[];
    readonly unchanged: number;
    readonly applied: boolean;
  }>;
}

export interface AgentView extends Agent {
  readonly connected: boolean;
  /** Another process was seen under its identity, and no operator has decided since. */
  readonly doubled: AgentDouble | undefined;
}

export interface AgentDetail {
  readonly agent: AgentView;
  readonly parentIds: readonly string[];
  /** The first 500 of the blast radius. */
  readonly obtainable: readonly RegistrationEntry[];
  readonly obtainableTotal: number;
  readonly liveCertificates: number;
  readonly lastNotAfter: number;
  readonly consumers: readonly ConsumerRecord[];
}

export interface Agents {
  list(
    caller: OperatorCaller,
    filter: { readonly state?: AgentState },
    page: PageRequest,
  ): Promise<Page<AgentView>>;
  get(caller: OperatorCaller, spiffeId: string): Promise<AgentDetail>;
  /** On return the ban is durable and the agent's sessions are closed. */
  ban(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView>;
  evict(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView>;
  /**
   * Of two processes under one identity the named instance goes on: it renews at once, and copies of
   * its certificate count no more. An empty ID means the one that has the session.
   *
   * @throws PkiError NOT_FOUND, INVALID_REQUEST
   */
  keep(
    caller: OperatorCaller,
    spiffeId: string,
    choice: { readonly instanceId: string; readonly reason: string },
  ): Promise<AgentView>;
}

export interface Tokens {
  /** `token` is the secret. Only this answer contains it. `ttlSeconds` 0: the default. */
  create(
    caller: OperatorCaller,
    request: {
      readonly agentName: string;
      readonly ttlSeconds: number;
      readonly nodeSelectors: readonly string[];
    },
  ): Promise<{
    readonly token: string;
    readonly record: JoinToken;
    /**
     * SHA-256 (hex) of the root that the server shows now, then of the roots that it may show while
     * the token is valid.
     */
    readonly rootFingerprints: readonly string[];
    /** SHA-256 (hex) of the public keys of the issuing authorities that may stand above the server meanwhile. */
    readonly issuerFingerprints: readonly string[];
  }>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<JoinToken>>;
  /**
   * @throws PkiError NOT_FOUND; CONFLICT if the token led to a certificate, was revoked, or has
   *   expired
   */
  revoke(caller: OperatorCaller, id: string, reason: string): Promise<JoinToken>;
}

export interface DelegationInput {
  readonly clientId: string;
  readonly patterns: readonly string[];
  readonly maxTtlSeconds: number;
  /** Empty: all. */
  readonly keyTypes: readonly string[];
  readonly dnsPatterns: readonly string[];
  /** Empty: short-lived. */
  readonly profile: string;
  readonly expiresAt: number;
}

export interface Delegations {
  create(caller: OperatorCaller, input: DelegationInput): Promise<Delegation>;
  list(
    caller: OperatorCaller,
    filter: { readonly includeRevoked: boolean },
    page: PageRequest,
  ): Promise<Page<Delegation>>;
  revoke(caller: OperatorCaller, id: string, reason: string): Promise<Delegation>;
}

export interface Roles {
  put(
    caller: OperatorCaller,
    role: {
      readonly name: string;
      readonly verbs: readonly string[];
      readonly prefixes: readonly string[];
      readonly members: readonly string[];
    },
  ): Promise<Role>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<Role>>;
  delete(caller: OperatorCaller, name: string): Promise<Role>;
}
