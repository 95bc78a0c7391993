import {
  approvalLine,
  canonicalJson,
  checkPolicy,
  countApprovals,
  evidenceText,
  judgeApproval,
  operationBytes,
  operationSha256,
  policySha256,
  policyText,
  readOperation,
  verifyEvidence,
  type ApprovalPolicy,
  type Json,
  type Operation,
} from '../../common/approval/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import type { MethodPath } from '../../common/wire/index.ts';
import type { AuditEvent, AuditValue, PendingOperation, StoredPolicy } from '../../domain/index.ts';
import type { LedgerApprovals } from '../../ledger/index.ts';
import type { MetaStore, Page, PageRequest } from '../../store/ports/index.ts';
import type { Access } from '../access.ts';
import { actorOf, type OperatorCaller } from '../caller.ts';
import type { Callers } from '../contract.ts';
import { refusing, type RefusalLog } from '../refusals.ts';
import { checkPage } from '../requests.ts';
import type {
  ApprovalGate,
  Approvals,
  Execute,
  OperationStatus,
  OperationSummary,
  OperationView,
} from './contract.ts';
import { ResultShelf } from './results.ts';

export interface DualControlDeps {
  readonly store: LedgerApprovals;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly callers: Pick<Callers, 'local' | 'stillStands'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * The one call that may be decided by a policy that is not in force yet: the one that puts it in
 * force.
 */
export const policyMethod: MethodPath = '/meshca.admin.v1.Approvals/PutApprovalPolicy';

const perProposer = 20;
const total = 200;
const maximumBytes = 256 * 1024;
const maximumReason = 500;
const attempts = 5;

/**
 * Operations that wait for k of n approvers. What is executed is read again from the bytes that
 * were signed; the server holds public keys only, so it can refuse, but not approve. Owner of the
 * results that wait for their proposers.
 */
export class DualControl implements Approvals, ApprovalGate {
  readonly #deps: DualControlDeps;
  readonly #results: ResultShelf;
  #execute: Execute | undefined;

  constructor(deps: DualControlDeps) {
    this.#deps = deps;
    this.#results = new ResultShelf(deps.clock);
  }

  connect(execute: Execute): void {
    this.#execute = execute;
  }

  inForce(): Promise<StoredPolicy> {
    return this.#deps.store.policy();
  }

