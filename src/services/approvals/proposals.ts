import {
  canonicalJson,
  operationBytes,
  operationSha256,
  policySha256,
  readOperation,
  type ApprovalPolicy,
  type Json,
  type Operation,
} from '../../common/approval/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import type { PendingOperation } from '../../domain/index.ts';
import type { LedgerApprovals } from '../../ledger/index.ts';
import type { MetaStore } from '../../store/ports/index.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';

export interface ProposalDependencies {
  readonly store: Pick<LedgerApprovals, 'policy' | 'openOf' | 'propose'>;
  readonly meta: Pick<MetaStore, 'position'>;
  readonly access: Pick<Access, 'of'>;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
}

/** A call that must wait for approval. `deciding`: the new policy, if the call puts one. */
export interface HeldCall {
  readonly method: string;
  readonly request: Json;
  readonly deciding?: ApprovalPolicy | undefined;
}

const limits = { perProposer: 20, total: 200 };
const maximumBytes = 256 * 1024;

/** Turns calls that must wait for approval into pending operations. */
export class Proposals {
  readonly #dependencies: ProposalDependencies;

  constructor(dependencies: ProposalDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Records the call and returns the error for the caller (APPROVAL_REQUIRED). The same call of the
   * same proposer is recorded once.
   *
   * @throws PkiError ROLE_MISSING, REQUEST_TOO_LARGE, RATE_LIMITED
   */
  async hold(caller: OperatorCaller, call: HeldCall, signal?: AbortSignal): Promise<PkiError> {
    const { store, access, clock } = this.#dependencies;
    // The caller's right to this call is checked at execution. A caller without any right must not
    // fill the list.
    if (!(await access.of(caller)).any)
      throw new PkiError('ROLE_MISSING', 'no role has this admin as a member');
    const stored = await store.policy();
    const policy = call.deciding ?? stored.policy;
    const operation = await this.#operation(caller, call, policy, stored.version);
    const bytes = operationBytes(operation);
    if (bytes.length > maximumBytes) throw tooLarge(bytes.length);
    const { proposer, method } = operation;
    const open = await store.openOf(proposer.actor, clock.now());
    const same = open.find((open) => open.method === method && isSame(open, operation));
    if (same === undefined) await this.#propose(operation, bytes, signal);
    return approvalRequired(same?.id ?? operation.id, policy);
  }

  async #operation(
    caller: OperatorCaller,
    { method, request }: HeldCall,
    policy: ApprovalPolicy,
    policyVersion: number,
  ): Promise<Operation> {
    const { meta, trustDomain, clock } = this.#dependencies;
    const { epoch } = await meta.position();
    const now = clock.now();
    const life = now + policy.lifeSeconds;
    return {
      id: uuidv7(clock.nowMs()),
      trustDomain: trustDomain.name,
      epoch,
      method,
      request,
      proposer: {
        actor: actorOf(caller),
        serial: caller.class === 'admin' ? caller.serial : '',
      },
      policyVersion,
      policySha256: policySha256(policy, policyVersion),
      createdAt: now,
      expiresAt: caller.class === 'admin' ? Math.min(life, caller.notAfter + 1) : life,
    };
  }

  async #propose(
    operation: Operation,
    bytes: Buffer,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { store, clock } = this.#dependencies;
    const { id, method, proposer, createdAt, expiresAt } = operation;
    await store.propose(
      {
        id,
        version: 1,
        bytes,
        method,
        proposer: proposer.actor,
        createdAt,
        expiresAt,
        state: 'pending',
        approvals: [],
        outcome: '',
        evidence: '',
        decidedAt: 0,
        updatedAt: createdAt,
      },
      { ...limits, now: createdAt },
      {
        timeMs: clock.nowMs(),
        actor: proposer.actor,
        kind: 'approval.proposed',
        subject: id,
        detail: {
          method,
          operation: bytes.toString('utf8'),
          operationSha256: operationSha256(bytes),
          expiresAt,
        },
      },
      signal,
    );
  }
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

const tooLarge = (bytes: number): PkiError =>
  new PkiError(
    'REQUEST_TOO_LARGE',
    `an operation that needs approval has at most ${maximumBytes} bytes, this one has ${bytes}`,
    { next: 'Split the call: send the part that needs no approval separately.' },
  );

const approvalRequired = (id: string, { required, approvers }: ApprovalPolicy): PkiError =>
  new PkiError(
    'APPROVAL_REQUIRED',
    `this call needs the approval of ${required} of ${approvers.length} approvers; it waits as operation ${id}`,
    {
      next:
        `See what would happen: meshca approval show ${id}. To approve: meshca approval sign ` +
        `${id} --ssh-key ~/.ssh/id_ed25519`,
      detail: { operationId: id },
    },
  );
