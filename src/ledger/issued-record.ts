import {
  certificateKinds,
  readCanonical,
  type AuditEvent,
  type CertificateKind,
} from '../domain/index.ts';

/** A leaf in the record of its issuance. */
export interface RecordedLeaf {
  readonly kind: CertificateKind;
  readonly holder: string;
  readonly serial: string;
  readonly authorityId: string;
  readonly atMs: number;
  readonly notAfter: number;
}

/** What an authority signed for others, in the record of its issuance. */
export type Issued =
  | ({ readonly of: 'leaf' } & RecordedLeaf)
  /** A downstream CA. */
  | ({ readonly of: 'downstream' } & Pick<RecordedLeaf, 'serial' | 'authorityId' | 'notAfter'>)
  | ({ readonly of: 'jwt' } & Pick<RecordedLeaf, 'authorityId' | 'notAfter'>)
  /** A process of a control plane that watches the bundle with a certificate, or has left. */
  | ({ readonly of: 'watch' } & Watching)
  | ({ readonly of: 'left' } & Watching);

/** One process of a control plane, and the end of the certificate with which it watches. */
export interface Watching extends Pick<RecordedLeaf, 'holder' | 'notAfter'> {
  readonly instance: string;
}

/** Each kind of record, and the detail with the end of what was issued. */
const ends = {
  'certificate.issued': 'notAfter',
  'authority.downstream': 'notAfter',
  'jwt.issued': 'expiresAt',
  'control-plane.watched': 'notAfter',
  'control-plane.left': 'notAfter',
} as const;

/** Inside a JSON string the quotes would be escaped, so that these bytes mark fields only. */
const marks = Object.entries(ends).map(([kind, end]) => ({
  kind: Buffer.from(`"kind":"${kind}"`),
  end: Buffer.from(`"${end}":`),
}));

export function issuedIn({ kind, detail, timeMs }: AuditEvent): Issued | undefined {
  if (!Object.hasOwn(ends, kind)) return undefined;
  const { authority: authorityId, holder, serial, certificateKind } = detail;
  const notAfter = detail[ends[kind as keyof typeof ends]];
  if (typeof notAfter !== 'number') return undefined;
  if (kind === 'control-plane.watched' || kind === 'control-plane.left') {
    const of = kind === 'control-plane.left' ? 'left' : 'watch';
    const { instance } = detail;
    return typeof holder === 'string' && typeof instance === 'string'
      ? { of, holder, instance, notAfter }
      : undefined;
  }
  if (typeof authorityId !== 'string') return undefined;
  if (kind === 'jwt.issued') return { of: 'jwt', authorityId, notAfter };
  if (typeof serial !== 'string') return undefined;
  if (kind === 'authority.downstream') return { of: 'downstream', serial, authorityId, notAfter };
  const leafKind = certificateKinds.find((each) => each === certificateKind);
  return typeof holder === 'string' && leafKind !== undefined
    ? { of: 'leaf', kind: leafKind, holder, serial, authorityId, notAfter, atMs: timeMs }
    : undefined;
}

/**
 * The same from the bytes of a record, if it ends at `since` or later. Most records of a long log
 * concern what has expired and are not parsed.
 */
export function issuedFrom(canonical: Buffer, since: number): Issued | undefined {
  const mark = marks.find(({ kind }) => canonical.includes(kind));
  const at = mark === undefined ? -1 : canonical.indexOf(mark.end);
  if (mark === undefined || at < 0) return undefined;
  const from = at + mark.end.length;
  if (Number.parseInt(canonical.toString('latin1', from, from + 12), 10) < since) return undefined;
  const event = readCanonical(canonical);
  return event === undefined ? undefined : issuedIn(event);
}
