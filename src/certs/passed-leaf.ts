import {
  DerError,
  DerReader,
  derWriter,
  keyTypeOfSpki,
  readGeneralNames,
  readRequiredTime,
  tag,
  type KeyType,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import { extensionOids } from './fields.ts';
import { isLeafProfile, profiles } from './profiles.ts';
import type { StatedNames } from './subject.ts';
import type { LintContext, Profile } from './types.ts';

/**
 * A TBSCertificate with an empty subject, cut into what each leaf has of its own and what leaves of
 * one issuer and profile have in common. Buffers are views.
 */
export interface LeafCut {
  readonly serial: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spkiDer: Buffer;
  readonly keyIdentifier: Buffer;
  /** The names of the critical SAN. */
  readonly names: StatedNames;
  /** All other bytes, but the lengths around them: whole elements, in their order. */
  readonly common: readonly Buffer[];
}

const subjectKeyIdOid = derWriter.oid(extensionOids.subjectKeyId);
const subjectAltNameOid = derWriter.oid(extensionOids.subjectAltName);

/**
 * Cuts in strict DER. What is in the common parts is not looked at. Undefined: it has not the form of
 * such a leaf.
 */
export function cutLeaf(tbsDer: Buffer): LeafCut | undefined {
  try {
    const outer = new DerReader(tbsDer);
    const tbs = outer.sequence('tbsCertificate');
    outer.end('the TBSCertificate');
    const start = tbs.offset;
    tbs.passOver(tag.context(0), 'version');
    const version = tbs.since(start);
    const serial = tbs.integer('serialNumber');
    const headStart = tbs.offset;
    tbs.passOver(tag.sequence, 'signature');
    tbs.passOver(tag.sequence, 'issuer');
    const head = tbs.since(headStart);
    const validity = tbs.sequence('validity');
    const notBefore = readRequiredTime(validity, 'notBefore');
    const notAfter = readRequiredTime(validity, 'notAfter');
    validity.end('validity');
    tbs.sequence('subject').end('the empty subject');
    const spkiDer = tbs.element(tag.sequence, 'subjectPublicKeyInfo');
    const wrapped = tbs.enter(tag.context(3), 'extensions');
    tbs.end('the extensions');
    const extensions = cutExtensions(wrapped.sequence('extensions'));
    wrapped.end('extensions');
    if (extensions === undefined) return undefined;
    const { keyIdentifier, names, rest } = extensions;
    const common = [version, head, ...rest];
    return { serial, notBefore, notAfter, spkiDer, keyIdentifier, names, common };
  } catch (thrown) {
    if (thrown instanceof DerError) return undefined;
    throw thrown;
  }
}

function cutExtensions(
  list: DerReader,
): (Pick<LeafCut, 'keyIdentifier' | 'names'> & { readonly rest: readonly Buffer[] }) | undefined {
  const rest: Buffer[] = [];
  let keyIdentifier: Buffer | undefined;
  let names: StatedNames | undefined;
  let restStart = list.offset;
  while (list.more) {
    const start = list.offset;
    const extension = list.sequence('extension');
    if (extension.passes(subjectKeyIdOid)) {
      const value = extension.enter(tag.octetString, 'extension value');
      keyIdentifier = value.content(tag.octetString, 'subjectKeyIdentifier');
      value.end('subjectKeyIdentifier');
    } else if (extension.passes(subjectAltNameOid)) {
      if (!extension.boolean('critical')) return undefined;
      const value = extension.enter(tag.octetString, 'extension value');
      names = statedNames(value.sequence('subjectAltName'));
      value.end('subjectAltName');
    } else continue;
    extension.end('extension');
    rest.push(list.since(restStart, start));
    restStart = list.offset;
  }
  rest.push(list.since(restStart));
  return keyIdentifier === undefined || names === undefined
    ? undefined
    : { keyIdentifier, names, rest };
}

function statedNames(names: DerReader): StatedNames {
  const { uris, dnsNames, ips, otherKinds } = readGeneralNames(names, 'subjectAltName');
  return { uriSans: uris, dnsSans: dnsNames, ipSans: ips, otherSanKinds: otherKinds };
}

/** What of an intention decides on the common parts of a leaf. */
interface Intention {
  readonly profile: Profile;
  readonly keyType: KeyType;
  readonly crlUrl: string | undefined;
  readonly issuerUrl: string | undefined;
  readonly ocspUrl: string | undefined;
}

/**
 * The common parts of leaves that passed `lint`, by issuer, the oldest first. This module is their
 * owner. They are dropped with the object of the issuer. The same bytes under the same intention
 * pass again, so that they can't become wrong.
 */
const passedLeaves = new WeakMap<
  ParsedCertificate,
  (Intention & { readonly common: readonly Buffer[] })[]
>();
/** An issuer has few profiles, types of keys and URLs at a time. */
const passedLimit = 16;

/** Whether a leaf with these common parts passed `lint` under an intention that is the same for them. */
export function hasPassed(cut: LeafCut, profile: Profile, context: LintContext): boolean {
  const keyType = commonKeyType(profile, context);
  const passed = context.issuer === undefined ? undefined : passedLeaves.get(context.issuer);
  if (keyType === undefined || passed === undefined) return false;
  const { crlUrl, access } = context;
  for (const each of passed)
    if (
      each.profile === profile &&
      each.keyType === keyType &&
      each.crlUrl === crlUrl &&
      each.issuerUrl === access?.issuerUrl &&
      each.ocspUrl === access?.ocspUrl &&
      areSame(each.common, cut.common)
    )
      return true;
  return false;
}

/** Remembers the common parts of a leaf that passed `lint`. */
export function rememberPassed(tbsDer: Buffer, profile: Profile, context: LintContext): void {
  const { issuer, crlUrl, access } = context;
  const keyType = commonKeyType(profile, context);
  const cut = keyType === undefined ? undefined : cutLeaf(tbsDer);
  if (keyType === undefined || cut === undefined || issuer === undefined) return;
  const passed = passedLeaves.get(issuer) ?? [];
  if (passed.length === 0) passedLeaves.set(issuer, passed);
  else if (passed.length === passedLimit) passed.shift();
  passed.push({
    profile,
    keyType,
    crlUrl,
    issuerUrl: access?.issuerUrl,
    ocspUrl: access?.ocspUrl,
    common: cut.common.map((part) => Buffer.from(part)),
  });
}

/** The type of the key of a leaf whose subject is empty. Undefined: it is none, or its key is refused. */
function commonKeyType(
  profile: Profile,
  { spkiDer, subjectDer, subjectMarked, names }: LintContext,
): KeyType | undefined {
  if (!isLeafProfile(profile) || profiles[profile].commonName === true) return undefined;
  if (subjectDer !== undefined || subjectMarked !== undefined || names !== undefined)
    return undefined;
  const keyType = keyTypeOfSpki(spkiDer);
  return keyType.ok ? keyType.value : undefined;
}

const areSame = (some: readonly Buffer[], others: readonly Buffer[]): boolean =>
  some.length === others.length &&
  some.every((part, index) => part.equals(others[index] as Buffer));
