import { DerError, DerReader, oidText, tag } from './der-reader.ts';
import { readGeneralNames } from './names.ts';
import { keyUsageNames, type AltNames, type KeyUsageName } from './types.ts';

/**
 * Content octets of the OIDs that this parser processes, as hex: id-ce is 55 1d. `serverAuthority`
 * is ours, see docs/decisions/0009-who-stands-above-reserved-ids.md.
 */
const extensionOid = {
  subjectKeyId: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  crlDistributionPoints: '551d1f',
  certificatePolicies: '551d20',
  authorityKeyId: '551d23',
  extendedKeyUsage: '551d25',
  freshestCrl: '551d2e',
  authorityInfoAccess: '2b06010505070101',
  noRevAvail: '551d38',
  serverAuthority: '2a864886f71401be40937af44283b66a83f90c819f4a82cd1184f2885b83b9d67a',
} as const;

/**
 * Extensions that the verifier of this folder processes, so that they may be critical.
 * certificatePolicies: no policy is required, so that none can fail.
 */
const processed: ReadonlySet<string> = new Set<string>([
  extensionOid.subjectKeyId,
  extensionOid.keyUsage,
  extensionOid.subjectAltName,
  extensionOid.basicConstraints,
  extensionOid.certificatePolicies,
  extensionOid.authorityKeyId,
  extensionOid.extendedKeyUsage,
  extensionOid.noRevAvail,
  extensionOid.serverAuthority,
]);

export interface Extensions {
  subjectAltName: AltNames | undefined;
  sanCritical: boolean;
  isCa: boolean;
  pathLength: number | undefined;
  basicConstraintsCritical: boolean;
  keyUsage: { readonly names: ReadonlySet<KeyUsageName>; readonly critical: boolean } | undefined;
  extendedKeyUsage: readonly string[] | undefined;
  subjectKeyId: string | undefined;
  authorityKeyId: string | undefined;
  crlDistributionPoints: readonly string[];
  noRevAvail: boolean;
  serverAuthority: boolean;
  hasOcsp: boolean;
  ocspUrls: readonly string[];
  issuerUrls: readonly string[];
  extensionOids: string[];
  criticalExtensionOids: string[];
  unknownCriticalExtensions: string[];
}

/**
 * Must not be critical (RFC 5280 sections 4.2.1.1 and 4.2.1.2, RFC 9608 section 2). Nor the mark of
 * ours: verifiers that do not know it would refuse the chain.
 */
const neverCritical: ReadonlySet<string> = new Set<string>([
  extensionOid.subjectKeyId,
  extensionOid.authorityKeyId,
  extensionOid.noRevAvail,
  extensionOid.serverAuthority,
]);

const maximumExtensions = 64;

/**
 * Reads the content of Extensions (RFC 5280 section 4.1): at least one, none twice, no explicit
 * DEFAULT. `asRequested`: of a certificate request, where tools write empty lists and defaults.
 */
export function readExtensions(
  list: DerReader,
  { asRequested = false }: { readonly asRequested?: boolean } = {},
): Extensions {
  const into: Extensions = {
    subjectAltName: undefined,
    sanCritical: false,
    isCa: false,
    pathLength: undefined,
    basicConstraintsCritical: false,
    keyUsage: undefined,
    extendedKeyUsage: undefined,
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    crlDistributionPoints: [],
    noRevAvail: false,
    serverAuthority: false,
    hasOcsp: false,
    ocspUrls: [],
    issuerUrls: [],
    extensionOids: [],
    criticalExtensionOids: [],
    unknownCriticalExtensions: [],
  };
  if (!list.more && !asRequested) throw new DerError('extensions are present and empty');
  while (list.more) {
    const extension = list.sequence('extension');
    const oid = extension.oidHex('extension OID');
    let critical = false;
    if (extension.peek() === tag.boolean) {
      critical = extension.boolean('critical');
      if (!critical && !asRequested)
        throw new DerError('an extension states the default critical FALSE');
    }
    const value = extension.enter(tag.octetString, 'extension value');
    extension.end('extension');
    const text = oidText(oid);
    if (into.extensionOids.includes(text)) throw new DerError(`extension ${text} appears twice`);
    if (into.extensionOids.length === maximumExtensions)
      throw new DerError(`more than ${maximumExtensions} extensions`);
    into.extensionOids.push(text);
    if (critical && !asRequested && neverCritical.has(oid))
      throw new DerError(`extension ${text} is critical, which it must never be`);
    if (critical) {
      into.criticalExtensionOids.push(text);
      if (!processed.has(oid)) into.unknownCriticalExtensions.push(text);
    }
    if (readKnown(into, { oid, critical, asRequested }, value))
      value.end(`the value of extension ${text}`);
  }
  if (into.noRevAvail && !asRequested) refuseContradiction(into);
  if (into.serverAuthority && !into.isCa)
    throw new DerError('a certificate that is no CA has the mark of an authority of a server');
  return into;
}