  async hold(
    caller: OperatorCaller,
    method: string,
    request: Json,
    deciding?: ApprovalPolicy,
  ): Promise<Error> {
    const { store, clock, access } = this.#deps;
    // what he may do is checked when it is executed; who may do nothing does not fill the list
    if (!(await access.of(caller)).any)
      throw new PkiError('ROLE_MISSING', 'no role names this admin');
    const stored = await store.policy();
    const policy = deciding ?? stored.policy;
    const now = clock.now();
    const actor = actorOf(caller);
    const { epoch } = await this.#deps.meta.position();
    const life = now + policy.lifeSeconds;
    const operation: Operation = {
      id: uuidv7(clock.nowMs()),
      trustDomain: this.#deps.trustDomain.name,
      epoch,
      method,
      request,
      proposer: { actor, serial: caller.class === 'admin' ? caller.serial : '' },
      policyVersion: stored.version,
      policySha256: policySha256(policy, stored.version),
      createdAt: now,
      expiresAt: caller.class === 'admin' ? Math.min(life, caller.notAfter + 1) : life,
    };
    const bytes = operationBytes(operation);
    if (bytes.length > maximumBytes)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `an operation that needs approval may have ${maximumBytes} bytes, this one has ${bytes.length}`,
        { next: 'Split the call: what needs no approval goes on its own.' },
      );
    const same = (await store.openOf(actor, now)).find(
      (each) => each.method === method && isSame(each, operation),
    );
    const id = same?.id ?? operation.id;
    if (same === undefined) {
      await store.propose(
        {
          id,
          version: 1,
          bytes,
          method,
          proposer: actor,
          createdAt: now,
          expiresAt: operation.expiresAt,
          state: 'pending',
          approvals: [],
          outcome: '',
          evidence: '',
          decidedAt: 0,
          updatedAt: now,
        },
        { perProposer, total, now },
        this.#event(actor, 'approval.proposed', id, {
          method,
          operation: bytes.toString('utf8'),
          operationSha256: operationSha256(bytes),
          expiresAt: operation.expiresAt,
        }),
      );
    }
    return new PkiError(
      'APPROVAL_REQUIRED',
      `this takes the approval of ${policy.required} of ${policy.approvers.length} approvers; it waits as operation ${id}`,
      {
        next: `See what would happen: meshca approval show ${id}. To approve: meshca approval sign ${id} --ssh-key ~/.ssh/id_ed25519`,
        detail: { operationId: id },
      },
    );
  }

  list(
    caller: OperatorCaller,
    filter: { readonly pendingOnly: boolean },
    page: PageRequest,
  ): Promise<Page<OperationSummary>> {
    return refusing(this.#deps.refusals, caller, 'ListOperations', undefined, async () => {
      await this.#require(caller, 'approval.read');
      const { store, clock } = this.#deps;
      const found = await store.list(
        filter.pendingOnly ? { pendingAt: clock.now() } : {},
        checkPage(page),
      );
      const items = await Promise.all(
        found.items.map(
          async (each): Promise<OperationSummary> => ({
            operation: each,
            status: each.altered ? 'altered' : await this.#status(each),
            sha256: operationSha256(each.bytes),
          }),
        ),
      );
      return { items, next: found.next };
    });
  }

  get(caller: OperatorCaller, id: string): Promise<OperationView> {
    return refusing(this.#deps.refusals, caller, 'GetOperation', id.slice(0, 64), async () => {
      await this.#require(caller, 'approval.read');
      return this.#view(await this.#deps.store.byId(id));
    });
  }

  submit(caller: OperatorCaller, id: string, signature: string): Promise<OperationView> {
    return refusing(this.#deps.refusals, caller, 'SubmitApproval', id.slice(0, 64), async () => {
      await this.#require(caller, 'approval.submit');
      for (let attempt = 1; ; attempt += 1) {
        try {
          const { operation, decided } = await this.#add(caller, id, signature);
          return await this.#view(decided ? await this.#run(operation) : operation);
        } catch (thrown) {
          // another approval came first
          if (!(thrown instanceof PkiError && thrown.code === 'CONFLICT') || attempt === attempts)
            throw thrown;
        }
      }
    });
  }

  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<OperationSummary> {
    return refusing(this.#deps.refusals, caller, 'WithdrawOperation', id.slice(0, 64), async () => {
      const { store, access, clock } = this.#deps;
      const rights = await access.of(caller);
      const found = await store.byId(id);
      if (found.proposer !== actorOf(caller))
        rights.requireEverything('withdrawing what somebody else proposed');
      if (found.state !== 'pending') throw notOpen(found, found.state);
      const outcome = reason.slice(0, maximumReason);
      const operation = await store.step(
        id,
        found.version,
        ['pending'],
        { state: 'withdrawn', outcome },
        clock.now(),
        this.#event(actorOf(caller), 'approval.withdrawn', id, { reason: outcome }),
      );
      return { operation, status: operation.state, sha256: operationSha256(operation.bytes) };
    });
  }

  takeResult(
    caller: OperatorCaller,
    id: string,
  ): Promise<{ readonly method: string; readonly response: Json }> {
    return refusing(this.#deps.refusals, caller, 'TakeResult', id.slice(0, 64), async () => {
      const operation = await this.#deps.store.byId(id);
      if (operation.proposer !== actorOf(caller))
        throw new PkiError(
          'ROLE_MISSING',
          `the result of ${id} is for ${operation.proposer}, who proposed it`,
        );
      const response = this.#results.take(id);
      if (response === undefined)
        throw new PkiError(
          'NOT_FOUND',
          `no result of ${id} waits: it is ${operation.state}, or the result was taken, or is older than an hour or the server's start`,
        );
      return { method: operation.method, response };
    });
  }

  policy(caller: OperatorCaller): Promise<StoredPolicy> {
    return refusing(this.#deps.refusals, caller, 'GetApprovalPolicy', undefined, async () => {
      await this.#require(caller, 'approval.read');
      return this.#deps.store.policy();
    });
  }

  putPolicy(caller: OperatorCaller, input: ApprovalPolicy, version: number): Promise<StoredPolicy> {
    return refusing(this.#deps.refusals, caller, 'PutApprovalPolicy', undefined, async () => {
      (await this.#deps.access.of(caller)).requireEverything('changing the approval policy');
      const policy = unwrap(checkPolicy(input));
      const actor = actorOf(caller);
      return this.#deps.store.putPolicy(
        policy,
        version,
        actor,
        this.#deps.clock.now(),
        this.#event(actor, 'approval-policy.changed', 'policy', {
          enabled: policy.enabled,
          policy: policyText(policy, version + 1),
          sha256: policySha256(policy, version + 1),
          version: version + 1,
        }),
      );
    });
  }

  async recover(): Promise<void> {
    const { store, clock, logger } = this.#deps;
    for (const { id, version, method } of await store.interrupted()) {
      await store.step(
        id,
        version,
        ['executing'],
        {
          state: 'interrupted',
          outcome: 'the server stopped meanwhile; see the audit log for how far it came',
        },
        clock.now(),
        this.#event('server', 'approval.interrupted', id, { method }),
      );
      logger.warn(
        { operation: id, method },
        'an approved operation was being executed when the server last stopped; it is not executed again',
      );
    }
  }

  async #add(
    caller: OperatorCaller,
    id: string,
    signature: string,
  ): Promise<{ readonly operation: PendingOperation; readonly decided: boolean }> {
    const { store, clock } = this.#deps;
    const found = await store.byId(id);
    const stated = unwrap(readOperation(found.bytes));
    const status = await this.#status(found);
    if (status !== 'pending') throw notOpen(found, status);
    const policy = this.#deciding(stated, await store.policy()) as ApprovalPolicy;
    const now = clock.now();
    const judged = unwrap(judgeApproval(policy, found.bytes, stated, signature, now));
    const before = found.approvals.map((each) => each.signature);
    if (
      countApprovals(policy, found.bytes, stated, before, now).counted.some(
        ({ approver }) => approver === judged.approver,
      )
    )
      throw new PkiError('APPROVAL_NOT_COUNTED', `${judged.approver} has approved ${id} already`);
    const { counted, enough } = countApprovals(
      policy,
      found.bytes,
      stated,
      [...before, signature],
      now,
    );
    const approvals = [
      ...found.approvals,
      { signature, submittedBy: actorOf(caller), submittedAt: now },
    ];
    const detail = {
      approver: judged.approver,
      fingerprint: judged.fingerprint,
      operationSha256: operationSha256(found.bytes),
    };
    const evidence = evidenceText({
      operation: found.bytes,
      policy,
      signatures: counted.map((each) => each.signature),
      decidedAt: now,
    });
    const event = enough
      ? this.#event(actorOf(caller), 'approval.decided', id, {
          ...detail,
          approvers: counted.map(({ approver }) => approver),
          publicKeys: counted.map(({ publicKey }) => publicKey),
          evidence,
        })
      : this.#event(actorOf(caller), 'approval.given', id, { ...detail, signature });
    // from here on nobody else can execute it, whatever happens
    const operation = await store.step(
      id,
      found.version,
      ['pending'],
      {
        state: enough ? 'executing' : 'pending',
        approvals,
        policyVersion: stated.policyVersion,
        ...(enough ? { decidedAt: now, evidence } : {}),
      },
      now,
      event,
    );
    return { operation, decided: enough };
  }

  /** Runs what the stored bytes say, with the rights that its proposer has now. */
  async #run(operation: PendingOperation): Promise<PendingOperation> {
    const { store, clock, logger } = this.#deps;
    const { id, version } = operation;
    let failure: PkiError | undefined;
    try {
      if (this.#execute === undefined)
        throw new PkiError('INTERNAL', 'nothing is connected that could execute operations');
      const stated = unwrap(readOperation(operation.bytes));
      this.#results.put(
        id,
        await this.#execute(stated.method, stated.request, await this.#proposer(stated)),
      );
    } catch (thrown) {
      failure = PkiError.from(thrown);
      logger.warn(
        { operation: id, method: operation.method, code: failure.code, reason: failure.message },
        'an approved operation failed',
      );
    }
    const outcome =
      failure === undefined ? '' : `${failure.code}: ${failure.message}`.slice(0, maximumReason);
    return store.step(
      id,
      version,
      ['executing'],
      { state: failure === undefined ? 'executed' : 'failed', outcome },
      clock.now(),
      this.#event(
        operation.proposer,
        failure === undefined ? 'approval.executed' : 'approval.failed',
        id,
        {
          method: operation.method,
          ...(failure === undefined
            ? {}
            : { code: failure.code, message: failure.message.slice(0, maximumReason) }),
        },
      ),
    );
  }

  async #proposer({ id, proposer }: Operation): Promise<OperatorCaller> {
    const { callers } = this.#deps;
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
      peer: `operation ${id}`,
    });
    if (caller.class !== 'admin' || caller.spiffeId !== proposer.actor)
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `${proposer.actor}, who proposed the operation, is no admin any more`,
      );
    return caller;
  }

  /** The policy that decides this operation, or undefined when that can not be any more. */
  #deciding(stated: Operation, stored: StoredPolicy): ApprovalPolicy | undefined {
    const policy = stored.policy.enabled
      ? stored.policy
      : stated.method === policyMethod
        ? policyOf(stated.request)
        : undefined;
    return policy !== undefined &&
      policy.enabled &&
      stated.policyVersion === stored.version &&
      policySha256(policy, stored.version) === stated.policySha256
      ? policy
      : undefined;
  }

  async #status(operation: PendingOperation): Promise<OperationStatus> {
    if (operation.state !== 'pending') return operation.state;
    const stated = readOperation(operation.bytes);
    if (
      !stated.ok ||
      stated.value.id !== operation.id ||
      stated.value.trustDomain !== this.#deps.trustDomain.name
    )
      return 'altered';
    if (this.#deps.clock.now() >= stated.value.expiresAt) return 'expired';
    const { epoch } = await this.#deps.meta.position();
    return stated.value.epoch === epoch &&
      this.#deciding(stated.value, await this.#deps.store.policy()) !== undefined
      ? 'pending'
      : 'void';
  }

  async #view(operation: PendingOperation): Promise<OperationView> {
    const stated = unwrap(readOperation(operation.bytes));
    const status = await this.#status(operation);
    const sha256 = operationSha256(operation.bytes);
    const base = { operation, status, sha256, stated, line: approvalLine(stated, sha256) };
    // decided: by the policy of then
    const decided =
      operation.evidence === '' ? undefined : unwrap(verifyEvidence(operation.evidence));
    if (decided !== undefined)
      return {
        ...base,
        approvals: decided.approvals,
        required: decided.required,
        missing: [],
        evidence: operation.evidence,
      };
    const policy = this.#deciding(stated, await this.#deps.store.policy());
    const at = this.#deps.clock.now();
    const approvals =
      policy === undefined
        ? []
        : countApprovals(
            policy,
            operation.bytes,
            stated,
            operation.approvals.map(({ signature }) => signature),
            at,
          ).counted;
    const missing =
      status !== 'pending' || policy === undefined
        ? []
        : policy.approvers
            .filter(
              ({ name, identities, notBefore, notAfter }) =>
                !approvals.some(({ approver }) => approver === name) &&
                !identities.includes(stated.proposer.actor) &&
                at >= notBefore &&
                (notAfter === 0 || at <= notAfter),
            )
            .map(({ name }) => name);
    return { ...base, approvals, required: policy?.required ?? 0, missing, evidence: undefined };
  }

  async #require(caller: OperatorCaller, verb: 'approval.read' | 'approval.submit'): Promise<void> {
    (await this.#deps.access.of(caller)).require(verb, { kind: 'none' });
  }

  #event(
    actor: string,
    kind: string,
    subject: string,
    detail: Readonly<Record<string, AuditValue>>,
  ): AuditEvent {
    return { timeMs: this.#deps.clock.nowMs(), actor, kind, subject, detail };
  }
}

