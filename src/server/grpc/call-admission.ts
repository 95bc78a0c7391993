import { admit } from '../../api/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { Logger } from '../../common/runtime/index.ts';
import type { Caller, CallerClass } from '../../services/callers/caller.ts';
import type { Callers, Refusals } from '../../services/services.ts';
import type { AnyCall, CallContext, CallId } from './call.ts';
import type { Connection, Connections } from './connections.ts';

export interface CallAdmissionDependencies {
  readonly connections: Pick<Connections, 'byKey'>;
  readonly callers: Pick<Callers, 'stillStands'>;
  readonly refusals: Pick<Refusals, 'refused'>;
  readonly logger: Logger;
}

/** What is to be admitted: a call of a method that is open to these classes. */
export interface AskingCall {
  readonly call: AnyCall;
  readonly id: CallId;
  readonly method: string;
  readonly classes: readonly CallerClass[];
}

/** Finds the caller of a call, checks its standing, and admits its class. */
export class CallAdmission {
  readonly #dependencies: CallAdmissionDependencies;

  constructor(dependencies: CallAdmissionDependencies) {
    this.#dependencies = dependencies;
  }

  async admit({ call, id, method, classes }: AskingCall): Promise<CallContext> {
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
    return new AdmittedCall({ caller, connection, id, method, logger });
  }
}

interface Admitted {
  readonly caller: Caller;
  readonly connection: Connection;
  readonly id: CallId;
  readonly method: string;
  /** The server's. */
  readonly logger: Logger;
}

/** Makes on demand what few calls need. A child logger costs as much as a database look-up. */
class AdmittedCall implements CallContext {
  readonly caller: Caller;
  readonly connection: Connection;
  readonly method: string;
  readonly #id: CallId;
  readonly #logger: Logger;

  constructor({ caller, connection, id, method, logger }: Admitted) {
    this.caller = caller;
    this.connection = connection;
    this.method = method;
    this.#id = id;
    this.#logger = logger;
  }

  get requestId(): string {
    return this.#id.text;
  }

  get logger(): Logger {
    return this.#logger.child({ requestId: this.requestId, method: this.method });
  }
}
