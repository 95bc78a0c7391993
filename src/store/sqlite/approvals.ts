import { PkiError } from '../../common/errors/index.ts';
import type { ApprovalPolicy } from '../../common/approval/index.ts';
import {
  approvalPolicyId,
  loggedObject,
  type OperationState,
  type PendingOperation,
  type StoredPolicy,
  type SubmittedApproval,
} from '../../domain/index.ts';
import type { ApprovalStore, LogGuard, OperationStep, Page, PageRequest } from '../ports/index.ts';
import type { OperationTable, PolicyTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

type ApprovalRows = ReturnType<typeof approvalRows>;

export function createApprovals(
  engine: Engine,
  audit: AuditWriter,
  guard: LogGuard,
): ApprovalStore {
  const rows = approvalRows(engine, guard);
  const { byId, pending, executing } = rows;
  return {
    policy: () => engine.read(rows.policy),
    putPolicy: (policy, change, event, signal) =>
      engine.write(() => {
        const written = putPolicy(rows, policy, change);
        audit(event, loggedObject('approval-policy', written));
        return written;
      }, signal),
    propose: (operation, limits, event, signal) =>
      engine.write(() => {
        refuseTooMany(pending.all({ now: limits.now }), operation, limits);
        rows.insert.run(toRow(operation));
        audit(event, loggedObject('operation', operation));
      }, signal),
    byId: (id, signal) => engine.read(() => toOperation(existing(byId.get({ id }), id)), signal),
    openOf: (proposer, now) =>
      engine.read(() =>
        pending
          .all({ now })
          .filter((row) => row.proposer === proposer)
          .map(toOperation),
      ),
    list: (filter, page) => engine.read(() => listed(engine, filter, page), page.signal),
    step: (of, step, event, signal) =>
      engine.write(() => {
        const written = takeStep(rows, guard, of, step);
        audit(event, loggedObject('operation', written));
        return written;
      }, signal),
    executing: () => engine.read(() => executing.all({}).map(toOperation)),
  };
}

function approvalRows(engine: Engine, guard: LogGuard) {
  const reads = approvalReads(engine);
  const policy = (): StoredPolicy | undefined => {
    const row = reads.policyRow.get({});
    return row === undefined ? undefined : toPolicy(row);
  };
  return {
    ...reads,
    ...policyWrites(engine),
    ...operationWrites(engine),
    policy,
    requirePolicy: (): void => {
      guard.requireRow('approval-policy', approvalPolicyId, policy());
    },
  };
}

function existing(row: OperationTable | undefined, id: string): OperationTable {
  if (row === undefined)
    throw new PkiError('NOT_FOUND', `there is no operation ${JSON.stringify(id.slice(0, 64))}`);
  return row;
}

function putPolicy(
  rows: ApprovalRows,
  policy: ApprovalPolicy,
  { version, by, now }: Parameters<ApprovalStore['putPolicy']>[1],
): StoredPolicy {
  const present = rows.policyRow.get({})?.version ?? 0;
  if (present !== version)
    throw new PkiError('CONFLICT', `the approval policy is at version ${present}, not ${version}`);
  rows.requirePolicy();
  rows.putPolicy.run({
    version: version + 1,
    policy: JSON.stringify(policy),
    updated_at: now,
    updated_by: by,
  });
  return toPolicy(rows.policyRow.get({}) as PolicyTable);
}

function refuseTooMany(
  open: readonly OperationTable[],
  operation: PendingOperation,
  { perProposer, total }: Parameters<ApprovalStore['propose']>[1],
): void {
  if (
    open.length < total &&
    open.filter(({ proposer }) => proposer === operation.proposer).length < perProposer
  )
    return;
  throw new PkiError(
    'RATE_LIMITED',
    `too many operations wait for approval (${open.length}): at most ${perProposer} of one ` +
      `proposer and ${total} in all`,
    { next: 'Let some be approved, or withdraw them: "meshca approval list".' },
  );
}

function listed(
  engine: Engine,
  { pendingAt }: { readonly pendingAt?: number },
  page: PageRequest,
): Page<PendingOperation> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('operations')
    .selectAll()
    .orderBy('id', 'desc')
    .limit(size + 1);
  if (page.after !== undefined) query = query.where('id', '<', page.after);
  if (pendingAt !== undefined)
    query = query.where('state', '=', 'pending').where('expires_at', '>', pendingAt);
  return toPage(engine.rows(query), size, toOperation, (row) => row.id);
}

