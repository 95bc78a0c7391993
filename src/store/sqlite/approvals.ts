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
import type { ApprovalStore, LogGuard } from '../ports/index.ts';
import type { OperationTable, PolicyTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

export function createApprovals(
  engine: Engine,
  audit: AuditWriter,
  guard: LogGuard,
): ApprovalStore {
  const { policyRow, byId, pending, executing } = approvalReads(engine);
  const { putPolicy, insert, update } = approvalWrites(engine);
  const presentPolicy = (): StoredPolicy | undefined => {
    const row = policyRow.get({});
    return row === undefined ? undefined : toPolicy(row);
  };
  const requirePolicy = (): void =>
    guard.requireRow('approval-policy', approvalPolicyId, presentPolicy());

  return {
    policy: () => engine.read(presentPolicy),
    putPolicy: (policy, version, by, now, event) =>
      engine.write(() => {
        const row = policyRow.get({});
        if ((row?.version ?? 0) !== version)
          throw new PkiError(
            'CONFLICT',
            `the approval policy is at version ${row?.version ?? 0}, not ${version}`,
          );
        requirePolicy();
        putPolicy.run({
          version: version + 1,
          policy: JSON.stringify(policy),
          updated_at: now,
          updated_by: by,
        });
        const written = toPolicy(policyRow.get({}) as PolicyTable);
        audit(event, loggedObject('approval-policy', written));
        return written;
      }),
    propose: (operation, { perProposer, total, now }, event) =>
      engine.write(() => {
        const open = pending.all({ now });
        if (
          open.length >= total ||
          open.filter(({ proposer }) => proposer === operation.proposer).length >= perProposer
        ) {
          throw new PkiError(
            'RATE_LIMITED',
            `${open.length} operations wait for approval; no more than ${perProposer} of one proposer and ${total} in all`,
            { next: 'Have some approved, or withdraw them: "meshca approval list".' },
          );
        }
        insert.run(toRow(operation));
        audit(event, loggedObject('operation', operation));
      }),
    byId: (id) =>
      engine.read(() => {
        const row = byId.get({ id });
        if (row === undefined)
          throw new PkiError(
            'NOT_FOUND',
            `there is no operation ${JSON.stringify(id.slice(0, 64))}`,
          );
        return toOperation(row);
      }),
    openOf: (proposer, now) =>
      engine.read(() =>
        pending
          .all({ now })
          .filter((row) => row.proposer === proposer)
          .map(toOperation),
      ),
    list: (filter, page) =>
      engine.read(() => {
        const size = pageSize(page);
        let query = builder
          .selectFrom('operations')
          .selectAll()
          .orderBy('id', 'desc')
          .limit(size + 1);
        if (page.after !== undefined) query = query.where('id', '<', page.after);
        if (filter.pendingAt !== undefined)
          query = query.where('state', '=', 'pending').where('expires_at', '>', filter.pendingAt);
        return toPage(engine.rows(query), size, toOperation, (row) => row.id);
      }),
    step: (
      id,
      version,
      from,
      { state, approvals, outcome, evidence, decidedAt, policyVersion },
      now,
      event,
    ) =>
      engine.write(() => {
        const row = byId.get({ id });
        if (row === undefined)
          throw new PkiError(
            'NOT_FOUND',
            `there is no operation ${JSON.stringify(id.slice(0, 64))}`,
          );
        if (row.version !== version || !from.includes(row.state))
          throw new PkiError(
            'CONFLICT',
            `the operation ${id} is ${row.state} at version ${row.version}`,
          );
        guard.requireRow('operation', id, toOperation(row));
        if (policyVersion !== undefined && (policyRow.get({})?.version ?? 0) !== policyVersion)
          throw new PkiError(
            'APPROVAL_NOT_OPEN',
            'the approval policy has changed since the operation was proposed',
          );
        if (policyVersion !== undefined) requirePolicy();
        update.run({
          id,
          version: version + 1,
          state,
          approvals: approvals === undefined ? row.approvals : JSON.stringify(approvals),
          outcome: outcome ?? row.outcome,
          evidence: evidence ?? row.evidence,
          decided_at: decidedAt ?? row.decided_at,
          updated_at: now,
        });
        const written = toOperation(byId.get({ id }) as OperationTable);
        audit(event, loggedObject('operation', written));
        return written;
      }),
    executing: () => engine.read(() => executing.all({}).map(toOperation)),
  };
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

function approvalWrites(engine: Engine) {
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
