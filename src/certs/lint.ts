import { fail, ok, type Result } from '../common/errors/index.ts';
import {
  derWriter,
  encodeTime,
  keyIdentifierOf,
  keyTypeOfSpki,
  parseTbsCertificate,
  signatureAlgorithmFor,
  type KeyType,
  type TbsFields,
} from '../common/x509/index.ts';
import { commonNameDer, extensionOids } from './fields.ts';
import {
  commonNameFor,
  hasMark,
  isLeafProfile,
  keyUsageFor,
  profiles,
  rulesOf,
  type ProfileRules,
} from './profiles.ts';
import { cutLeaf, hasPassed, rememberPassed } from './passed-leaf.ts';
import { statedProblem } from './subject.ts';
import type { LintContext, Profile } from './types.ts';

const maximumTbsBytes = 32_768;

/**
 * Parses a TBSCertificate with the strict parser, independent of its builder, and compares it with
 * its profile and its intended content. Everything that is not required or allowed is forbidden.
 * This is the last check before a signature exists that could be misused. Fails with LINT_FAILED
 * and names the first broken rule.
 */
export function lint(tbsDer: Buffer, profile: Profile, context: LintContext): Result<void> {
  if (tbsDer.length > maximumTbsBytes)
    return fail('LINT_FAILED', `the certificate would have more than ${maximumTbsBytes} bytes`);
  if (isLikePassed(tbsDer, profile, context)) return ok(undefined);
  const parsed = parseTbsCertificate(tbsDer);
  if (!parsed.ok) return fail('LINT_FAILED', parsed.error.message);
  const tbs = parsed.value;
  const problem =
    checkFrame(tbs, profile, context) ??
    checkTimes(tbs, profile, context) ??
    checkNames(tbs, profile, context) ??
    checkExtensions(tbs, profile, context);
  if (problem !== undefined) return fail('LINT_FAILED', `profile ${profile}: ${problem}`);
  rememberPassed(tbsDer, profile, context);
  return ok(undefined);
}

/**
 * Whether a leaf differs from one that passed only in what each leaf has of its own, and this is the
 * intended: then it passes as well. False: it must be read as a whole, which also tells what is wrong.
 */
function isLikePassed(tbsDer: Buffer, profile: Profile, context: LintContext): boolean {
  const { issuer, serial, spkiDer, subject } = context;
  if (issuer === undefined || !isLeafProfile(profile)) return false;
  const leaf = cutLeaf(tbsDer);
  return (
    leaf !== undefined &&
    hasPassed(leaf, profile, context) &&
    serialProblem(leaf.serial, serial) === undefined &&
    lifeProblem(leaf, profile, context) === undefined &&
    leaf.spkiDer.equals(spkiDer) &&
    !issuer.spkiDer.equals(spkiDer) &&
    leaf.keyIdentifier.equals(keyIdentifierOf(spkiDer)) &&
    statedProblem(leaf.names, profile, subject) === undefined
  );
}

function checkFrame(
  tbs: TbsFields,
  profile: Profile,
  { issuer, spkiDer, serial }: LintContext,
): string | undefined {
  if ((issuer === undefined) !== (profile === 'root')) return 'only a root is self-signed';
  const ofSerial = serialProblem(Buffer.from(tbs.serialHex, 'hex'), serial);
  if (ofSerial !== undefined) return ofSerial;
  if (!tbs.spkiDer.equals(spkiDer)) return 'the public key is not the intended one';
  const { keyType } = profiles[profile];
  if (keyType !== undefined && !hasKeyType(spkiDer, keyType))
    return `the public key is not of type ${keyType}`;
  const signer = keyTypeOfSigner(issuer?.spkiDer ?? spkiDer);
  if (signer === undefined || !tbs.tbsAlgorithmDer.equals(signer))
    return 'the signature algorithm does not fit the issuer';
  if (issuer === undefined)
    return tbs.issuerDer.equals(tbs.subjectDer)
      ? undefined
      : 'the issuer of a root is not its subject';
  if (!tbs.issuerDer.equals(issuer.subjectDer))
    return "the issuer is not the issuer's subject, byte for byte";
  if (issuer.spkiDer.equals(spkiDer)) return 'the public key is that of the issuer';
  if (!issuer.isCa || issuer.keyUsage?.names.has('keyCertSign') !== true)
    return 'the issuer may not sign certificates';
  const below = profiles[profile].pathLength;
  if (
    profiles[profile].isCa &&
    issuer.pathLength !== undefined &&
    (below ?? issuer.pathLength) >= issuer.pathLength
  )
    return `the issuer may not sign for such an authority: its pathLen is ${issuer.pathLength}`;
  return undefined;
}

