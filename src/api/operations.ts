import type { Json } from '../common/approval/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { exactRequestFromJson, requestFromJson, responseToJson } from '../common/wire/index.ts';
import type { Caller, OperatorCaller } from '../services/callers/caller.ts';
import type { Services } from '../services/services.ts';
import { passDualControl, type PassingCall } from './dual-control.ts';
import type { OperationDependencies, StatedCall } from './operation.ts';
import { refuseWhileStale, staleNote, type DatabaseDoubt } from './untrusted.ts';
import { admit, admittedClasses, rowAt, rows, type Row } from './row.ts';

/** The signal of an approved call: no caller can go away from it. */
const endless = new AbortController().signal;

/** Maximum number of lines in one preview. */
const maximumLines = 2_000;

/**
 * The operations and the services behind them, free of any transport. A transport parses a request,
 * finds its caller, and calls `pass` and then `run` or `open`.
 */
export class Operations {
  readonly #dependencies: OperationDependencies;
  readonly #doubt: DatabaseDoubt;

  constructor(services: Services, clock: Clock, doubt: DatabaseDoubt) {
    this.#doubt = doubt;
    this.#dependencies = {
      services,
      clock,
      preview: (stated, caller) => this.preview(stated, caller),
    };
  }

  /**
   * Refuses what a stale database must not get, and applies dual control.
   *
   * @throws PkiError DATABASE_STALE; APPROVAL_REQUIRED for a call that now waits for approval
   */
  async pass(path: string, call: PassingCall): Promise<void> {
    const row = rowAt(path);
    refuseWhileStale(this.#doubt, row, call);
    await passDualControl(this.#dependencies.services, row, call);
  }

  /** What goes to the caller with the answer; undefined: nothing. */
  note(path: string): string | undefined {
    return staleNote(this.#doubt, path);
  }

  /**
   * Runs an operation with one answer, after dual control. After an abort of `signal`, acts without
   * a durable intent are no longer done.
   */
  async run(path: string, caller: Caller, request: object, signal: AbortSignal): Promise<object> {
    const { run } = this.#admitted(path, caller);
    if (run === undefined)
      throw new PkiError('NOT_IMPLEMENTED', `${path} does not return a single answer`);
    return run(this.#dependencies, caller, request, signal);
  }

  /** Opens an operation with many answers. They end with `signal` at the latest. */
  async open(
    path: string,
    caller: Caller,
    request: object,
    signal: AbortSignal,
  ): Promise<AsyncIterable<object>> {
    const { open } = this.#admitted(path, caller);
    if (open === undefined)
      throw new PkiError('NOT_IMPLEMENTED', `${path} returns a single answer, not a stream`);
    return open(this.#dependencies, caller, request, signal);
  }

  /**
   * Runs an approved call for its proposer, past dual control and nothing else. The request is
   * parsed again from the approved JSON. The answer is returned as JSON.
   *
   * @throws PkiError APPROVAL_NOT_OPEN if this release parses the request differently
   */
  async execute(path: string, request: Json, caller: OperatorCaller): Promise<Json> {
    const row = this.#admitted(path, caller);
    const read = exactRequestFromJson(row.path, request);
    if (read === undefined)
      throw new PkiError(
        'APPROVAL_NOT_OPEN',
        'this release reads the request differently than the release that proposed it',
      );
    return responseToJson(row.path, await this.run(path, caller, read, endless));
  }

  /**
   * What an operation would change, compared with the present state. It helps approvers; they sign
   * the bytes of the request itself. Content that the reader may not see is left out.
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
      return [
        `the operation can not be compared with the present state: ${error.code} ${error.message}`,
      ];
    }
  }

  #admitted(path: string, caller: Caller): Row {
    const row = rowAt(path);
    admit(path, admittedClasses(row), caller);
    return row;
  }
}
