import { readOperation, type Operation } from '../../common/approval/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { AuditEvent, AuditValue, PendingOperation } from '../../domain/index.ts';
import type { LedgerApprovals } from '../../ledger/index.ts';
import type { OperationStep } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { Callers } from '../callers/callers.ts';
import type { Execute } from './approvals.ts';
import type { ResultShelf } from './results.ts';

export interface ExecutionDependencies {
  readonly store: Pick<LedgerApprovals, 'step' | 'interrupted'>;
  readonly callers: Pick<Callers, 'local' | 'stillStands'>;
  readonly results: Pick<ResultShelf, 'put'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

const maximumReason = 500;

/** Executes decided operations, each at most once. */
export class Execution {
  readonly #dependencies: ExecutionDependencies;
  #execute: Execute | undefined;

  constructor(dependencies: ExecutionDependencies) {
    this.#dependencies = dependencies;
  }

  connect(execute: Execute): void {
    this.#execute = execute;
  }

  /** Runs the stored bytes with the present rights of the proposer. */
  async run(operation: PendingOperation): Promise<PendingOperation> {
    const failure = await this.#attempt(operation);
    if (failure === undefined)
      return this.#end(operation, { state: 'executed', outcome: '' }, operation.proposer, {});
    const { code, message } = failure;
    this.#dependencies.logger.warn(
      { operation: operation.id, method: operation.method, ...errorFields(failure) },
      'an approved operation failed',
    );
    const outcome = `${code}: ${message}`.slice(0, maximumReason);
    return this.#end(operation, { state: 'failed', outcome }, operation.proposer, {
      code,
      message: message.slice(0, maximumReason),
    });
  }

  /**
   * Called at start. An operation that was executing when the server stopped is not executed again.
   */
  async recover(): Promise<void> {
    const { store, logger } = this.#dependencies;
    for (const operation of await store.interrupted()) {
      const outcome =
        'the server stopped during the execution; the audit log shows how far it came';
      await this.#end(operation, { state: 'interrupted', outcome }, 'server', {});
      logger.warn(
        { operation: operation.id, method: operation.method },
        'the server stopped during the execution of an approved operation; it is not executed again',
      );
    }
  }

  /** The failure, or undefined. */
  async #attempt({ id, bytes }: PendingOperation): Promise<PkiError | undefined> {
    try {
      if (this.#execute === undefined)
        throw new PkiError('INTERNAL', 'the table of operations is not connected to dual control');
      const stated = unwrap(readOperation(bytes));
      const proposer = await this.#proposer(stated);
      this.#dependencies.results.put(
        id,
        await this.#execute(stated.method, stated.request, proposer),
      );
      return undefined;
    } catch (thrown) {
      return PkiError.from(thrown);
    }
  }

  #end(
    { id, version, method }: PendingOperation,
    step: OperationStep & { readonly state: 'executed' | 'failed' | 'interrupted' },
    actor: string,
    detail: Readonly<Record<string, AuditValue>>,
  ): Promise<PendingOperation> {
    const { store, clock } = this.#dependencies;
    const event: AuditEvent = {
      timeMs: clock.nowMs(),
      actor,
      kind: `approval.${step.state}`,
      subject: id,
      detail: { method, ...detail },
    };
    return store.step({ id, version, from: ['executing'], now: clock.now() }, step, event);
  }

  async #proposer({ id, proposer }: Operation): Promise<OperatorCaller> {
    const { callers } = this.#dependencies;
    if (proposer.serial === '')
      return callers.local({ uid: Number(proposer.actor.replace(/^uid:/, '')), gid: 0, pid: 0 });
    const caller = await callers.stillStands({
      class: 'admin',
      kind: 'admin',
      spiffeId: proposer.actor,
      serial: proposer.serial,
      notAfter: 0,
      authorityId: '',
      entryId: null,
      node: undefined,
      peer: `operation ${id}`,
    });
    if (caller.class !== 'admin' || caller.spiffeId !== proposer.actor)
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `${proposer.actor}, who proposed the operation, is no longer an admin`,
      );
    return caller;
  }
}
