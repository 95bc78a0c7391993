import { PkiError, unwrap } from '../common/errors/index.ts';
import { IpRange } from '../common/policy/index.ts';
import { parseDnsName } from '../common/spiffe/index.ts';
import { canonicalIp } from '../common/x509/index.ts';
import { maximumNames } from './certificate.ts';
import {
  reservationOf,
  reservationReached,
  reservedText,
  type ReservedDnsName,
} from './reserved-names.ts';
import type { NamesSubject } from './subject.ts';

/** The names that somebody asks for, as written. */
export type StatedNames = Pick<NamesSubject, 'dnsNames' | 'ips'>;

/**
 * The subject of a certificate of names: DNS names in lower case, addresses in canonical text, each
 * once, in their order. `*.` may replace the first label of a DNS name.
 *
 * @throws PkiError INVALID_REQUEST (no name, or too many), DNS_NAME_INVALID, DNS_NAME_RESERVED,
 *   IP_ADDRESS_INVALID
 */
export function checkNames(
  { dnsNames, ips }: StatedNames,
  reserved: readonly ReservedDnsName[],
): NamesSubject {
  const count = dnsNames.length + ips.length;
  if (count === 0) throw new PkiError('INVALID_REQUEST', 'there is no DNS name and no IP address');
  if (count > maximumNames)
    throw new PkiError(
      'INVALID_REQUEST',
      `a certificate has at most ${maximumNames} names, not ${count}`,
      { next: `Ask for several certificates, each with at most ${maximumNames} names.` },
    );
  const names = dnsNames.map((text) => checkName(text.toLowerCase()));
  for (const name of names) {
    const reservation = reservationReached(name, reserved);
    if (reservation !== undefined)
      throw new PkiError('DNS_NAME_RESERVED', reservedText(name, reservation));
  }
  return {
    kind: 'names',
    dnsNames: [...new Set(names)],
    ips: [...new Set(ips.map(checkIp))],
  };
}

/** Below a wildcard are at least two labels: nobody owns a whole top-level domain. */
function checkName(name: string): string {
  const isWildcard = name.startsWith('*.');
  const parsed = parseDnsName(isWildcard ? name.slice(2) : name);
  if (!parsed.ok)
    throw new PkiError('DNS_NAME_INVALID', parsed.error.message, { next: nameAdvice });
  if (isWildcard && !parsed.value.includes('.'))
    throw new PkiError(
      'DNS_NAME_INVALID',
      `the wildcard ${JSON.stringify(name.slice(0, 80))} stands for a whole top-level domain`,
      { next: nameAdvice },
    );
  return name;
}

const nameAdvice =
  'Write labels of [a-z0-9-] and no dot at the end. "*." may stand for the first label, with two ' +
  'labels behind it. An international name has "xn--" labels.';

function checkIp(text: string): string {
  const ip = canonicalIp(text);
  if (ip !== undefined) return ip;
  throw new PkiError(
    'IP_ADDRESS_INVALID',
    `${JSON.stringify(text.slice(0, 80))} is no IPv4 or IPv6 address that a certificate can have`,
  );
}

/**
 * The range in canonical text: an address, or CIDR notation.
 *
 * @throws PkiError IP_ADDRESS_INVALID
 */
export function checkIpRange(text: string): string {
  const [address = '', prefix] = text.split('/');
  const ip = canonicalIp(address);
  if (ip === undefined || !IpRange.parse(text).ok)
    throw new PkiError(
      'IP_ADDRESS_INVALID',
      `${JSON.stringify(text.slice(0, 80))} is neither an IP address nor a range such as 10.0.0.0/8`,
    );
  return prefix === undefined ? ip : `${ip}/${Number(prefix)}`;
}

const maximumDnsNames = 32;

/**
 * Checks the DNS names beside a SPIFFE ID: valid, unique, no wildcards, not those of the CA.
 *
 * @throws PkiError DNS_NAME_INVALID, DNS_NAME_RESERVED
 */
export function checkDnsNames(
  names: readonly string[],
  reserved: readonly ReservedDnsName[],
): readonly string[] {
  if (names.length > maximumDnsNames)
    throw new PkiError(
      'DNS_NAME_INVALID',
      `at most ${maximumDnsNames} DNS names are allowed, not ${names.length}`,
    );
  for (const name of names) {
    unwrap(parseDnsName(name));
    const reservation = reservationOf(name, reserved);
    if (reservation !== undefined)
      throw new PkiError('DNS_NAME_RESERVED', reservedText(name, reservation));
  }
  // the order is kept, because consumers show the first name
  return [...new Set(names)];
}

/** What a grant of names says: see `Delegation`. */
export interface NamesGrant {
  readonly dnsPatterns: readonly string[];
  readonly ipRanges: readonly string[];
  readonly wildcards: boolean;
}

/** The first name that the grant does not cover, in one line. Undefined: it covers all. */
export function uncoveredName(
  grant: NamesGrant,
  { dnsNames, ips }: StatedNames,
): string | undefined {
  const name = dnsNames.find((each) => !coversDnsName(grant, each));
  if (name !== undefined)
    return name.startsWith('*.') && !grant.wildcards ? `the wildcard ${name}` : `the name ${name}`;
  const ip = ips.find((each) => !rangesOf(grant.ipRanges).some((range) => range.covers(each)));
  return ip === undefined ? undefined : `the address ${ip}`;
}

/** A wildcard needs a grant of its own, and a pattern that begins with `*`. */
function coversDnsName({ dnsPatterns, wildcards }: NamesGrant, name: string): boolean {
  return name.startsWith('*.')
    ? wildcards &&
        dnsPatterns.some((pattern) => pattern.startsWith('*.') && labelsMatch(pattern, name))
    : dnsPatterns.some((pattern) => dnsPatternMatches(pattern, name));
}

/** `*` in a pattern stands for exactly one label. A wildcard name matches no pattern. */
export const dnsPatternMatches = (pattern: string, name: string): boolean =>
  !name.includes('*') && labelsMatch(pattern, name);

function labelsMatch(pattern: string, name: string): boolean {
  const patternLabels = pattern.split('.');
  const labels = name.split('.');
  return (
    patternLabels.length === labels.length &&
    patternLabels.every((label, index) => label === '*' || label === labels[index])
  );
}

/** Cached by the list of a grant: the store returns the same list while the row is unchanged. */
const parsedRanges = new WeakMap<readonly string[], readonly IpRange[]>();

function rangesOf(texts: readonly string[]): readonly IpRange[] {
  let ranges = parsedRanges.get(texts);
  if (ranges === undefined) {
    ranges = texts.map((text) => unwrap(IpRange.parse(text)));
    parsedRanges.set(texts, ranges);
  }
  return ranges;
}