function takeStep(
  rows: ApprovalRows,
  guard: LogGuard,
  { id, version, from, now }: Parameters<ApprovalStore['step']>[0],
  step: OperationStep,
): PendingOperation {
  const row = existing(rows.byId.get({ id }), id);
  if (row.version !== version || !from.includes(row.state))
    throw new PkiError('CONFLICT', `the operation ${id} is ${row.state} at version ${row.version}`);
  guard.requireRow('operation', id, toOperation(row));
  if (step.policyVersion !== undefined) {
    if ((rows.policyRow.get({})?.version ?? 0) !== step.policyVersion)
      throw new PkiError(
        'APPROVAL_NOT_OPEN',
        'the approval policy has changed since the operation was proposed',
      );
    rows.requirePolicy();
  }
  rows.update.run({
    id,
    version: version + 1,
    state: step.state,
    approvals: step.approvals === undefined ? row.approvals : JSON.stringify(step.approvals),
    outcome: step.outcome ?? row.outcome,
    evidence: step.evidence ?? row.evidence,
    decided_at: step.decidedAt ?? row.decided_at,
    updated_at: now,
  });
  return toOperation(rows.byId.get({ id }) as OperationTable);
}

function approvalReads(engine: Engine) {
  return {
    policyRow: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('approval_policy').selectAll().where('id', '=', 1),
    ),
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('operations').selectAll().where('id', '=', slot('id')),
    ),
    pending: engine.statement<{ now: number }>()((query, slot) =>
      query
        .selectFrom('operations')
        .selectAll()
        .where('state', '=', 'pending')
        .where('expires_at', '>', slot('now')),
    ),
    executing: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('operations').selectAll().where('state', '=', 'executing'),
    ),
  };
}

function policyWrites(engine: Engine) {
  return {
    putPolicy: engine.statement<{
      version: number;
      policy: string;
      updated_at: number;
      updated_by: string;
    }>()((query, slot) =>
      query
        .insertInto('approval_policy')
        .values({
          id: 1,
          version: slot('version'),
          policy: slot('policy'),
          updated_at: slot('updated_at'),
          updated_by: slot('updated_by'),
        })
        .onConflict((conflict) =>
          conflict.column('id').doUpdateSet({
            version: slot('version'),
            policy: slot('policy'),
            updated_at: slot('updated_at'),
            updated_by: slot('updated_by'),
          }),
        ),
    ),
  };
}

function operationWrites(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof OperationTable]: OperationTable[Column] }>()(
      (query, slot) =>
        query.insertInto('operations').values({
          id: slot('id'),
          version: slot('version'),
          bytes: slot('bytes'),
          method: slot('method'),
          proposer: slot('proposer'),
          created_at: slot('created_at'),
          expires_at: slot('expires_at'),
          state: slot('state'),
          approvals: slot('approvals'),
          outcome: slot('outcome'),
          evidence: slot('evidence'),
          decided_at: slot('decided_at'),
          updated_at: slot('updated_at'),
        }),
    ),
    update: engine.statement<{
      id: string;
      version: number;
      state: OperationState;
      approvals: string;
      outcome: string;
      evidence: string;
      decided_at: number;
      updated_at: number;
    }>()((query, slot) =>
      query
        .updateTable('operations')
        .set({
          version: slot('version'),
          state: slot('state'),
          approvals: slot('approvals'),
          outcome: slot('outcome'),
          evidence: slot('evidence'),
          decided_at: slot('decided_at'),
          updated_at: slot('updated_at'),
        })
        .where('id', '=', slot('id')),
    ),
  };
}

const toPolicy = (row: PolicyTable): StoredPolicy => ({
  version: row.version,
  policy: fromJson<ApprovalPolicy>('approval_policy', row.policy),
  updatedAt: row.updated_at,
  updatedBy: row.updated_by,
});

const toOperation = (row: OperationTable): PendingOperation => ({
  id: row.id,
  version: row.version,
  bytes: bytes(row.bytes),
  method: row.method,
  proposer: row.proposer,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  state: row.state,
  approvals: fromJson<readonly SubmittedApproval[]>('operations', row.approvals),
  outcome: row.outcome,
  evidence: row.evidence,
  decidedAt: row.decided_at,
  updatedAt: row.updated_at,
});

const toRow = (operation: PendingOperation): OperationTable => ({
  id: operation.id,
  version: operation.version,
  bytes: operation.bytes,
  method: operation.method,
  proposer: operation.proposer,
  created_at: operation.createdAt,
  expires_at: operation.expiresAt,
  state: operation.state,
  approvals: JSON.stringify(operation.approvals),
  outcome: operation.outcome,
  evidence: operation.evidence,
  decided_at: operation.decidedAt,
  updated_at: operation.updatedAt,
});
