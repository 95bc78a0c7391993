import type { handleUnaryCall, UntypedHandleCall } from '@grpc/grpc-js';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { CallerClass } from '../../services/callers/caller.ts';
import type { Callers, Refusals } from '../../services/services.ts';
import { requestIdOf, type DuplexCall } from './call.ts';
import { CallAdmission } from './call-admission.ts';
import type { Connections } from './connections.ts';
import { RefusalStatus } from './refusal-status.ts';
import { GuardedStream, type StreamWork } from './stream-call.ts';
import { GuardedUnary, type UnaryWork } from './unary-call.ts';

export interface GuardDependencies {
  readonly connections: Connections;
  readonly callers: Callers;
  readonly refusals: Refusals;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: { readonly concurrentCalls: number; readonly unarySeconds: number };
  readonly observe: (method: string, code: string, seconds: number) => void;
}

/** A method behind the guard: its path, and the classes of callers that it admits. */
export interface GuardedMethod {
  readonly path: string;
  readonly admits: readonly CallerClass[];
  /** A call of it may take this long where `limits.unarySeconds` is less. */
  readonly patienceSeconds?: number | undefined;
}

/**
 * Runs before every handler, ours and those of libraries. It finds the connection, checks its
 * caller again, admits its class, limits concurrency and duration, and turns errors into statuses.
 * Owner of the number of unary calls under way.
 */
export class Guard {
  readonly #dependencies: GuardDependencies;
  readonly #admission: CallAdmission;
  readonly #refusalStatus: RefusalStatus;
  #unaryCalls = 0;

  constructor(dependencies: GuardDependencies) {
    this.#dependencies = dependencies;
    this.#admission = new CallAdmission(dependencies);
    this.#refusalStatus = new RefusalStatus(dependencies);
  }

  unary(method: GuardedMethod, work: UnaryWork): handleUnaryCall<unknown, unknown> {
    const { clock, observe, limits } = this.#dependencies;
    return (call, callback) => {
      this.#unaryCalls += 1;
      const requestId = requestIdOf(call);
      const guarded = new GuardedUnary({
        method: method.path,
        requestId,
        call,
        callback,
        clock,
        limitSeconds: Math.max(limits.unarySeconds, method.patienceSeconds ?? 0),
        refusalStatus: this.#refusalStatus,
        onAnswered: (code, seconds) => {
          this.#unaryCalls -= 1;
          observe(method.path, code, seconds);
        },
      });
      if (this.#unaryCalls > limits.concurrentCalls) guarded.failOverloaded(limits.concurrentCalls);
      else guarded.run(this.#admission.admit(method.path, method.admits, call, requestId), work);
    };
  }

  stream(method: GuardedMethod, work: StreamWork): UntypedHandleCall {
    const { clock, observe } = this.#dependencies;
    return (call: DuplexCall) => {
      const requestId = requestIdOf(call);
      const guarded = new GuardedStream({
        method: method.path,
        requestId,
        call,
        clock,
        refusalStatus: this.#refusalStatus,
        onEnded: (code, seconds) => observe(method.path, code, seconds),
      });
      guarded.run(this.#admission.admit(method.path, method.admits, call, requestId), work);
    };
  }
}
