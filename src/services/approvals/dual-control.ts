import {
  checkPolicy,
  policySha256,
  policyText,
  readOperation,
  type ApprovalPolicy,
  type Json,
} from '../../common/approval/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import type { MethodName, MethodPath } from '../../common/wire/index.ts';
import type { AuditEvent, AuditValue, PendingOperation, StoredPolicy } from '../../domain/index.ts';
import type { LedgerApprovals } from '../../ledger/index.ts';
import type { MetaStore, Page, PageRequest } from '../../store/ports/index.ts';
import { visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { Callers } from '../callers/callers.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage } from '../requests.ts';
import type {
  ApprovalGate,
  Approvals,
  Execute,
  OperationStatus,
  OperationSummary,
  OperationView,
} from './approvals.ts';
import { judgeAdded } from './approving.ts';
import { Execution } from './execution.ts';
import { summaryOf, viewOf } from './operation-view.ts';
import { decidingPolicy } from './policy-request.ts';
import { Proposals, type HeldCall } from './proposals.ts';
import { ResultShelf } from './results.ts';
import { notOpen, openStatus, settledStatus } from './standing.ts';

export interface DualControlDependencies {
  readonly store: LedgerApprovals;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly callers: Pick<Callers, 'local' | 'stillStands'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly trustDomain: TrustDomain;
  /** The refusal of callers while the database is not trusted. Undefined: it is. */
  readonly untrusted: () => PkiError | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The one operation that is decided while the database is not trusted. */
const lossMethod: MethodPath = '/meshca.admin.v1.Server/AcceptRestore';

type SightVerb = 'approval.read' | 'approval.submit';
type ApprovalMethod = MethodName<'meshca.admin.v1.Approvals'>;

const maximumReason = 500;
const maximumId = 64;
const maximumAttempts = 5;

/** @throws PkiError NOT_FOUND, as for an operation that is not there */
function seen(
  operation: PendingOperation,
  isVisible: (operation: PendingOperation) => boolean,
): PendingOperation {
  if (isVisible(operation)) return operation;
  throw new PkiError('NOT_FOUND', `there is no operation ${JSON.stringify(operation.id)}`);
}

/**
 * Which operations a caller sees. One may be about any tenant: whose roles have scopes of tenants
 * alone sees his own.
 */
const sightOf =
  (caller: OperatorCaller, rights: OperatorRights, verb: SightVerb) =>
  ({ proposer }: PendingOperation): boolean =>
    proposer === actorOf(caller) || rights.permitsBeyondTenants(verb);

/**
 * Operations that wait for k of n approvers. Execution reads the request again from the signed
 * bytes. The server holds public keys only: it can refuse an operation, but not approve one. Owner
 * of the results that wait for their proposers.
 */
export class DualControl implements Approvals, ApprovalGate {
  readonly #dependencies: DualControlDependencies;
  readonly #proposals: Proposals;
  readonly #results: ResultShelf;
  readonly #execution: Execution;

  constructor(dependencies: DualControlDependencies) {
    this.#dependencies = dependencies;
    this.#proposals = new Proposals(dependencies);
    this.#results = new ResultShelf(dependencies.clock);
    this.#execution = new Execution({ ...dependencies, results: this.#results });
  }

  connect(execute: Execute): void {
    this.#execution.connect(execute);
  }

  recover(): Promise<void> {
    return this.#execution.recover();
  }

  inForce(): Promise<StoredPolicy> {
    return this.#dependencies.store.policy();
  }

  hold(caller: OperatorCaller, call: HeldCall, signal?: AbortSignal): Promise<PkiError> {
    return this.#proposals.hold(caller, call, signal);
  }

  list(
    caller: OperatorCaller,
    { pendingOnly }: { readonly pendingOnly: boolean },
    page: PageRequest,
  ): Promise<Page<OperationSummary>> {
    return this.#refusing(caller, 'ListOperations', undefined, async () => {
      const isVisible = await this.#sight(caller, 'approval.read');
      const { store, clock } = this.#dependencies;
      const filter = pendingOnly ? { pendingAt: clock.now() } : {};
      const { items, next } = await visiblePage(
        (request) => store.list(filter, request),
        isVisible,
        checkPage(page),
      );
      const summaries = items.map(async (operation) =>
        summaryOf(operation, await this.#status(operation)),
      );
      return { items: await Promise.all(summaries), next };
    });
  }

  get(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<OperationView> {
    return this.#refusing(caller, 'GetOperation', id, async () => {
      const isVisible = await this.#sight(caller, 'approval.read');
      return this.#view(seen(await this.#dependencies.store.byId(id, signal), isVisible));
    });
  }

  submit(
    caller: OperatorCaller,
    id: string,
    signature: string,
    signal?: AbortSignal,
  ): Promise<OperationView> {
    return this.#refusing(caller, 'SubmitApproval', id, async () => {
      const isVisible = await this.#sight(caller, 'approval.submit');
      seen(await this.#dependencies.store.byId(id, signal), isVisible);
      for (let attempt = 1; ; attempt += 1) {
        try {
          const operation = await this.#add(caller, id, signature, signal);
          const decided = operation.state === 'executing';
          return await this.#view(decided ? await this.#execution.run(operation) : operation);
        } catch (thrown) {
          // another approval was recorded first
          const again = thrown instanceof PkiError && thrown.code === 'CONFLICT';
          if (!again || attempt === maximumAttempts) throw thrown;
        }
      }
    });
  }

  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<OperationSummary> {
    return this.#refusing(caller, 'WithdrawOperation', id, async () => {
      const { store, access, clock } = this.#dependencies;
      const rights = await access.of(caller);
      const operation = seen(await store.byId(id), sightOf(caller, rights, 'approval.read'));
      if (operation.proposer !== actorOf(caller))
        rights.requireEverything('withdrawing the proposal of another operator');
      if (operation.state !== 'pending') throw notOpen(operation, operation.state);
      const outcome = reason.slice(0, maximumReason);
      const withdrawn = await store.step(
        { id, version: operation.version, from: ['pending'], now: clock.now() },
        { state: 'withdrawn', outcome },
        this.#event(caller, 'approval.withdrawn', id, { reason: outcome }),
      );
      return summaryOf(withdrawn, withdrawn.state);
    });
  }

  takeResult(
    caller: OperatorCaller,
    id: string,
    signal?: AbortSignal,
  ): Promise<{ readonly method: string; readonly response: Json }> {
    return this.#refusing(caller, 'TakeResult', id, async () => {
      const { store, access } = this.#dependencies;
      const rights = await access.of(caller);
      const { proposer, state, method } = seen(
        await store.byId(id, signal),
        sightOf(caller, rights, 'approval.read'),
      );
      if (proposer !== actorOf(caller))
        throw new PkiError(
          'ROLE_MISSING',
          `only ${proposer}, who proposed operation ${id}, can read its result`,
        );
      signal?.throwIfAborted();
      const response = this.#results.take(id);
      if (response === undefined)
        throw new PkiError(
          'NOT_FOUND',
          `there is no result of ${id}: the operation is ${state}, or the result was ` +
            "already read, or it is older than an hour or the server's start",
        );
      return { method, response };
    });
  }

  policy(caller: OperatorCaller): Promise<StoredPolicy> {
    return this.#refusing(caller, 'GetApprovalPolicy', undefined, async () => {
      await this.#sight(caller, 'approval.read');
      return this.#dependencies.store.policy();
    });
  }

  putPolicy(
    caller: OperatorCaller,
    input: ApprovalPolicy,
    version: number,
    signal?: AbortSignal,
  ): Promise<StoredPolicy> {
    return this.#refusing(caller, 'PutApprovalPolicy', undefined, async () => {
      const { store, access, clock } = this.#dependencies;
      (await access.of(caller)).requireEverything('changing the approval policy');
      const policy = unwrap(checkPolicy(input));
      const event = this.#event(caller, 'approval-policy.changed', 'policy', {
        enabled: policy.enabled,
        policy: policyText(policy, version + 1),
        sha256: policySha256(policy, version + 1),
        version: version + 1,
      });
      const change = { version, by: actorOf(caller), now: clock.now() };
      return store.putPolicy(policy, change, event, signal);
    });
  }

  /**
   * Adds a signature. The operation that it decides is then `executing`, so that nobody else
   * executes it.
   */
  async #add(
    caller: OperatorCaller,
    id: string,
    signature: string,
    signal: AbortSignal | undefined,
  ): Promise<PendingOperation> {
    const { store, clock } = this.#dependencies;
    const operation = await store.byId(id, signal);
    const stated = unwrap(readOperation(operation.bytes));
    const status = await this.#status(operation);
    if (status !== 'pending') throw notOpen(operation, status);
    // in an older database an operation waits that was executed since; only the loss is accepted
    const untrusted = this.#dependencies.untrusted();
    if (untrusted !== undefined && stated.method !== lossMethod) throw untrusted;
    const policy = decidingPolicy(stated, await store.policy());
    if (policy === undefined) throw notOpen(operation, 'void');
    const now = clock.now();
    const judged = judgeAdded(policy, { operation, stated }, signature, now);
    const submitted = { signature, submittedBy: actorOf(caller), submittedAt: now };
    return store.step(
      { id, version: operation.version, from: ['pending'], now },
      {
        state: judged.decides ? 'executing' : 'pending',
        approvals: [...operation.approvals, submitted],
        policyVersion: stated.policyVersion,
        ...(judged.decides ? { decidedAt: now, evidence: judged.evidence } : {}),
      },
      this.#event(caller, judged.auditKind, id, judged.auditDetail),
      signal,
    );
  }

  async #status(
    operation: PendingOperation & { readonly altered?: boolean },
  ): Promise<OperationStatus> {
    const { store, meta, trustDomain, clock } = this.#dependencies;
    const settled = settledStatus(operation, {
      trustDomainName: trustDomain.name,
      now: clock.now(),
    });
    if (settled !== undefined) return settled;
    const { epoch } = await meta.position();
    return openStatus(unwrap(readOperation(operation.bytes)), epoch, await store.policy());
  }

  async #view(operation: PendingOperation): Promise<OperationView> {
    const { store, clock } = this.#dependencies;
    const status = await this.#status(operation);
    // the evidence of a decided operation stays valid when the policy changes later
    const stored = operation.evidence === '' ? await store.policy() : undefined;
    return viewOf(operation, status, stored, clock.now());
  }

  /**
   * Which operations the caller sees, who must have the verb.
   *
   * @throws PkiError ROLE_MISSING
   */
  async #sight(
    caller: OperatorCaller,
    verb: SightVerb,
  ): Promise<(operation: PendingOperation) => boolean> {
    const rights = await this.#dependencies.access.of(caller);
    rights.require(verb, { kind: 'none' });
    return sightOf(caller, rights, verb);
  }

  #refusing<T>(
    caller: OperatorCaller,
    method: ApprovalMethod,
    id: string | undefined,
    act: () => Promise<T>,
  ): Promise<T> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: method, subject: id?.slice(0, maximumId) },
      act,
    );
  }

  #event(
    caller: OperatorCaller,
    kind: string,
    subject: string,
    detail: Readonly<Record<string, AuditValue>>,
  ): AuditEvent {
    return {
      timeMs: this.#dependencies.clock.nowMs(),
      actor: actorOf(caller),
      kind,
      subject,
      detail,
    };
  }
}
