import { PkiError } from '../../common/errors/index.ts';
import type { KeyType } from '../../common/x509/index.ts';
import type {
  Authority,
  AuthorityKind,
  AuthorityScope,
  AuthorityState,
  TokenRole,
} from '../../domain/index.ts';
import type { LogGuard } from '../ports/index.ts';
import type { AuthorityTable, CertificateTable } from '../schema.ts';
import { bytesOrNull, fromJson } from './codec.ts';
import type { Engine } from './engine.ts';

type InventoryRow = Pick<
  CertificateTable,
  | 'serial'
  | 'spiffe_id'
  | 'authority_id'
  | 'public_key_sha256'
  | 'created_at_ms'
  | 'not_before'
  | 'not_after'
  | 'sha256'
  | 'certificate_der'
>;

type Moved = Pick<
  AuthorityTable,
  'id' | 'state' | 'scope' | 'activated_at' | 'tainted_at' | 'published_at' | 'taint_window_seconds'
>;

export type AuthorityRows = ReturnType<typeof authorityRows>;

export function authorityRows(engine: Engine, guard: LogGuard) {
  const reads = authorityReads(engine);
  const writes = { ...authorityInserts(engine), ...authorityUpdates(engine) };
  const existing = (id: string): AuthorityTable => {
    const row = reads.byId.get({ id });
    if (row === undefined) throw new PkiError('NOT_FOUND', `there is no authority ${id}`);
    return row;
  };
  return {
    ...reads,
    ...writes,
    existing,
    /** The row, if the log vouches for it and the compare-and-set succeeds. */
    standing: (id: string, version: number): AuthorityTable => {
      const row = existing(id);
      guard.requireRow('authority', id, toAuthority(row));
      if (row.version !== version)
        throw new PkiError(
          'CONFLICT',
          `authority ${id} is at version ${row.version}, not ${version}`,
        );
      return row;
    },
  };
}

function authorityReads(engine: Engine) {
  return {
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('authorities').selectAll().where('id', '=', slot('id')),
    ),
    certificateState: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.selectFrom('certificates').select('state').where('serial', '=', slot('serial')),
    ),
  };
}

function authorityInserts(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof AuthorityTable]: AuthorityTable[Column] }>()(
      (query, slot) =>
        query.insertInto('authorities').values({
          id: slot('id'),
          kind: slot('kind'),
          state: slot('state'),
          version: slot('version'),
          key_type: slot('key_type'),
          token: slot('token'),
          cka_id: slot('cka_id'),
          parent_id: slot('parent_id'),
          scope: slot('scope'),
          spki_der: slot('spki_der'),
          certificate_der: slot('certificate_der'),
          subject_key_id: slot('subject_key_id'),
          not_before: slot('not_before'),
          not_after: slot('not_after'),
          created_at: slot('created_at'),
          activated_at: slot('activated_at'),
          tainted_at: slot('tainted_at'),
          highest_jwt_expiry: slot('highest_jwt_expiry'),
          published_at: slot('published_at'),
          taint_window_seconds: slot('taint_window_seconds'),
        }),
    ),
    insertCertificate: engine.statement<{
      [Column in keyof InventoryRow]: InventoryRow[Column];
    }>()((query, slot) =>
      query.insertInto('certificates').values({
        serial: slot('serial'),
        spiffe_id: slot('spiffe_id'),
        kind: 'authority',
        profile: 'authority',
        state: 'issued',
        requester: 'server',
        holder: 'server',
        public_key_sha256: slot('public_key_sha256'),
        request_id: '',
        authority_id: slot('authority_id'),
        created_at_ms: slot('created_at_ms'),
        not_before: slot('not_before'),
        not_after: slot('not_after'),
        sha256: slot('sha256'),
        certificate_der: slot('certificate_der'),
      } as never),
    ),
  };
}

function authorityUpdates(engine: Engine) {
  return {
    fill: engine.statement<{
      id: string;
      spki_der: Buffer;
      certificate_der: Buffer | null;
      subject_key_id: string | null;
      not_before: number;
      not_after: number;
      parent_id: string | null;
    }>()((query, slot) =>
      query
        .updateTable('authorities')
        .set({
          spki_der: slot('spki_der'),
          certificate_der: slot('certificate_der'),
          subject_key_id: slot('subject_key_id'),
          not_before: slot('not_before'),
          not_after: slot('not_after'),
          parent_id: slot('parent_id'),
        })
        .where('id', '=', slot('id')),
    ),
    move: engine.statement<{ [Column in keyof Moved]: Moved[Column] }>()((query, slot) =>
      query
        .updateTable('authorities')
        .set((eb) => ({
          state: slot('state'),
          version: eb('version', '+', 1),
          scope: slot('scope'),
          activated_at: slot('activated_at'),
          tainted_at: slot('tainted_at'),
          published_at: slot('published_at'),
          taint_window_seconds: slot('taint_window_seconds'),
        }))
        .where('id', '=', slot('id')),
    ),
  };
}

export const toRow = (authority: Authority): AuthorityTable => ({
  id: authority.id,
  kind: authority.kind,
  state: authority.state,
  version: authority.version,
  key_type: authority.keyType,
  token: authority.token,
  cka_id: authority.ckaId,
  parent_id: authority.parentId,
  scope: JSON.stringify(authority.scope),
  spki_der: authority.spkiDer,
  certificate_der: authority.certificateDer,
  subject_key_id: authority.subjectKeyId,
  not_before: authority.notBefore,
  not_after: authority.notAfter,
  created_at: authority.createdAt,
  activated_at: authority.activatedAt,
  tainted_at: authority.taintedAt,
  highest_jwt_expiry: 0,
  published_at: null,
  taint_window_seconds: null,
});

export const toAuthority = (row: AuthorityTable): Authority => ({
  id: row.id,
  kind: row.kind as AuthorityKind,
  state: row.state as AuthorityState,
  version: row.version,
  keyType: row.key_type as KeyType,
  token: row.token as TokenRole,
  ckaId: row.cka_id,
  parentId: row.parent_id,
  scope: fromJson<AuthorityScope>('authorities', row.scope),
  spkiDer: bytesOrNull(row.spki_der),
  certificateDer: bytesOrNull(row.certificate_der),
  subjectKeyId: row.subject_key_id,
  notBefore: row.not_before,
  notAfter: row.not_after,
  createdAt: row.created_at,
  activatedAt: row.activated_at,
  taintedAt: row.tainted_at,
  publishedAt: row.published_at,
  taintWindowSeconds: row.taint_window_seconds,
});
