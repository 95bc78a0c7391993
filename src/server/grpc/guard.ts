import type { handleUnaryCall, sendUnaryData, UntypedHandleCall } from '@grpc/grpc-js';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { CallerClass } from '../../services/callers/caller.ts';
import type { Callers, Refusals } from '../../services/services.ts';
import { CallId, type DuplexCall, type UnaryCall } from './call.ts';
import { CallAdmission } from './call-admission.ts';
import { CallDeadlines } from './call-deadlines.ts';
import type { Connections } from './connections.ts';
import { RefusalStatus } from './refusal-status.ts';
import { GuardedStream, type StreamWork } from './stream-call.ts';
import { GuardedUnary, type GuardedUnaryMethod, type UnaryWork } from './unary-call.ts';

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
  /** By their seconds. */
  readonly #deadlines = new Map<number, CallDeadlines>();
  #unaryCalls = 0;

  constructor(dependencies: GuardDependencies) {
    this.#dependencies = dependencies;
    this.#admission = new CallAdmission(dependencies);
    this.#refusalStatus = new RefusalStatus(dependencies);
  }

  unary(method: GuardedMethod, work: UnaryWork): handleUnaryCall<unknown, unknown> {
    const { limits } = this.#dependencies;
    const { path, admits: classes } = method;
    const guardedMethod = this.#unaryMethod(method, work);
    return (call: UnaryCall, callback: sendUnaryData<unknown>) => {
      this.#unaryCalls += 1;
      const guarded = new GuardedUnary(guardedMethod, call, callback);
      if (this.#unaryCalls > limits.concurrentCalls) guarded.failOverloaded(limits.concurrentCalls);
      else guarded.run(this.#admission.admit({ call, id: guarded.id, method: path, classes }));
    };
  }

  #unaryMethod({ path, patienceSeconds = 0 }: GuardedMethod, work: UnaryWork): GuardedUnaryMethod {
    const { clock, logger, observe, limits } = this.#dependencies;
    const limitSeconds = Math.max(limits.unarySeconds, patienceSeconds);
    let deadlines = this.#deadlines.get(limitSeconds);
    if (deadlines === undefined) {
      deadlines = new CallDeadlines(clock, limitSeconds * 1000);
      this.#deadlines.set(limitSeconds, deadlines);
    }
    return {
      ...{ path, work, clock, logger, limitSeconds, deadlines },
      refusalStatus: this.#refusalStatus,
      onAnswered: (code, seconds) => {
        this.#unaryCalls -= 1;
        observe(path, code, seconds);
      },
    };
  }

  stream(method: GuardedMethod, work: StreamWork): UntypedHandleCall {
    const { clock, observe } = this.#dependencies;
    const { path, admits: classes } = method;
    return (call: DuplexCall) => {
      const id = new CallId(call);
      const guarded = new GuardedStream({
        ...{ method: path, id, call, clock },
        refusalStatus: this.#refusalStatus,
        onEnded: (code, seconds) => observe(path, code, seconds),
      });
      guarded.run(this.#admission.admit({ call, id, method: path, classes }), work);
    };
  }
}
