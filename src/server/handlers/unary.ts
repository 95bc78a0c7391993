import type { handleUnaryCall, ServerErrorResponse } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';
import type {
  AgentCaller,
  DelegateCaller,
  OperatorCaller,
  WorkloadCaller,
} from '../../services/caller.ts';
import type { CallContext, Guard } from '../guard.ts';

/**
 * A unary handler from a function that returns its answer or throws a PkiError; the guard maps the
 * error.
 */
export function unary<Request, Response>(
  guard: Guard,
  handle: (context: CallContext, request: Request) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    handle(guard.contextOf(call), call.request).then(
      (response) => callback(null, response),
      // the guard, which called this handler, turns the error into a status
      (thrown: unknown) => callback(PkiError.from(thrown) as Error as ServerErrorResponse),
    );
  };
}

/**
 * The caller as the class that the table of admission has let through; anything else is a fault of
 * that table.
 */
export function agentOf({ caller }: CallContext): AgentCaller {
  if (caller.class !== 'agent') throw misplaced(caller.class, 'agent');
  return caller;
}

export function delegateOf({ caller }: CallContext): DelegateCaller {
  if (caller.class !== 'delegate') throw misplaced(caller.class, 'delegate');
  return caller;
}

/** With an SVID of its own, whether or not it has a delegation as well. */
export function workloadOf({ caller }: CallContext): WorkloadCaller | DelegateCaller {
  if (caller.class !== 'workload' && caller.class !== 'delegate')
    throw misplaced(caller.class, 'workload');
  return caller;
}

export function operatorOf({ caller }: CallContext): OperatorCaller {
  if (caller.class !== 'local' && caller.class !== 'admin')
    throw misplaced(caller.class, 'operator');
  return caller;
}

const misplaced = (found: string, wanted: string): PkiError =>
  new PkiError(
    'CALLER_NOT_ADMITTED',
    `a caller of class ${found} stands where ${wanted} is needed`,
  );
