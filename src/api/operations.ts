import type { Json } from '../common/approval/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { exactRequestFromJson, requestFromJson, responseToJson } from '../common/wire/index.ts';
import type { Caller, OperatorCaller } from '../services/callers/caller.ts';
import type { Services } from '../services/services.ts';
import { passDualControl } from './dual-control.ts';
import type { OperationDependencies, StatedCall } from './operation.ts';
import { admit, admittedClasses, rowAt, rows, type Row } from './row.ts';

/** Of an approved call: nobody can go away from it. */
const endless = new AbortController().signal;

/** Lines of one preview. */
const maximumLines = 2_000;

/**
 * The operations with the services that they run on, free of any transport. A transport reads a
 * request, finds its caller, and calls `pass` and then `run` or `open`.
 */
export class Operations {
  readonly #dependencies: OperationDependencies;

  constructor(services: Services, clock: Clock) {
    this.#dependencies = {
      services,
      clock,
      preview: (stated, caller) => this.preview(stated, caller),
    };
  }

  /** Dual control. Throws APPROVAL_REQUIRED for a call that waits for approval from now on. */
  pass(path: string, caller: Caller, request: object): Promise<void> {
    return passDualControl(this.#dependencies.services, rowAt(path), caller, request);
  }

  /**
   * Runs an operation with one answer. The call has passed dual control. What has no durable intent
   * when `signal` is aborted is not done any more.
   */
  async run(path: string, caller: Caller, request: object, signal: AbortSignal): Promise<object> {
    const { run } = this.#admitted(path, caller);
    if (run === undefined)
      throw new PkiError('NOT_IMPLEMENTED', `${path} does not give a single answer`);
    return run(this.#dependencies, caller, request, signal);
  }

  /** Opens an operation with many answers; they end with `signal` at the latest. */
  async open(
    path: string,
    caller: Caller,
    request: object,
    signal: AbortSignal,
  ): Promise<AsyncIterable<object>> {
    const { open } = this.#admitted(path, caller);
    if (open === undefined) throw new PkiError('NOT_IMPLEMENTED', `${path} gives a single answer`);
    return open(this.#dependencies, caller, request, signal);
  }

  /**
   * Runs an approved call for its proposer, past dual control and nothing else. The request is read
   * anew from the JSON that was approved; the answer is given as JSON. Throws APPROVAL_NOT_OPEN
   * where this release reads the request in another way.
   */
  async execute(path: string, request: Json, caller: OperatorCaller): Promise<Json> {
    const row = this.#admitted(path, caller);
    const read = exactRequestFromJson(row.path, request);
    if (read === undefined)
      throw new PkiError(
        'APPROVAL_NOT_OPEN',
        'this release reads the request in another way than the one that proposed it',
      );
    return responseToJson(row.path, await this.run(path, caller, read, endless));
  }

  /**
   * What an operation would change, compared with what is there now: a help beside the request
   * itself, which an approver reads from the bytes that he signs. What the reader may not see is
   * left out.
   */
  async preview(
    { method, request }: StatedCall,
    caller: OperatorCaller,
  ): Promise<readonly string[]> {
    const row = rows.get(method);
    if (row?.preview === undefined) return [];
    try {
      const lines = await row.preview(
        this.#dependencies,
        caller,
        requestFromJson(row.path, request),
      );
      return lines.slice(0, maximumLines);
    } catch (thrown) {
      const error = PkiError.from(thrown);
      return [`it can not be compared with what is there now: ${error.code} ${error.message}`];
    }
  }

  #admitted(path: string, caller: Caller): Row {
    const row = rowAt(path);
    admit(path, admittedClasses(row), caller);
    return row;
  }
}