function serialProblem(serial: Buffer, intended: Buffer | undefined): string | undefined {
  // 16 octets, the first from 0x40 to 0x7f: see newSerial
  if (serial.length !== 16 || ((serial[0] as number) & 0xc0) !== 0x40)
    return 'the serial does not have our form';
  if (intended !== undefined && !serial.equals(intended))
    return 'the serial is not the intended one';
  for (let index = 7; index < serial.length; index += 1)
    if (serial[index] !== serial[6]) return undefined;
  return 'the random part of the serial is not random';
}

function hasKeyType(spkiDer: Buffer, keyType: KeyType): boolean {
  const actual = keyTypeOfSpki(spkiDer);
  return actual.ok && actual.value === keyType;
}

/**
 * The algorithm of the issuer's key, which is the same for every leaf. Cached by buffer identity:
 * the buffers of a parsed issuer live as long as the issuer.
 */
const signerAlgorithms = new WeakMap<Buffer, Buffer>();

function keyTypeOfSigner(spkiDer: Buffer): Buffer | undefined {
  const cached = signerAlgorithms.get(spkiDer);
  if (cached !== undefined) return cached;
  const keyType = keyTypeOfSpki(spkiDer);
  if (!keyType.ok) return undefined;
  const algorithm = signatureAlgorithmFor(keyType.value).algorithmIdentifierDer;
  signerAlgorithms.set(spkiDer, algorithm);
  return algorithm;
}

function checkTimes(tbs: TbsFields, profile: Profile, context: LintContext): string | undefined {
  const { notBefore, notAfter } = context;
  return (
    lifeProblem(tbs, profile, context) ??
    // the parser also accepts GeneralizedTime before 2050, which we never write
    (tbs.validityDer.equals(derWriter.sequence(encodeTime(notBefore), encodeTime(notAfter)))
      ? undefined
      : 'a time is not encoded as RFC 5280 requires')
  );
}

function lifeProblem(
  stated: Pick<TbsFields, 'notBefore' | 'notAfter'>,
  profile: Profile,
  { issuer, notBefore, notAfter }: LintContext,
): string | undefined {
  if (stated.notBefore !== notBefore || stated.notAfter !== notAfter)
    return 'the validity is not the intended one';
  if (notAfter <= notBefore) return 'it ends before it begins';
  const longest = profiles[profile].maximumLifeSeconds;
  if (longest !== undefined && notAfter - notBefore > longest)
    return `its life of ${notAfter - notBefore} s is longer than ${longest} s`;
  if (issuer !== undefined && notBefore < issuer.notBefore) return 'it begins before its issuer';
  if (issuer !== undefined && notAfter > issuer.notAfter) return 'it outlives its issuer';
  return undefined;
}

function checkNames(
  tbs: TbsFields,
  profile: Profile,
  { subject, subjectDer, names = false }: LintContext,
): string | undefined {
  const leaf = isLeafProfile(profile);
  const commonName = commonNameFor(profile, subject);
  const empty = leaf && commonName === undefined;
  if ((tbs.subjectDer.length === 2) !== empty)
    return empty ? 'the subject of a leaf is not empty' : 'it has no subject';
  if (commonName !== undefined && !tbs.subjectDer.equals(commonNameDer(commonName)))
    return 'the subject is not the common name alone';
  if (profile === 'cross' && subjectDer === undefined)
    return 'the name of the certified root is not given';
  if (subjectDer !== undefined && !tbs.subjectDer.equals(subjectDer))
    return 'the subject is not the intended one';
  if (names && !leaf) return hasNames(tbs) ? 'an authority of names has no SAN' : undefined;
  if (tbs.sanCritical !== empty)
    return 'the SAN must be critical if, and only if, the subject is empty';
  if (profile === 'ocsp-signer') return signerNamesProblem(tbs, subjectDer);
  return statedProblem(tbs, profile, subject);
}

/** The signer of OCSP answers is no identity: nobody may take it for one. */
function signerNamesProblem(tbs: TbsFields, subjectDer: Buffer | undefined): string | undefined {
  if (subjectDer === undefined) return 'the name of the signer is not given';
  return tbs.extensionOids.includes(extensionOids.subjectAltName)
    ? 'a signer of OCSP answers has no SAN'
    : undefined;
}

const hasNames = ({ uriSans, dnsSans, otherSanKinds }: TbsFields): boolean =>
  uriSans.length + dnsSans.length + otherSanKinds.length > 0;

