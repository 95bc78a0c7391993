import { PkiError } from '../../common/errors/index.ts';
import {
  loggedObject,
  type IssuancePolicyVersion,
  type StoredIssuancePolicy,
} from '../../domain/index.ts';
import type { IssuancePolicyStore, LogGuard } from '../ports/index.ts';
import type { IssuancePolicyTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromHex, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import { badCursor, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

export function createIssuancePolicies(
  engine: Engine,
  audit: AuditWriter,
  guard: LogGuard,
): IssuancePolicyStore {
  const newest = newestIssuancePolicy(engine);
  const byVersion = engine.statement<{ version: number }>()((query, slot) =>
    query.selectFrom('issuance_policies').selectAll().where('version', '=', slot('version')),
  );
  const insert = insertOf(engine);
  return {
    newest: () => engine.read(() => newest()?.version ?? 0),
    byVersion: (version) =>
      engine.read(() => {
        const row = byVersion.get({ version });
        return row === undefined ? undefined : { ...toVersion(row), text: row.text };
      }),
    list: (page) => engine.read(() => listed(engine, page.after, pageSize(page)), page.signal),
    activate: ({ text, ...policy }, present, event, signal) =>
      engine.write(() => {
        const highest = newest()?.version ?? 0;
        if (highest > present)
          throw new PkiError('CONFLICT', `the policy is at version ${highest}, not ${present}`);
        const version = { ...policy, version: present + 1 };
        // the log may have it although its row was taken away
        guard.requireRow('issuance-policy', String(version.version), undefined);
        insert.run(toRow({ ...version, text }));
        audit(event, loggedObject('issuance-policy', version));
        return version;
      }, signal),
  };
}

/** The newest version among the rows, without its file. */
export function newestIssuancePolicy(engine: Engine): () => IssuancePolicyVersion | undefined {
  const newest = engine.statement<Record<never, never>>()((query) =>
    query
      .selectFrom('issuance_policies')
      .select(['version', 'sha256', 'reason', 'activated_at', 'activated_by'])
      .orderBy('version', 'desc')
      .limit(1),
  );
  return () => {
    const row = newest.get({});
    return row === undefined ? undefined : toVersion(row);
  };
}

const insertOf = (engine: Engine) =>
  engine.statement<{ [Column in keyof IssuancePolicyTable]: IssuancePolicyTable[Column] }>()(
    (query, slot) =>
      query.insertInto('issuance_policies').values({
        version: slot('version'),
        text: slot('text'),
        sha256: slot('sha256'),
        reason: slot('reason'),
        activated_at: slot('activated_at'),
        activated_by: slot('activated_by'),
      } as never),
  );

function listed(engine: Engine, after: string | undefined, size: number) {
  if (after !== undefined && !/^\d{1,15}$/.test(after)) throw badCursor();
  let query = builder
    .selectFrom('issuance_policies')
    .select(['version', 'sha256', 'reason', 'activated_at', 'activated_by'])
    .orderBy('version', 'desc')
    .limit(size + 1);
  if (after !== undefined) query = query.where('version', '<', Number(after));
  return toPage(engine.rows(query), size, toVersion, ({ version }) => String(version));
}

const toVersion = (row: Omit<IssuancePolicyTable, 'text'>): IssuancePolicyVersion => ({
  version: row.version,
  sha256: hex(row.sha256),
  reason: row.reason,
  activatedAt: row.activated_at,
  activatedBy: row.activated_by,
});

const toRow = (policy: StoredIssuancePolicy): IssuancePolicyTable => ({
  version: policy.version,
  text: policy.text,
  sha256: fromHex(policy.sha256, 'sha256'),
  reason: policy.reason,
  activated_at: policy.activatedAt,
  activated_by: policy.activatedBy,
});
