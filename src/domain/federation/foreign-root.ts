import { createPublicKey, type KeyObject } from 'node:crypto';
import { fail, ok, type Result } from '../../common/errors/index.ts';
import { DerError, DerReader, parseCertificate, parsing, tag } from '../../common/x509/index.ts';

/**
 * A root is in one message with the certificates of our own workloads. A library that can not read
 * one foreign root refuses the whole message, so that its workload could not renew. So a root is
 * taken only if the strict libraries (go-spiffe above all) read it.
 */
export interface ForeignRoot {
  readonly spkiDer: Buffer;
  /** False: its key is of a kind that relying parties do not know. It is left out of the bundle. */
  readonly isUsable: boolean;
}

const leastRsaBits = 2_048;
/** TLS in Go takes no larger one. */
const mostRsaBits = 8_192;
/** Go takes no larger one. */
const largestExponent = 2n ** 31n - 1n;
const curves: readonly unknown[] = ['prime256v1', 'secp384r1', 'secp521r1'];

/** Fails with FEDERATION_BUNDLE_INVALID. */
export function readForeignRoot(der: Buffer): Result<ForeignRoot> {
  const parsed = parseCertificate(der);
  if (!parsed.ok) return invalid(parsed.error.message);
  const { isCa, spkiDer } = parsed.value;
  if (!isCa) return invalid('it is no CA certificate');
  const form = parsing('FEDERATION_BUNDLE_INVALID', () => ok(checkForm(der)));
  if (!form.ok) return invalid(form.error.message);
  const key = publicKeyOf(spkiDer);
  const weakness = key === undefined ? undefined : rsaProblem(key);
  return weakness === undefined
    ? ok({ spkiDer, isUsable: key !== undefined && isKnown(key) })
    : invalid(weakness);
}

