import { PkiError } from '../../common/errors/index.ts';
import { decisionIn } from '../../common/policy/index.ts';
import { leafHash, readCanonical, type AuditRecord } from '../../domain/index.ts';
import type { AuditFilter, AuditStore, CertificateStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';
import type { RecordedDecision } from './policy-reviews.ts';

export interface DecisionDependencies {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly facts: Pick<LogFacts, 'holds'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
}

/** How far the time in an ID may be before, and behind, the time of its record. */
const beforeMs = 5_000;
const behindMs = 600_000;
const uuid = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** The record of a decision, which the log vouches for. */
export async function recordedDecision(
  dependencies: DecisionDependencies,
  id: string,
): Promise<RecordedDecision> {
  for (const filter of await placesOf(dependencies, id))
    for await (const records of pagesOf((page) => dependencies.audit.list(filter, page), {
      size: 250,
    }))
      for (const record of records) {
        const decision = await decisionOf(dependencies, record, id);
        if (decision !== undefined) return decision;
      }
  throw new PkiError('NOT_FOUND', `no record of the log has the ID ${id}`, {
    next:
      'Name the whole serial of a certificate (meshca certificate list --wide), the jti of a ' +
      'JWT-SVID, or the refusal ID that the caller was told.',
  });
}

/** Where a record can be: serials lead to the inventory, other IDs contain their time. */
async function placesOf(
  { certificates }: DecisionDependencies,
  id: string,
): Promise<readonly AuditFilter[]> {
  const [, high, low] = uuid.exec(id) ?? [];
  if (high !== undefined && low !== undefined) {
    const timeMs = Number.parseInt(high + low, 16);
    const range = { sinceMs: timeMs - beforeMs, untilMs: timeMs + behindMs };
    return ['certificate.refused', 'request.refused', 'jwt.issued', 'jwt.withheld'].map((kind) => ({
      kind,
      ...range,
    }));
  }
  if (!/^[0-9a-f]{2,40}$/.test(id))
    throw new PkiError(
      'INVALID_REQUEST',
      `${JSON.stringify(id.slice(0, 64))} is neither a serial, nor a jti, nor the ID of a refusal`,
    );
  const row = await certificates.bySerial(id);
  if (row === undefined) return [];
  const { spiffeId: subject, createdAtMs } = row;
  return [{ subject, sinceMs: createdAtMs - beforeMs, untilMs: createdAtMs + behindMs }];
}

/** What was withheld had been allowed. */
const decidedKind = (kind: string): string =>
  kind.endsWith('.withheld')
    ? kind.startsWith('jwt.')
      ? 'jwt.issued'
      : 'certificate.issued'
    : kind;

/** Undefined: the record is about something else. */
async function decisionOf(
  { facts }: DecisionDependencies,
  { sequence, canonical }: AuditRecord,
  id: string,
): Promise<RecordedDecision | undefined> {
  const act = readCanonical(canonical);
  if (act === undefined) return undefined;
  const { serial, jti, refusalId } = act.detail;
  if (serial !== id && jti !== id && refusalId !== id) return undefined;
  if (!(await facts.holds(sequence, leafHash(canonical)))) return undefined;
  const decision = decisionIn({ ...act, kind: decidedKind(act.kind) });
  const record = { sequence, kind: act.kind, timeMs: act.timeMs };
  if (decision.type === 'decided') {
    const { allowed, version, rule } = decision;
    return { record, facts: decision.facts, allowed, version, rule };
  }
  const next = `Look at the record: "meshca audit show ${sequence}".`;
  if (decision.type === 'none')
    throw new PkiError('INVALID_REQUEST', `no policy decided about ${id} (${act.kind})`, { next });
  throw new PkiError(
    'INVALID_REQUEST',
    decision.why === 'older'
      ? `the record ${sequence} does not state the facts of its decision: an older release wrote it`
      : `the facts in the record ${sequence} are not those that were decided`,
    { next },
  );
}
