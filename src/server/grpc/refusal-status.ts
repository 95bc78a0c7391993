import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger, TokenBucket } from '../../common/runtime/index.ts';
import { toStatus } from '../../common/wire/index.ts';
import type { Caller } from '../../services/callers/caller.ts';
import type { Refusals } from '../../services/services.ts';
import { callerName, type AnyCall, type CallContext } from './call.ts';
import type { Connections } from './connections.ts';

export interface RefusalStatusDependencies {
  readonly connections: Pick<Connections, 'byKey'>;
  readonly refusals: Pick<Refusals, 'idOf' | 'refused'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A failed call. `context` is absent if the call was not admitted. */
export interface FailedCall {
  readonly method: string;
  readonly requestId: string;
  readonly context: CallContext | undefined;
  readonly call: AnyCall;
}

export interface RefusalAnswer {
  readonly code: string;
  readonly status: ReturnType<typeof toStatus> & Error;
}

/**
 * Turns errors into statuses with code, advice, request ID and refusal ID, and logs each once.
 * Owner of the limit of log lines about strangers: nobody can fill the disk by being refused.
 * Strangers are counted in any case.
 */
export class RefusalStatus {
  readonly #dependencies: RefusalStatusDependencies;
  readonly #strangerLines: TokenBucket;

  constructor(dependencies: RefusalStatusDependencies) {
    this.#dependencies = dependencies;
    this.#strangerLines = new TokenBucket({ perSecond: 5, burst: 100 }, dependencies.clock);
  }

  async of(
    { method, requestId, context, call }: FailedCall,
    thrown: unknown,
  ): Promise<RefusalAnswer> {
    const { connections, refusals } = this.#dependencies;
    const error = PkiError.from(thrown);
    const caller: Caller = context?.caller ?? {
      class: 'anonymous',
      peer: connections.byKey(call.getPeer())?.peer ?? 'unknown',
    };
    const refusalId = refusals.idOf(error) ?? (await refusals.refused(caller, method, error));
    this.#log(error, caller, { requestId, refusalId, method });
    const full = caller.class === 'local' || caller.class === 'admin';
    const status = toStatus(error, { requestId, refusalId, full });
    return { code: error.code, status: Object.assign(new Error(status.details), status) };
  }

  #log(
    error: PkiError,
    caller: Caller,
    ids: { readonly requestId: string; readonly refusalId: string; readonly method: string },
  ): void {
    const { logger } = this.#dependencies;
    // a row that can not be read was written by somebody else
    const alert = error.code === 'STORE_CORRUPT' ? { alert: true } : {};
    const fields = { ...ids, ...alert, code: error.code, caller: callerName(caller) };
    if (error.info.status === 'INTERNAL' || error.grade === 'fatal')
      logger.error({ ...fields, ...errorFields(error) }, 'request failed');
    else if (caller.class !== 'anonymous' || this.#strangerLines.take() === 0)
      logger.info({ ...fields, reason: error.message }, 'request refused');
  }
}
