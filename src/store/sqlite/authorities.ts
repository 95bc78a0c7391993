import { createHash } from 'node:crypto';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { ActivationEvidence } from '../../common/tlog/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import {
  blockedKeyText,
  loggedObject,
  isLegalTransition,
  legalTransitions,
  type AuditEvent,
  type Authority,
  type AuthorityScope,
  type AuthorityState,
} from '../../domain/index.ts';
import type {
  AuthorityStore,
  AuthorityVersion,
  Lease,
  LogGuard,
  TransitionContext,
} from '../ports/index.ts';
import type { AuthorityTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import type { IsKeyBlocked } from './blocked-keys.ts';
import type { CountStates } from './certificates.ts';
import { fromHex } from './codec.ts';
import type { FenceCheck } from './leases.ts';
import type { Engine } from './engine.ts';
import type { EvidenceWriter } from './evidence.ts';
import type { JwtWriter } from './jwt-svids.ts';
import { authorityRows, toAuthority, toRow, type AuthorityRows } from './authority-rows.ts';
import type { Revisions } from './meta.ts';
import { builder } from './statement.ts';

export interface AuthorityDependencies {
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly audit: AuditWriter;
  readonly countStates: CountStates;
  readonly isBlocked: IsKeyBlocked;
  readonly revisions: Revisions;
  readonly jwt: JwtWriter;
  readonly evidence: EvidenceWriter;
}
type Made = Parameters<AuthorityStore['complete']>[1];
export function createAuthorities(
  engine: Engine,
  dependencies: AuthorityDependencies,
): AuthorityStore {
  const { audit, checkFence, revisions, jwt } = dependencies;
  const rows = authorityRows(engine, dependencies.guard);
  const stored = (id: string) => loggedObject('authority', toAuthority(rows.existing(id)));
  const fenced = (lease: Lease | undefined): void => {
    if (lease !== undefined) checkFence(lease);
  };
  const recorded = (id: string, event: AuditEvent): Authority => {
    audit(event, stored(id));
    return toAuthority(rows.existing(id));
  };

  return {
    create: (authority, event, { lease, signal } = {}) =>
      engine.write(() => {
        fenced(lease);
        if (authority.state !== 'preparing')
          throw new PkiError(
            'CONFLICT',
            `a new authority must be preparing, not ${authority.state}`,
          );
        rows.insert.run(toRow(authority));
        audit(event, stored(authority.id));
      }, signal),
    complete: (of, completion, event) =>
      engine.write(() => {
        fenced(of.lease);
        complete(rows, dependencies, of, { ...completion, createdAtMs: event.timeMs });
        return recorded(of.id, event);
      }),
    transition: (of, to, event, context = {}) =>
      engine.write(() => {
        fenced(context.lease);
        transition(rows, of, to, context);
        if (context.evidence !== undefined)
          dependencies.evidence(of.id, namedEvidence(context.evidence, event), of.now);
        revisions.advance();
        return recorded(of.id, event);
      }, context.signal),
    rescope: (of, scope, event) =>
      engine.write(() => {
        fenced(of.lease);
        rescope(rows, of, scope);
        revisions.advance();
        return recorded(of.id, event);
      }),
    byId: (id, signal) =>
      engine.read(() => {
        const row = rows.byId.get({ id });
        return row === undefined ? undefined : toAuthority(row);
      }, signal),
    list: (filter = {}) => engine.read(() => listed(engine, filter)),
    highestJwtExpiry: (id) => engine.read(() => jwt.highestExpiry(id)),
  };
}

function listed(
  engine: Engine,
  { kind, states }: NonNullable<Parameters<AuthorityStore['list']>[0]>,
): readonly Authority[] {
  let query = builder.selectFrom('authorities').selectAll().orderBy('created_at').orderBy('id');
  if (kind !== undefined) query = query.where('kind', '=', kind);
  if (states !== undefined) query = query.where('state', 'in', states);
  return engine.rows(query).map(toAuthority);
}

function refuseIllegal(row: AuthorityTable, to: AuthorityState): void {
  const from = row.state as AuthorityState;
  if (isLegalTransition(from, to)) return;
  const legal = legalTransitions(from);
  throw new PkiError('CONFLICT', `authority ${row.id} can not go from ${from} to ${to}`, {
    next:
      legal.length === 0 ? `${from} is final.` : `From ${from} it may go to ${legal.join(', ')}.`,
  });
}

function step(
  { move }: AuthorityRows,
  row: AuthorityTable,
  { to, now }: { readonly to: AuthorityState; readonly now: number },
  { scope, taintWindowSeconds }: TransitionContext = {},
): void {
  move.run({
    id: row.id,
    state: to,
    scope: scope === undefined ? row.scope : JSON.stringify(scope),
    activated_at: to === 'active' ? now : row.activated_at,
    tainted_at: to === 'tainted' ? now : row.tainted_at,
    published_at: to === 'published' ? now : row.published_at,
    taint_window_seconds: taintWindowSeconds ?? row.taint_window_seconds,
  });
}

function transition(
  rows: AuthorityRows,
  { id, version, now }: Parameters<AuthorityStore['transition']>[0],
  to: AuthorityState,
  context: TransitionContext,
): void {
  if (to === 'prepared')
    throw new PkiError('CONFLICT', `authority ${id} can become prepared only by completion`);
  const row = rows.standing(id, version);
  refuseIllegal(row, to);
  step(rows, row, { to, now }, context);
}

function namedEvidence(evidence: ActivationEvidence, event: AuditEvent): ActivationEvidence {
  if (event.detail['evidence'] !== evidence.sha256)
    throw new PkiError('INTERNAL', 'the record of an activation does not name its evidence');
  return evidence;
}

function rescope(
  rows: AuthorityRows,
  { id, version }: AuthorityVersion,
  scope: AuthorityScope,
): void {
  const row = rows.standing(id, version);
  if (row.state !== 'active')
    throw new PkiError(
      'CONFLICT',
      `authority ${id} is ${row.state}, and only active authorities have a scope to change`,
    );
  step(rows, row, { to: 'active', now: row.activated_at ?? 0 }, { scope });
}

/** Whoever made the certificate of an authority: none with a blocked key is recorded. */
function refuseBlocked(spkiDer: Buffer, isBlocked: IsKeyBlocked): void {
  const sha256 = sha256Hex(spkiDer);
  if (isBlocked(sha256)) throw new PkiError('KEY_BLOCKED', blockedKeyText(sha256));
}

function complete(
  rows: AuthorityRows,
  { countStates, isBlocked }: Pick<AuthorityDependencies, 'countStates' | 'isBlocked'>,
  { id, version }: AuthorityVersion,
  completion: Made & { readonly createdAtMs: number },
): void {
  const row = rows.standing(id, version);
  refuseIllegal(row, 'prepared');
  refuseBlocked(completion.spkiDer, isBlocked);
  rows.fill.run({
    id,
    spki_der: completion.spkiDer,
    certificate_der: completion.certificateDer,
    subject_key_id: completion.subjectKeyId,
    not_before: completion.notBefore,
    not_after: completion.notAfter,
    parent_id: completion.parentId ?? row.parent_id,
  });
  step(rows, row, { to: 'prepared', now: row.created_at });
  if (completion.certificateDer !== null && row.token !== 'external') {
    const inserted = recordCertificate(
      rows,
      rows.existing(id),
      completion.certificateDer,
      completion.createdAtMs,
    );
    if (inserted) countStates({ issued: 1 });
  }
}

/** The inventory row is read from the certificate itself, not from the caller. */
function recordCertificate(
  { certificateState, insertCertificate }: AuthorityRows,
  row: AuthorityTable,
  der: Buffer,
  createdAtMs: number,
): boolean {
  const certificate = unwrap(parseCertificate(der));
  const serial = fromHex(certificate.serialHex, 'the serial');
  const state = certificateState.get({ serial })?.state;
  // a certificate that was signed here is already recorded as issued
  if (state === 'issued') return false;
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
  return true;
}

const sha256 = (data: Buffer): Buffer => createHash('sha256').update(data).digest();
