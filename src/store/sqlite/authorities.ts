import { createHash } from 'node:crypto';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { parseCertificate } from '../../common/x509/index.ts';
import {
  loggedObject,
  isLegalTransition,
  legalTransitions,
  type Authority,
  type AuthorityKind,
  type AuthorityScope,
  type AuthorityState,
  type TokenRole,
} from '../../domain/index.ts';
import type { AuthorityStore, Lease, LogGuard, TransitionContext } from '../ports/index.ts';
import type { AuthorityTable, CertificateTable } from '../schema.ts';
import type { KeyType } from '../../common/x509/index.ts';
import type { AuditWriter } from './audit.ts';
import type { CountStates } from './certificates.ts';
import { bytesOrNull, fromHex, fromJson } from './codec.ts';
import type { FenceCheck } from './leases.ts';
import type { Engine } from './engine.ts';
import type { EvidenceWriter } from './evidence.ts';
import type { JwtWriter } from './jwt-svids.ts';
import type { Revisions } from './meta.ts';
import { builder } from './statement.ts';

export interface AuthorityParts {
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly audit: AuditWriter;
  readonly countStates: CountStates;
  readonly revisions: Revisions;
  readonly jwt: JwtWriter;
  readonly evidence: EvidenceWriter;
}
type Made = Parameters<AuthorityStore['complete']>[2];
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

export function createAuthorities(
  engine: Engine,
  { audit, guard, checkFence, countStates, revisions, jwt, evidence }: AuthorityParts,
): AuthorityStore {
  const { byId, certificateState } = authorityReads(engine);
  const { insert, fill, move, insertCertificate } = authorityWrites(engine);
  const existing = (id: string): AuthorityTable => {
    const row = byId.get({ id });
    if (row === undefined) throw new PkiError('NOT_FOUND', `there is no authority ${id}`);
    return row;
  };

  const stored = (id: string) => loggedObject('authority', toAuthority(existing(id)));

  /** The row, if it is as the log has it, the compare-and-set holds and the step is legal. */
  const stepping = (id: string, version: number, to: AuthorityState): AuthorityTable => {
    const row = existing(id);
    guard.requireRow('authority', id, toAuthority(row));
    if (row.version !== version)
      throw new PkiError(
        'CONFLICT',
        `authority ${id} is at version ${row.version}, not ${version}`,
      );
    const from = row.state as AuthorityState;
    if (!isLegalTransition(from, to)) {
      const legal = legalTransitions(from);
      throw new PkiError('CONFLICT', `authority ${id} can not go from ${from} to ${to}`, {
        next:
          legal.length === 0
            ? `${from} is final.`
            : `From ${from} it may go to ${legal.join(', ')}.`,
      });
    }
    return row;
  };

  const step = (
    row: AuthorityTable,
    to: AuthorityState,
    now: number,
    { scope, taintWindowSeconds }: TransitionContext = {},
  ): void => {
    move.run({
      id: row.id,
      state: to,
      scope: scope === undefined ? row.scope : JSON.stringify(scope),
      activated_at: to === 'active' ? now : row.activated_at,
      tainted_at: to === 'tainted' ? now : row.tainted_at,
      published_at: to === 'published' ? now : row.published_at,
      taint_window_seconds: taintWindowSeconds ?? row.taint_window_seconds,
    });
  };
  const fenced = (lease: Lease | undefined): void => {
    if (lease !== undefined) checkFence(lease);
  };

  /** The inventory holds what the certificate says, not what the caller says of it. */
  const recordCertificate = (row: AuthorityTable, der: Buffer, createdAtMs: number): void => {
    const certificate = unwrap(parseCertificate(der));
    const serial = fromHex(certificate.serialHex, 'the serial');
    const state = certificateState.get({ serial })?.state;
    // a certificate that was signed here took the recorded way
    if (state === 'issued') return;
    if (state !== undefined)
      throw new PkiError('CONFLICT', `certificate ${certificate.serialHex} is ${state} on record`);
    insertCertificate.run({
      serial,
      spiffe_id: certificate.uriSans[0] ?? '',
      authority_id: row.parent_id ?? row.id,
      public_key_sha256: sha256(certificate.spkiDer),
      created_at_ms: createdAtMs,
      not_before: certificate.notBefore,
      not_after: certificate.notAfter,
      sha256: sha256(der),
      certificate_der: der,
    });
    countStates({ issued: 1 });
  };

  const complete = (id: string, version: number, made: Made, createdAtMs: number): Authority => {
    const row = stepping(id, version, 'prepared');
    fill.run({
      id,
      spki_der: made.spkiDer,
      certificate_der: made.certificateDer,
      subject_key_id: made.subjectKeyId,
      not_before: made.notBefore,
      not_after: made.notAfter,
      parent_id: made.parentId ?? row.parent_id,
    });
    step(row, 'prepared', row.created_at);
    if (made.certificateDer !== null && row.token !== 'external')
      recordCertificate(existing(id), made.certificateDer, createdAtMs);
    return toAuthority(existing(id));
  };

  return {
    create: (authority, event, lease) =>
      engine.write(() => {
        fenced(lease);
        if (authority.state !== 'preparing')
          throw new PkiError(
            'CONFLICT',
            `an authority begins as preparing, not as ${authority.state}`,
          );
        insert.run(toRow(authority));
        audit(event, stored(authority.id));
      }),
    complete: (id, version, made, event, lease) =>
      engine.write(() => {
        fenced(lease);
        const done = complete(id, version, made, event.timeMs);
        audit(event, stored(id));
        return done;
      }),
    transition: (id, version, to, now, event, context = {}) =>
      engine.write(() => {
        fenced(context.lease);
        if (to === 'prepared')
          throw new PkiError('CONFLICT', `authority ${id} becomes prepared by being completed`);
        step(stepping(id, version, to), to, now, context);
        if (context.evidence !== undefined) {
          if (event.detail['evidence'] !== context.evidence.sha256)
            throw new PkiError(
              'INTERNAL',
              'the record of an activation does not name its evidence',
            );
          evidence(id, context.evidence, now);
        }
        revisions.advance();
        audit(event, stored(id));
        return toAuthority(existing(id));
      }),
    rescope: (id, version, scope, event, lease) =>
      engine.write(() => {
        fenced(lease);
        const row = existing(id);
        guard.requireRow('authority', id, toAuthority(row));
        if (row.version !== version)
          throw new PkiError(
            'CONFLICT',
            `authority ${id} is at version ${row.version}, not ${version}`,
          );
        if (row.state !== 'active')
          throw new PkiError('CONFLICT', `authority ${id} is ${row.state}: it signs for nobody`);
        step(row, 'active', row.activated_at ?? 0, { scope });
        revisions.advance();
        audit(event, stored(id));
        return toAuthority(existing(id));
      }),
    byId: (id) =>
      engine.read(() => {
        const row = byId.get({ id });
        return row === undefined ? undefined : toAuthority(row);
      }),
    list: (filter = {}) =>
      engine.read(() => {
        let query = builder
          .selectFrom('authorities')
          .selectAll()
          .orderBy('created_at')
          .orderBy('id');
        if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind);
        if (filter.states !== undefined) query = query.where('state', 'in', filter.states);
        return engine.rows(query).map(toAuthority);
      }),
    highestJwtExpiry: (id) => engine.read(() => jwt.highestExpiry(id)),
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

function authorityWrites(engine: Engine) {
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

const sha256 = (data: Buffer): Buffer => createHash('sha256').update(data).digest();

const toRow = (authority: Authority): AuthorityTable => ({
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

const toAuthority = (row: AuthorityTable): Authority => ({
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
