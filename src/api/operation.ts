import type { Json } from '../common/approval/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import type { MethodName, MethodType, ServiceName, ServiceTypes } from '../common/wire/index.ts';
import type { ApprovalSights } from '../services/approvals/index.ts';
import type { Caller, CallerClass, OperatorCaller } from '../services/callers/caller.ts';
import type { Services } from '../services/services.ts';

/**
 * The classes of callers that an operation admits. The class comes from the inventory record of the
 * caller's certificate, or from the kernel on the local socket. The services check the caller's own
 * rights.
 */
export const admissions = {
  /** Nodes without an identity. */
  strangers: ['anonymous'],
  agents: ['agent'],
  /** Control planes that sign inside their delegation. */
  delegates: ['delegate'],
  /** Holders of an SVID, with or without a delegation. The service checks the entry behind it. */
  workloads: ['workload', 'delegate'],
  operators: ['local', 'admin'],
} as const satisfies Readonly<Record<string, readonly CallerClass[]>>;

export type Admission = keyof typeof admissions;

/** The callers that an admission admits. */
export type Admitted<A extends Admission> = Extract<
  Caller,
  { readonly class: (typeof admissions)[A][number] }
>;

/** A call as a pending operation states it. */
export interface StatedCall {
  readonly method: string;
  readonly request: Json;
}

/** The dependencies of rows: the services, and parts of the table itself. */
export interface OperationDependencies {
  readonly services: Services;
  readonly clock: Clock;
  /** What a pending operation would do, shown with the rights of the reader. */
  readonly preview: (stated: StatedCall, caller: OperatorCaller) => Promise<readonly string[]>;
}

/** Dual control by content: a call waits for approval if its request matters. */
export interface ByContent<Request> {
  /** For the reference: completes "waits for approval when …". */
  readonly when: string;
  readonly matters: (request: Request, sights: ApprovalSights) => boolean | Promise<boolean>;
}

/**
 * Whether a call waits for approval while dual control is on. `never` is for operations that only
 * read, that only take rights away (an emergency must not wait: ban, evict, revoke a delegation),
 * or that are part of approving.
 */
export type DualControlRule<Request> = 'always' | 'never' | ByContent<Request>;

/** A method of administration with one request and one answer. */
export interface AdminOperation<Request, Response> {
  readonly admits: 'operators';
  readonly dualControl: DualControlRule<Request>;
  /** For a call that waits for agents: the seconds it may take where unary calls have fewer. */
  readonly patienceSeconds?: number;
  /** What the call would change, for its approvers, with the rights of the reader. */
  readonly preview?: (
    dependencies: OperationDependencies,
    caller: OperatorCaller,
    request: Request,
  ) => Promise<readonly string[]>;
  /**
   * `signal`: aborted when no caller waits for the answer any more. An operation whose first write
   * has not begun by then writes nothing. Operations that only take rights or trust away (ban,
   * evict, revoke, taint) are done in any case.
   */
  readonly run: (
    dependencies: OperationDependencies,
    caller: OperatorCaller,
    request: Request,
    signal: AbortSignal,
  ) => Promise<Response>;
}

/** A method with one request and many answers. A stream can not wait for approval. */
export interface AdminStream<Request, Response> {
  readonly admits: 'operators';
  readonly dualControl: 'never';
  /** The answers in order, until the end or until `signal` is aborted. */
  readonly open: (
    dependencies: OperationDependencies,
    caller: OperatorCaller,
    request: Request,
    signal: AbortSignal,
  ) => Promise<AsyncIterable<Response>>;
}

/** A method of agents, nodes or control planes with one request and one answer. */
export type PeerOperation<Request, Response> = {
  [A in Exclude<Admission, 'operators'>]: {
    readonly admits: A;
    readonly run: (
      dependencies: OperationDependencies,
      caller: Admitted<A>,
      request: Request,
      signal: AbortSignal,
    ) => Promise<Response>;
  };
}[Exclude<Admission, 'operators'>];

/**
 * A dialogue, in which both sides stream. The table admits its callers; the server has its handler.
 */
export interface PeerExchange {
  readonly admits: Exclude<Admission, 'operators'>;
}

type RowOf<S extends ServiceName, M extends MethodType> = S extends `meshca.admin.v1.${string}`
  ? M['kind'] extends 'unary'
    ? AdminOperation<M['requestRead'], M['responseSent']>
    : M['kind'] extends 'stream'
      ? AdminStream<M['requestRead'], M['responseSent']>
      : never
  : M['kind'] extends 'unary'
    ? PeerOperation<M['requestRead'], M['responseSent']>
    : M['kind'] extends 'exchange'
      ? PeerExchange
      : never;

/** The rows of one service: exactly one for each of its methods. */
export type OperationsOf<S extends ServiceName> = {
  readonly [M in MethodName<S>]: ServiceTypes[S][M] extends infer T extends MethodType
    ? RowOf<S, T>
    : never;
};
