import type { SpiffeId } from '../common/spiffe/index.ts';

/** A SPIFFE identity, with additional DNS names. */
export interface SpiffeSubject {
  readonly kind: 'spiffe';
  readonly id: SpiffeId;
  readonly dnsNames: readonly string[];
}

/** Names without a SPIFFE ID, of an endpoint or a Linkerd proxy: the certificate has no URI SAN. */
export interface NamesSubject {
  readonly kind: 'names';
  /** In lower case; `*.` may replace the first label. */
  readonly dnsNames: readonly string[];
  /** IPv4 and IPv6 addresses in canonical text. */
  readonly ips: readonly string[];
}

/** What a certificate says of its holder. */
export type Subject = SpiffeSubject | NamesSubject;

export const spiffeSubject = (id: SpiffeId, dnsNames: readonly string[] = []): SpiffeSubject => ({
  kind: 'spiffe',
  id,
  dnsNames,
});

/**
 * A subject in one line, for records and indexes: the SPIFFE ID, or the first name with its kind.
 * The first label of a DNS name never contains a colon, so that the two forms can not be confused.
 */
export function subjectText(subject: Subject): string {
  if (subject.kind === 'spiffe') return subject.id.toString();
  const [name] = subject.dnsNames;
  return name === undefined ? `ip:${subject.ips[0] ?? ''}` : `dns:${name}`;
}

/** The names beside a SPIFFE ID, or all where there is none. */
export const namesBeside = (subject: Subject): Pick<NamesSubject, 'dnsNames' | 'ips'> => ({
  dnsNames: subject.dnsNames,
  ips: subject.kind === 'names' ? subject.ips : [],
});

/** Every name in one line each, in order. Two subjects are the same if these lists are equal. */
export function subjectNames(subject: Subject): readonly string[] {
  const dns = subject.dnsNames.map((name) => `dns:${name}`);
  return subject.kind === 'spiffe'
    ? [subject.id.toString(), ...dns]
    : [...dns, ...subject.ips.map((ip) => `ip:${ip}`)];
}

export function sameSubject(one: Subject, other: Subject): boolean {
  if (one === other) return true;
  if (one.kind !== other.kind) return false;
  const [names, otherNames] = [subjectNames(one), subjectNames(other)];
  return (
    names.length === otherNames.length && names.every((name, index) => name === otherNames[index])
  );
}