function checkExtensions(
  tbs: TbsFields,
  profile: Profile,
  context: LintContext,
): string | undefined {
  const { issuer, spkiDer, subjectMarked, names = false } = context;
  const rules = rulesOf(profile, names);
  const marked = hasMark(profile, { ofSubject: subjectMarked, names });
  const { critical, plain } = expected(profile, context);
  const misplaced = tbs.extensionOids.find(
    (oid) => !(tbs.criticalExtensionOids.includes(oid) ? critical : plain).has(oid),
  );
  if (misplaced !== undefined)
    return `the extension ${misplaced} is forbidden, or has the wrong criticality`;
  if (tbs.extensionOids.length !== critical.size + plain.size) return 'an extension is missing';
  if (tbs.isCa !== rules.isCa || tbs.pathLength !== rules.pathLength)
    return 'the basic constraints are not the intended ones';
  const usage = tbs.keyUsage?.names;
  const keyUsage = keyUsageFor(profile, spkiDer);
  if (usage?.size !== keyUsage.length || keyUsage.some((name) => !usage.has(name)))
    return 'the key usage is not the intended one';
  const extended = tbs.extendedKeyUsage ?? [];
  if (
    extended.length !== rules.extendedKeyUsage.length ||
    rules.extendedKeyUsage.some((oid) => !extended.includes(oid))
  )
    return 'the extended key usage is not the intended one';
  if (tbs.noRevAvail !== rules.noRevAvail) return 'noRevAvail is wrong';
  if (tbs.serverAuthority !== marked) return 'the mark of an authority of a server is wrong';
  if (tbs.subjectKeyId !== keyIdentifierOf(spkiDer).toString('hex'))
    return 'the subject key identifier is not that of the key';
  if (tbs.authorityKeyId !== issuer?.subjectKeyId)
    return "the authority key identifier is not the issuer's";
  return checkPlaces(tbs, rules, context);
}

/** Where revocation information and the issuer's certificate are found. */
function checkPlaces(
  tbs: TbsFields,
  rules: ProfileRules,
  { crlUrl, access = {} }: LintContext,
): string | undefined {
  if (rules.crlDistributionPoint === 'required' && crlUrl === undefined)
    return 'a CRL distribution point is needed';
  if (rules.crlDistributionPoint === 'forbidden' && crlUrl !== undefined)
    return 'a CRL distribution point is forbidden';
  if (!isOnly(tbs.crlDistributionPoints, crlUrl))
    return 'the CRL distribution point is not the intended one';
  const { ocspUrl, issuerUrl } = access;
  if (ocspUrl !== undefined && rules.access?.ocsp !== true) return 'an OCSP URL is forbidden';
  if (issuerUrl !== undefined && rules.access?.issuer !== true)
    return 'a URL of the issuer is forbidden';
  if (!isOnly(tbs.ocspUrls, ocspUrl)) return 'the OCSP URL is not the intended one';
  if (!isOnly(tbs.issuerUrls, issuerUrl)) return 'the URL of the issuer is not the intended one';
  return undefined;
}

const isOnly = (urls: readonly string[], intended: string | undefined): boolean =>
  urls.length === (intended === undefined ? 0 : 1) && urls[0] === intended;

interface ExpectedExtensions {
  readonly critical: ReadonlySet<string>;
  readonly plain: ReadonlySet<string>;
}

const expectations = new Map<string, ExpectedExtensions>();

function expected(
  profile: Profile,
  { crlUrl, access = {}, subject, subjectMarked, names = false }: LintContext,
): ExpectedExtensions {
  const withCrl = crlUrl !== undefined;
  const withAccess = access.ocspUrl !== undefined || access.issuerUrl !== undefined;
  const marked = hasMark(profile, { ofSubject: subjectMarked, names });
  const named = commonNameFor(profile, subject) !== undefined;
  const key = `${profile}/${withCrl}/${withAccess}/${marked}/${named}/${names}`;
  let expectation = expectations.get(key);
  if (expectation === undefined) {
    expectation = expectationOf(profile, { withCrl, withAccess, marked, named, names });
    expectations.set(key, expectation);
  }
  return expectation;
}

function expectationOf(
  profile: Profile,
  has: Readonly<Record<'withCrl' | 'withAccess' | 'marked' | 'named' | 'names', boolean>>,
): ExpectedExtensions {
  const oids = extensionOids;
  const common = [
    oids.subjectKeyId,
    ...(profile === 'root' ? [] : [oids.authorityKeyId]),
    ...(has.withCrl ? [oids.crlDistributionPoints] : []),
    ...(has.withAccess ? [oids.authorityInfoAccess] : []),
    ...(has.named ? [oids.subjectAltName] : []),
  ];
  const critical = [oids.keyUsage, oids.basicConstraints];
  if (profile === 'ocsp-signer')
    return {
      critical: new Set(critical),
      plain: new Set([...common, oids.extendedKeyUsage, oids.ocspNoCheck]),
    };
  const { noRevAvail, extendedKeyUsage } = rulesOf(profile, has.names);
  return isLeafProfile(profile)
    ? {
        critical: new Set([...critical, ...(has.named ? [] : [oids.subjectAltName])]),
        plain: new Set([
          ...common,
          oids.extendedKeyUsage,
          ...(noRevAvail ? [oids.noRevAvail] : []),
        ]),
      }
    : {
        critical: new Set(critical),
        plain: new Set([
          ...common,
          ...(has.names ? [] : [oids.subjectAltName]),
          ...(extendedKeyUsage.length > 0 ? [oids.extendedKeyUsage] : []),
          ...(has.marked ? [oids.serverAuthority] : []),
        ]),
      };
}
