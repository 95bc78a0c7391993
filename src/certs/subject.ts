import { isServerId, parseDnsName, SpiffeId, type TrustDomain } from '../common/spiffe/index.ts';
import { ipOctets } from '../common/x509/index.ts';
import {
  isNamesProfile,
  maximumNames,
  spiffeSubject,
  type SpiffeSubject,
  type NamesSubject,
  type Subject,
} from '../domain/index.ts';
import { isLeafProfile } from './profiles.ts';
import type { ParsedCsr, Profile } from './types.ts';

/** The subject of every authority: the ID of its trust domain. */
export const authorityIdentity = (trustDomain: TrustDomain): SpiffeSubject =>
  spiffeSubject(SpiffeId.of(trustDomain.id));

/** The names in a certificate or CSR. */
export interface StatedNames {
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  readonly ipSans: readonly string[];
  /** The kinds of all names other than URI and DNS name; IP addresses are among them. */
  readonly otherSanKinds: readonly string[];
}

/**
 * The first name in a CSR that the holder may not have. Undefined: there is none. A CSR need not
 * contain any name, and its names are only compared.
 */
export function subjectProblem(csr: ParsedCsr, subject: Subject): string | undefined {
  return subject.kind === 'spiffe' ? spiffeProblem(csr, subject) : namesProblem(csr, subject);
}

function spiffeProblem(csr: ParsedCsr, { id, dnsNames }: SpiffeSubject): string | undefined {
  const foreignId = csr.uriSans.find((uri) => uri !== id.toString());
  if (foreignId !== undefined)
    return `the request names ${JSON.stringify(foreignId)}, the caller may have ${id.toString()}`;
  const foreignName = foreignDnsName(csr, dnsNames);
  if (foreignName !== undefined)
    return `the request names the DNS name ${JSON.stringify(foreignName)}, which this identity does not have`;
  if (csr.otherSanKinds.length > 0)
    return `the request names a SAN of kind ${csr.otherSanKinds[0]}, which no identity here has`;
  return undefined;
}

function namesProblem(csr: ParsedCsr, { dnsNames, ips }: NamesSubject): string | undefined {
  if (csr.uriSans.length > 0)
    return `the request names ${JSON.stringify(csr.uriSans[0])}, and its holder has no URI`;
  const foreignName = foreignDnsName(csr, dnsNames);
  if (foreignName !== undefined)
    return `the request names the DNS name ${JSON.stringify(foreignName)}, which its holder does not have`;
  const foreignKind = kindBesideIps(csr);
  if (foreignKind !== undefined)
    return `the request names a SAN of kind ${foreignKind}, which no certificate here has`;
  const foreignIp = csr.ipSans.find((ip) => !ips.includes(ip));
  if (foreignIp !== undefined)
    return `the request names the address ${foreignIp}, which its holder does not have`;
  const foreignCommonName = csr.commonNames.find(
    (name) => !dnsNames.includes(name.toLowerCase()) && !ips.includes(name),
  );
  if (foreignCommonName !== undefined)
    return `the request has the common name ${JSON.stringify(foreignCommonName)}, which is not a name of its holder`;
  return undefined;
}

const foreignDnsName = (csr: ParsedCsr, dnsNames: readonly string[]): string | undefined =>
  csr.dnsSans.find((name) => !dnsNames.includes(name.toLowerCase()));

/**
 * A kind other than URI, DNS name and IP address. An address with an invalid length counts as one.
 */
function kindBesideIps({ ipSans, otherSanKinds }: StatedNames): string | undefined {
  const addresses = otherSanKinds.filter((kind) => kind === 'iPAddress');
  return (
    otherSanKinds.find((kind) => kind !== 'iPAddress') ??
    (addresses.length === ipSans.length ? undefined : 'iPAddress')
  );
}

/** Why the names in a certificate are not those of its subject. Undefined: they are. */
export function statedProblem(
  stated: StatedNames,
  profile: Profile,
  subject: Subject,
): string | undefined {
  if ((subject.kind === 'names') !== (profile === 'linkerd' || isNamesProfile(profile)))
    return (
      'the profiles short, classic, hours and linkerd are for names without a SPIFFE ID, ' +
      'and for nothing else'
    );
  const problem =
    subject.kind === 'spiffe'
      ? statedSpiffeProblem(stated, profile, subject)
      : statedNamesProblem(stated, profile, subject);
  if (problem !== undefined) return problem;
  const { dnsNames } = subject;
  if (!sameList(stated.dnsSans, dnsNames)) return 'the DNS names are not the intended ones';
  if (new Set(dnsNames).size !== dnsNames.length) return 'a DNS name appears twice';
  const parsed = subject.kind === 'names' ? dnsNames.map(withoutWildcard) : dnsNames;
  return parsed.some((name) => !parseDnsName(name).ok) ? 'a DNS name is invalid' : undefined;
}

function statedSpiffeProblem(
  stated: StatedNames,
  profile: Profile,
  { id, dnsNames }: SpiffeSubject,
): string | undefined {
  const leaf = isLeafProfile(profile);
  if (!sameList(stated.uriSans, [id.toString()])) return 'the URI SAN is not the SPIFFE ID alone';
  if ((id.path !== '') !== leaf)
    return leaf
      ? 'the ID of a leaf needs a path'
      : 'the ID of an authority is that of its trust domain';
  if (leaf && isServerId(id) !== (profile === 'server'))
    return 'the server profile is for the ID of the server only';
  if (stated.otherSanKinds.length !== 0)
    return `a SAN of kind ${stated.otherSanKinds[0]} is never issued`;
  return !leaf && dnsNames.length !== 0 ? 'an authority has no DNS name' : undefined;
}

function statedNamesProblem(
  stated: StatedNames,
  profile: Profile,
  { dnsNames, ips }: NamesSubject,
): string | undefined {
  if (stated.uriSans.length !== 0) return 'a certificate of names has no URI SAN';
  const kind = kindBesideIps(stated);
  if (kind !== undefined) return `a SAN of kind ${kind} is never issued`;
  if (dnsNames.length + ips.length === 0) return 'it has no name';
  if (dnsNames.length + ips.length > maximumNames) return `it has more than ${maximumNames} names`;
  if (profile === 'linkerd' && (dnsNames.length !== 1 || ips.length !== 0))
    return 'a proxy of Linkerd has exactly one DNS name, and nothing else';
  if (profile === 'linkerd' && dnsNames[0]?.startsWith('*.') === true)
    return 'the name of a proxy of Linkerd is no wildcard';
  if (!sameList(stated.ipSans, ips)) return 'the IP addresses are not the intended ones';
  if (new Set(ips).size !== ips.length) return 'an IP address appears twice';
  if (ips.some((ip) => ipOctets(ip) === undefined)) return 'an IP address is not canonical';
  // at least two labels below the wildcard: nobody owns `*.com`
  const bare = dnsNames.find((name) => name.startsWith('*.') && !/\..*\./.test(name));
  return bare === undefined ? undefined : 'a wildcard stands for a whole top-level domain';
}

/** A wildcard stands for the first label only (RFC 6125, section 6.4.3). */
const withoutWildcard = (name: string): string => (name.startsWith('*.') ? name.slice(2) : name);

const sameList = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((item, index) => item === other[index]);