/** Why an RSA key is refused. Undefined: it is not, or the key is no RSA key. */
export function rsaProblem(key: KeyObject): string | undefined {
  if (key.asymmetricKeyType !== 'rsa') return undefined;
  const { modulusLength: bits = 0, publicExponent: exponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (bits < leastRsaBits || bits > mostRsaBits)
    return `its key is an RSA key of ${bits} bits, and ${leastRsaBits} to ${mostRsaBits} are allowed`;
  return exponent < 3n || exponent > largestExponent || exponent % 2n === 0n
    ? 'its key is an RSA key with an exponent that libraries refuse'
    : undefined;
}

const isKnown = ({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): boolean =>
  type === 'rsa' || type === 'ed25519' || (type === 'ec' && curves.includes(details?.namedCurve));

function publicKeyOf(spkiDer: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: spkiDer, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

/** What parseCertificate passes over, and others read. */
function checkForm(der: Buffer): void {
  const tbs = new DerReader(der).sequence('certificate').sequence('tbsCertificate');
  tbs.any('version');
  tbs.any('serialNumber');
  tbs.any('signature');
  checkName(tbs.sequence('issuer'));
  tbs.any('validity');
  checkName(tbs.sequence('subject'));
  tbs.any('subjectPublicKeyInfo');
  const extensions = tbs.enter(tag.context(3), 'extensions').sequence('extensions');
  while (extensions.more) {
    const extension = extensions.sequence('extension');
    const oid = extension.oidHex('extension OID');
    if (extension.peek() === tag.boolean) extension.boolean('critical');
    checkExtension(oid, extension.enter(tag.octetString, 'extension value'));
  }
}

function checkExtension(oid: string, value: DerReader): void {
  switch (oid) {
    case '551d11':
      checkNames(value.sequence('subjectAltName'), checkAltName);
      break;
    case '551d1e':
      checkConstraints(value.sequence('nameConstraints'));
      value.end('nameConstraints');
      break;
    case '551d20':
      checkPolicies(value.sequence('certificatePolicies'));
      value.end('certificatePolicies');
      break;
    // policyMappings, policyConstraints, inhibitAnyPolicy
    case '551d21':
    case '551d24':
    case '551d36':
      throw new DerError('it has rules for policies, which a root of a trust domain does not need');
    default:
  }
}

const surrogate = /[\ud800-\udfff]/;
/** UTF8String, NumericString, PrintableString, TeletexString, IA5String: read strictly already. */
const plainTexts: readonly number[] = [0x0c, 0x12, 0x13, 0x14, 0x16];
const bmpString = 0x1e;

function checkName(name: DerReader): void {
  while (name.more) {
    const set = name.enter(tag.set, 'a name');
    while (set.more) {
      const attribute = set.sequence('a name');
      attribute.oidHex('a name');
      const { tag: type, content } = attribute.any('a name');
      const isBmp = type === bmpString && !surrogate.test(utf16(content));
      if (!isBmp && !plainTexts.includes(type))
        throw new DerError('a name in it has a text of a type that libraries refuse');
    }
  }
}

const utf16 = (content: Buffer): string => Buffer.from(content).swap16().toString('utf16le');

/** Tags of GeneralName (RFC 5280 section 4.2.1.6). */
const kind = { mail: 0x81, dns: 0x82, uri: 0x86, ip: 0x87 } as const;

function checkNames(names: DerReader, check: (type: number, content: Buffer) => void): void {
  while (names.more) {
    const { tag: type, content } = names.any('a name');
    check(type, content);
  }
}

const host = String.raw`[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*`;
const uriForm = new RegExp(
  String.raw`^[A-Za-z][A-Za-z0-9+.-]*:(?://${host}(?::[0-9]{1,5})?(?:/[^%?#\[\]]*)?|[A-Za-z0-9][^%?#\[\]]*)$`,
);
const asciiForm = /^[\x21-\x7e]+$/;

function checkAltName(type: number, content: Buffer): void {
  const text = content.toString('latin1');
  const isRead =
    type === kind.uri
      ? uriForm.test(text)
      : type === kind.mail
        ? asciiForm.test(text)
        : type !== kind.ip || content.length === 4 || content.length === 16;
  if (!isRead)
    throw new DerError(`it has the alternative name ${JSON.stringify(text.slice(0, 200))}`);
}

/** RFC 5280 section 4.2.1.10: at least one of the lists, neither of them empty. */
function checkConstraints(lists: DerReader): void {
  if (!lists.more) throw new DerError('its nameConstraints are empty');
  for (const list of [tag.context(0), tag.context(1)]) {
    if (lists.peek() !== list) continue;
    const subtrees = lists.enter(list, 'nameConstraints');
    if (!subtrees.more) throw new DerError('its nameConstraints have an empty list');
    while (subtrees.more) {
      const subtree = subtrees.sequence('nameConstraints');
      const { tag: type, content } = subtree.any('nameConstraints');
      subtree.end('nameConstraints');
      checkConstraint(type, content);
    }
  }
  lists.end('nameConstraints');
}

const domainForm = new RegExp(String.raw`^\.?${host}$`);
const mailboxForm = new RegExp(String.raw`^[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@${host}$`);
const ipForm = /^[0-9.]+$/;

function checkConstraint(type: number, content: Buffer): void {
  const text = content.toString('latin1');
  const isDomain = text === '' || domainForm.test(text);
  const isRead =
    type === kind.ip
      ? isAddressRange(content)
      : type === kind.mail
        ? isDomain || mailboxForm.test(text)
        : type === kind.dns
          ? isDomain
          : type !== kind.uri || (isDomain && !ipForm.test(text));
  if (!isRead) throw new DerError(`its nameConstraints have ${JSON.stringify(text.slice(0, 200))}`);
}

/** An address and a mask, whose ones come first. */
function isAddressRange(content: Buffer): boolean {
  if (content.length !== 8 && content.length !== 32) return false;
  const mask = content.subarray(content.length / 2);
  const bits = [...mask].map((octet) => octet.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(bits);
}

function checkPolicies(policies: DerReader): void {
  const oids = new Set<string>();
  if (!policies.more) throw new DerError('its certificatePolicies are empty');
  while (policies.more) {
    const policy = policies.sequence('certificatePolicies');
    const oid = policy.oidHex('certificatePolicies');
    if (oids.has(oid)) throw new DerError('its certificatePolicies name a policy twice');
    oids.add(oid);
    if (policy.more) policy.sequence('policyQualifiers');
    policy.end('certificatePolicies');
  }
}

const invalid = (reason: string): ReturnType<typeof fail> =>
  fail('FEDERATION_BUNDLE_INVALID', `an X.509 authority: ${reason}`);