/** The policy in a request to put one; undefined if it is none. */
function policyOf(request: Json): ApprovalPolicy | undefined {
  const stated = (request as { policy?: ApprovalPolicy }).policy;
  if (stated === undefined || stated === null || !Array.isArray(stated.approvers)) return undefined;
  const { enabled, required, lifeSeconds, approvers } = stated;
  const checked = checkPolicy({
    enabled,
    required,
    lifeSeconds,
    approvers: approvers.map(({ name, publicKey, identities, notBefore, notAfter }) => ({
      name,
      publicKey,
      identities,
      notBefore,
      notAfter,
    })),
  });
  return checked.ok ? checked.value : undefined;
}

function isSame(open: PendingOperation, proposed: Operation): boolean {
  const stated = readOperation(open.bytes);
  return (
    stated.ok &&
    stated.value.policySha256 === proposed.policySha256 &&
    stated.value.epoch === proposed.epoch &&
    stated.value.proposer.serial === proposed.proposer.serial &&
    canonicalJson(stated.value.request) === canonicalJson(proposed.request)
  );
}

const reasons: Partial<Record<OperationStatus, string>> = {
  expired: 'its time is over',
  void: 'the approval policy or the epoch of the database has changed since',
  altered: 'its row is not what was proposed',
  executing: 'it is being executed',
};
const notOpen = (operation: PendingOperation, status: OperationStatus): PkiError =>
  new PkiError(
    'APPROVAL_NOT_OPEN',
    `the operation ${operation.id} takes no approval: ${reasons[status] ?? `it is ${status}`}`,
  );