const dottedOid = (name: keyof typeof extensionOid): string => oidText(extensionOid[name]);

/** noRevAvail says that there is no revocation information (RFC 9608 section 2). */
function refuseContradiction({ isCa, hasOcsp, extensionOids }: Extensions): void {
  if (isCa) throw new DerError('a CA certificate has noRevAvail');
  if (
    hasOcsp ||
    extensionOids.includes(dottedOid('crlDistributionPoints')) ||
    extensionOids.includes(dottedOid('freshestCrl'))
  )
    throw new DerError('noRevAvail stands beside a place of revocation information');
}

/** Returns false for an extension that is passed over unread. */
function readKnown(
  into: Extensions,
  { oid, critical, asRequested }: { oid: string; critical: boolean; asRequested: boolean },
  value: DerReader,
): boolean {
  switch (oid) {
    case extensionOid.keyUsage:
      into.keyUsage = { names: readKeyUsage(value), critical };
      return true;
    case extensionOid.basicConstraints:
      into.basicConstraintsCritical = critical;
      readBasicConstraints(into, value, asRequested);
      return true;
    case extensionOid.subjectAltName:
      into.sanCritical = critical;
      into.subjectAltName = readGeneralNames(value.sequence('subjectAltName'), 'subjectAltName');
      return true;
    case extensionOid.extendedKeyUsage:
      into.extendedKeyUsage = readOids(value.sequence('extendedKeyUsage'), 'extendedKeyUsage');
      return true;
    case extensionOid.subjectKeyId:
      into.subjectKeyId = nonEmptyHex(
        value.content(tag.octetString, 'subjectKeyIdentifier'),
        'subjectKeyIdentifier',
      );
      return true;
    case extensionOid.authorityKeyId:
      into.authorityKeyId = readAuthorityKeyId(value.sequence('authorityKeyIdentifier'));
      return true;
    case extensionOid.crlDistributionPoints:
      into.crlDistributionPoints = readDistributionPoints(value.sequence('cRLDistributionPoints'));
      return true;
    case extensionOid.authorityInfoAccess:
      readInformationAccess(into, value.sequence('authorityInfoAccess'));
      return true;
    case extensionOid.noRevAvail:
      value.null('noRevAvail');
      into.noRevAvail = true;
      return true;
    case extensionOid.serverAuthority:
      value.null('serverAuthority');
      into.serverAuthority = true;
      return true;
    default:
      return false;
  }
}

const keyUsageSets = new Map<number, ReadonlySet<KeyUsageName>>();

function readKeyUsage(value: DerReader): ReadonlySet<KeyUsageName> {
  const content = value.content(tag.bitString, 'keyUsage');
  const unused = content[0];
  if (unused === undefined || unused > 7 || content.length < 2 || content.length > 3)
    throw new DerError('keyUsage is not a BIT STRING of 1 to 9 bits');
  const last = content[content.length - 1] as number;
  // named bits: the last used bit is set, all unused ones are zero (X.690 section 11.2.2)
  if ((last & ((1 << unused) - 1)) !== 0 || ((last >> unused) & 1) === 0)
    throw new DerError('keyUsage has trailing zero bits or wrong unused bits');
  const bits = (content[1] as number) * 256 + (content[2] ?? 0);
  if ((bits & 0x7f) !== 0) throw new DerError('keyUsage has a bit that is not defined');
  let names = keyUsageSets.get(bits);
  if (names === undefined) {
    names = new Set(keyUsageNames.filter((_, bit) => (bits & (0x8000 >> bit)) !== 0));
    keyUsageSets.set(bits, names);
  }
  return names;
}

