import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import { serialTimeMs } from '../../certs/index.ts';
import {
  certificateKinds,
  readCanonical,
  recordedProfiles,
  type AuditEvent,
  type CertificateRecord,
  type NamesSubject,
} from '../../domain/index.ts';
import type { LoggedRecord } from '../../ledger/index.ts';

/** A certificate as the record of what became of it states it. */
export interface LoggedCertificate {
  /** Without bytes, and in the place of its record. */
  readonly record: CertificateRecord;
  /** Undefined: the record is of an older release. */
  readonly names: NamesSubject | undefined;
  /** The CA of a workload. */
  readonly isDownstream: boolean;
  readonly from: LoggedRecord;
}

const states = {
  'certificate.issued': 'issued',
  'authority.downstream': 'issued',
  'certificate.withheld': 'withheld',
  'certificate.abandoned': 'abandoned',
} as const;

/** Inside a JSON string the quotes would be escaped, so that these bytes mark a field only. */
const kindMarks = Object.keys(states).map((kind) => Buffer.from(`"kind":"${kind}"`));

/**
 * Undefined: the record is about no certificate that may be in use, or it does not contain all of
 * the texts, or it lacks what a revocation states.
 */
export function loggedCertificate(
  from: LoggedRecord,
  texts: readonly Buffer[] = [],
): LoggedCertificate | undefined {
  const { canonical } = from;
  if (!kindMarks.some((mark) => canonical.includes(mark))) return undefined;
  if (!texts.every((bytes) => canonical.includes(bytes))) return undefined;
  const event = readCanonical(canonical);
  const record = event === undefined ? undefined : recordIn(event, from.sequence);
  if (event === undefined || record === undefined) return undefined;
  return {
    record,
    names: namesIn(event),
    isDownstream: event.kind === 'authority.downstream',
    from,
  };
}

function recordIn(event: AuditEvent, sequence: number): CertificateRecord | undefined {
  const { detail, subject, actor } = event;
  if (!Object.hasOwn(states, event.kind)) return undefined;
  const text = (...names: readonly string[]): string | undefined =>
    names.map((name) => detail[name]).find((value) => typeof value === 'string');
  const number = (name: string): number | undefined => {
    const value = detail[name];
    return typeof value === 'number' ? value : undefined;
  };
  // a start records the end of an intent under its serial
  const serial = text('serial') ?? subject;
  const stated = text('certificateKind', 'kind');
  const kind = certificateKinds.find((each) => each === stated);
  const profile = recordedProfiles.find((each) => each === detail['profile']);
  const [holder, publicKeySha256] = [text('holder'), text('publicKeySha256')];
  const [authorityId, notAfter] = [text('authority', 'authorityId'), number('notAfter')];
  if (kind === undefined || profile === undefined || holder === undefined) return undefined;
  if (publicKeySha256 === undefined || authorityId === undefined || notAfter === undefined)
    return undefined;
  return {
    ...{ sequence, serial, kind, profile, holder, publicKeySha256, authorityId, notAfter },
    spiffeId: serial === subject ? (text('spiffeId') ?? subject) : subject,
    state: states[event.kind as keyof typeof states],
    stateReason: null,
    entryId: text('entry') ?? null,
    delegationId: text('delegation') ?? null,
    requester: text('requester') ?? actor,
    requestId: text('requestId') ?? '',
    createdAtMs: serialTimeMs(serial),
    notBefore: number('notBefore') ?? 0,
    sha256: text('sha256') ?? null,
    shard: number('shard') ?? 0,
    tenant: text('tenant') ?? null,
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: null,
  };
}

/** The facts of the policy state the names, unless the subject is the only one. */
function namesIn({ subject, detail }: AuditEvent): NamesSubject | undefined {
  if (detail['callerClass'] === undefined) return undefined;
  const of = (name: string, prefix: string): readonly string[] => {
    const value = detail[name];
    if (Array.isArray(value)) return value.filter((each) => typeof each === 'string');
    return subject.startsWith(prefix) ? [subject.slice(prefix.length)] : [];
  };
  return { kind: 'names', dnsNames: of('dnsNames', 'dns:'), ips: of('ips', 'ip:') };
}

/** With the bytes of the row and their names, where they are those of the log. */
export function withBytes(
  { record, names, ...rest }: LoggedCertificate,
  row: CertificateRecord | undefined,
): LoggedCertificate {
  const der = row?.certificateDer ?? null;
  if (der === null || record.sha256 === null || sha256Hex(der) !== record.sha256)
    return { record, names, ...rest };
  const parsed = parseCertificate(der);
  return {
    ...rest,
    record: { ...record, certificateDer: der },
    names: parsed.ok
      ? { kind: 'names', dnsNames: parsed.value.dnsSans, ips: parsed.value.ipSans }
      : names,
  };
}

/** Clocks may go back a little between a serial and its row. */
const toleranceMs = 60_000;

/** Whether somebody altered the row past the log, or took it away. */
export function isAltered(
  row: CertificateRecord | undefined,
  { record }: LoggedCertificate,
): boolean {
  if (row === undefined) return true;
  return (
    compared.some((name) => row[name] !== record[name]) ||
    (row.state === 'issued') !== (record.state === 'issued') ||
    (record.state === 'issued' && record.certificateDer === null) ||
    Math.abs(row.createdAtMs - record.createdAtMs) > toleranceMs
  );
}

const compared = [
  'spiffeId',
  'kind',
  'profile',
  'holder',
  'entryId',
  'delegationId',
  'publicKeySha256',
  'authorityId',
  'notAfter',
  'shard',
  'tenant',
] as const;
