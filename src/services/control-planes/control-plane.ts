import type { z } from 'zod';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { ForeignService } from '../../common/wire/index.ts';
import type { ReservedDnsName } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { Issuer } from '../../issuance/issuer.ts';
import type { Ledger } from '../../ledger/index.ts';
import type { NodeSetIndex } from '../agents/node-set-index.ts';
import type { Caller, CallerClass } from '../callers/caller.ts';
import type { Refusals } from '../callers/callers.ts';
import type { RepeatMemory } from '../issuing/repeat-memory.ts';
import type { ServiceSettings } from '../settings.ts';
import type { TokenVerifier } from '../tokens/token-verifier.ts';

/** A call of a foreign method, after the guard has found its caller. */
export interface ControlPlaneCall {
  readonly caller: Caller;
  /** Network address, for logs. */
  readonly peer: string;
  readonly requestId: string;
  /** The first value of a header. Undefined: it is absent, or binary. */
  readonly header: (name: string) => string | undefined;
  /** Aborted when no caller waits for the answer any more. */
  readonly signal: AbortSignal;
}

/**
 * Answers one unary method. Request and answer have the form of the contract's loader.
 *
 * @throws PkiError; a refusal of an identified caller is recorded before
 */
export type ControlPlaneMethod = (call: ControlPlaneCall, request: object) => Promise<object>;

/** The API of a control plane that this server answers in its place. */
export interface ControlPlane {
  /** By method path. Every method of the contract has one. */
  readonly methods: Readonly<Record<string, ControlPlaneMethod>>;
}

/** What a control plane may use, beside its own configuration. */
export interface ControlPlaneDependencies {
  readonly store: Ledger;
  readonly nodeSets: Pick<NodeSetIndex, 'parents'>;
  readonly issuer: Issuer;
  readonly authorities: Authorities;
  readonly refusals: Refusals;
  readonly verifier: TokenVerifier;
  readonly repeats: RepeatMemory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: ServiceSettings;
}

/**
 * A kind of control plane whose clients this server serves. The core owns the port, the certificate
 * of the front, the reserved names, the guard and the counting of calls. A type states its contract
 * and answers its methods.
 */
export interface ControlPlaneType<Configuration = unknown> {
  /** Matches `[a-z][a-z0-9-]*`: the key in `controlPlanes`, and the name in logs and metrics. */
  readonly type: string;
  /** The schema of `controlPlanes.<type>`, which is absent unless the type is configured. */
  readonly configuration: z.ZodType<Configuration>;
  readonly contract: () => ForeignService;
  /** The classes of callers that the guard admits. */
  readonly admits: readonly CallerClass[];
  /** The names that its clients dial. The front's certificate has them, and no entry may. */
  dnsNames(configuration: Configuration): readonly string[];
  /** What only this type gives, beside `dnsNames`. Absent: nothing. */
  reserved?(configuration: Configuration): readonly ReservedDnsName[];
  /** Token issuers (by name) whose processes get identities by delegation. Absent: none. */
  delegatedIssuers?(configuration: Configuration): readonly string[];
  /** @throws PkiError CONFIG_INVALID */
  create(configuration: Configuration, dependencies: ControlPlaneDependencies): ControlPlane;
}

/** Checks the type against its own configuration type, then erases that type. */
export const controlPlaneType = <Configuration>(
  type: ControlPlaneType<Configuration>,
): ControlPlaneType => ({
  ...type,
  dnsNames: (configuration) => type.dnsNames(configuration as Configuration),
  reserved: (configuration) => type.reserved?.(configuration as Configuration) ?? [],
  delegatedIssuers: (configuration) =>
    type.delegatedIssuers?.(configuration as Configuration) ?? [],
  create: (configuration, dependencies) =>
    type.create(configuration as Configuration, dependencies),
});
