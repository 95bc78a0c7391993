import { admit } from '../../api/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { Logger } from '../../common/runtime/index.ts';
import type { CallerClass } from '../../services/callers/caller.ts';
import type { Callers, Refusals } from '../../services/services.ts';
import { requestIdOf, type AnyCall, type CallContext } from './call.ts';
import type { Connections } from './connections.ts';

export interface CallAdmissionDependencies {
  readonly connections: Pick<Connections, 'byKey'>;
  readonly callers: Pick<Callers, 'stillStands'>;
  readonly refusals: Pick<Refusals, 'refused'>;
  readonly logger: Logger;
}

/** Finds the caller of a call, checks its standing, and admits its class. */
export class CallAdmission {
  readonly #dependencies: CallAdmissionDependencies;

  constructor(dependencies: CallAdmissionDependencies) {
    this.#dependencies = dependencies;
  }

  async admit(
    method: string,
    classes: readonly CallerClass[],
    call: AnyCall,
    requestId = requestIdOf(call),
  ): Promise<CallContext> {
    const { connections, callers, refusals, logger } = this.#dependencies;
    const connection = connections.byKey(call.getPeer());
    if (connection === undefined)
      throw new PkiError('UNAUTHENTICATED', 'the connection of this call has ended');
    const first = await connection.caller;
    const caller =
      first.class === 'anonymous' || first.class === 'local'
        ? first
        : await callers.stillStands(first);
    try {
      admit(method, classes, caller);
    } catch (thrown) {
      // recorded here under the caller's name, which the answer of the call does not know yet
      await refusals.refused(caller, method, PkiError.from(thrown));
      throw thrown;
    }
    return {
      caller,
      connection,
      requestId,
      method,
      // made on demand: few calls log, and a child logger costs as much as a database look-up
      get logger() {
        return logger.child({ requestId, method });
      },
    };
  }
}
