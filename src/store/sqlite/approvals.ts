import { PkiError } from '../../common/errors/index.ts';
import type { ApprovalPolicy } from '../../common/approval/index.ts';
import type {
  OperationState,
  PendingOperation,
  StoredPolicy,
  SubmittedApproval,
} from '../../domain/index.ts';
import type { ApprovalStore } from '../ports/index.ts';
import type { OperationTable, PolicyTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { rowText, type Ledger } from './ledger.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

const policyId = 'policy';
const noPolicy: StoredPolicy = {
  version: 0,
  policy: { enabled: false, required: 0, lifeSeconds: 0, approvers: [] },
  updatedAt: 0,
  updatedBy: '',
};

export function createApprovals(engine: Engine, audit: AuditWriter, ledger: Ledger): ApprovalStore {
  const policyRow = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('approval_policy').selectAll().where('id', '=', 1),
  );
  const putPolicy = engine.statement<{
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
  );
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('operations').selectAll().where('id', '=', slot('id')),
  );
  const insert = engine.statement<{ [Column in keyof OperationTable]: OperationTable[Column] }>()(
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
  );
  const update = engine.statement<{
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
  );
  const pending = engine.statement<{ now: number }>()((query, slot) =>
    query
      .selectFrom('operations')
      .selectAll()
      .where('state', '=', 'pending')
      .where('expires_at', '>', slot('now')),
  );
  const executing = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('operations').selectAll().where('state', '=', 'executing'),
  );

  const read = (row: OperationTable): PendingOperation =>
    ledger.read('operation', row.id, () => rowText.operation(row), toOperation(row));
  const required = (row: OperationTable): PendingOperation => {
    const operation = read(row);
    ledger.require(operation);
    return operation;
  };
  const presentPolicy = (): StoredPolicy => {
    const row = policyRow.get({});
    // an absent row as well: else to delete it would end dual control
    ledger.requireRow(
      'approval-policy',
      policyId,
      row === undefined ? undefined : rowText['approval-policy'](row),
    );
    return row === undefined ? noPolicy : toPolicy(row);
  };

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
        presentPolicy();
        putPolicy.run({
          version: version + 1,
          policy: JSON.stringify(policy),
          updated_at: now,
          updated_by: by,
        });
        const written = policyRow.get({}) as PolicyTable;
        audit(event, {
          kind: 'approval-policy',
          id: policyId,
          text: rowText['approval-policy'](written),
        });
        return toPolicy(written);
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
        audit(event, {
          kind: 'operation',
          id: operation.id,
          text: rowText.operation(byId.get({ id: operation.id }) as OperationTable),
        });
      }),
    byId: (id) =>
      engine.read(() => {
        const row = byId.get({ id });
        if (row === undefined)
          throw new PkiError(
            'NOT_FOUND',
            `there is no operation ${JSON.stringify(id.slice(0, 64))}`,
          );
        return required(row);
      }),
    openOf: (proposer, now) =>
      engine.read(() =>
        pending
          .all({ now })
          .filter((row) => row.proposer === proposer)
          .map(read)
          .filter((operation) => ledger.proven(operation)),
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
        return toPage(
          engine.rows(query),
          size,
          (row) => {
            const operation = read(row);
            return { ...operation, altered: !ledger.proven(operation) };
          },
          (row) => row.id,
        );
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
        required(row);
        if (policyVersion !== undefined && (policyRow.get({})?.version ?? 0) !== policyVersion)
          throw new PkiError(
            'APPROVAL_NOT_OPEN',
            'the approval policy has changed since the operation was proposed',
          );
        if (policyVersion !== undefined) presentPolicy();
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
        const written = byId.get({ id }) as OperationTable;
        audit(event, { kind: 'operation', id, text: rowText.operation(written) });
        return toOperation(written);
      }),
    interrupted: () =>
      engine.read(() =>
        executing
          .all({})
          .map(read)
          .filter((operation) => ledger.proven(operation)),
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