function readBasicConstraints(into: Extensions, value: DerReader, asRequested: boolean): void {
  const constraints = value.sequence('basicConstraints');
  if (constraints.peek() === tag.boolean) {
    into.isCa = constraints.boolean('cA');
    if (!into.isCa && !asRequested)
      throw new DerError('basicConstraints states the default cA FALSE');
  }
  if (constraints.more) {
    if (!into.isCa) throw new DerError('basicConstraints has a pathLen without cA');
    into.pathLength = constraints.smallInteger('pathLenConstraint');
  }
  constraints.end('basicConstraints');
}

function readOids(list: DerReader, what: string): readonly string[] {
  const oids: string[] = [];
  if (!list.more) throw new DerError(`${what} is empty`);
  while (list.more) oids.push(oidText(list.oidHex(what)));
  return oids;
}

function readAuthorityKeyId(fields: DerReader): string | undefined {
  let id: string | undefined;
  if (fields.peek() === tag.contextPrimitive(0))
    id = nonEmptyHex(fields.content(tag.contextPrimitive(0), 'keyIdentifier'), 'keyIdentifier');
  // authorityCertIssuer and authorityCertSerialNumber: a hint for path building that is not used
  if (fields.peek() === tag.context(1)) fields.content(tag.context(1), 'authorityCertIssuer');
  if (fields.peek() === tag.contextPrimitive(2))
    fields.content(tag.contextPrimitive(2), 'authorityCertSerialNumber');
  fields.end('authorityKeyIdentifier');
  return id;
}

function readDistributionPoints(list: DerReader): readonly string[] {
  const uris: string[] = [];
  if (!list.more) throw new DerError('cRLDistributionPoints is empty');
  while (list.more) {
    const point = list.sequence('DistributionPoint');
    if (point.peek() === tag.context(0)) {
      const name = point.enter(tag.context(0), 'distributionPoint');
      if (name.peek() === tag.context(0))
        uris.push(...readGeneralNames(name.enter(tag.context(0), 'fullName'), 'fullName').uris);
      else name.content(tag.context(1), 'nameRelativeToCRLIssuer');
      name.end('distributionPoint');
    }
    if (point.peek() === tag.contextPrimitive(1)) point.content(tag.contextPrimitive(1), 'reasons');
    if (point.peek() === tag.context(2)) point.content(tag.context(2), 'cRLIssuer');
    point.end('DistributionPoint');
  }
  return uris;
}

const ocspMethod = '2b06010505073001';
const issuersMethod = '2b06010505073002';
const uriTag = 0x86;
const printableText = /^[\x21-\x7e]+$/;

/** AuthorityInfoAccess (RFC 5280 section 4.2.2.1). A location that is no printable URI is left out. */
function readInformationAccess(into: Extensions, list: DerReader): void {
  const urls: Record<string, string[]> = { [ocspMethod]: [], [issuersMethod]: [] };
  if (!list.more) throw new DerError('authorityInfoAccess is empty');
  while (list.more) {
    const description = list.sequence('AccessDescription');
    const method = description.oidHex('accessMethod');
    into.hasOcsp ||= method === ocspMethod;
    const { tag: location, content } = description.any('accessLocation');
    const url = content.toString('latin1');
    if (location === uriTag && printableText.test(url)) urls[method]?.push(url);
    description.end('AccessDescription');
  }
  into.ocspUrls = urls[ocspMethod] as string[];
  into.issuerUrls = urls[issuersMethod] as string[];
}

function nonEmptyHex(content: Buffer, what: string): string {
  if (content.length === 0 || content.length > 128)
    throw new DerError(`${what} has ${content.length} octets`);
  return content.toString('hex');
}
