import { PkiError } from '../../src/common/errors/index.ts';
import type { X509Svid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/X509Svid.ts';
import {
  parseCertificate,
  verifyChain,
  type ParsedCertificate,
} from '../../src/common/x509/index.ts';
import type { Names } from '../ports/entries.ts';

const serverAuth = '1.3.6.1.5.5.7.3.1';

/**
 * What is wrong with a leaf for names, in words: it has exactly the names of its entry and no
 * identity, and is for servers alone (RFC 5280 section 4.2.1).
 */
export function namesFaults(leaf: ParsedCertificate, wanted: Names): readonly string[] {
  const faults: string[] = [];
  if (leaf.isCa) faults.push('the certificate is a CA');
  if (leaf.uriSans.length > 0) faults.push(`the certificate has the URI ${leaf.uriSans[0]}`);
  if (leaf.otherSanKinds.length !== leaf.ipSans.length)
    faults.push(`the certificate has names of other kinds: ${leaf.otherSanKinds.join(', ')}`);
  faults.push(
    ...differences('name', leaf.dnsSans, wanted.dnsNames),
    ...differences('address', leaf.ipSans, wanted.ips),
  );
  const { extendedKeyUsage: purposes = [], keyUsage: usage } = leaf;
  if (purposes.length !== 1 || purposes[0] !== serverAuth)
    faults.push('the certificate is not for servers alone');
  if (usage?.names.has('digitalSignature') !== true)
    faults.push('the key usage lacks digitalSignature');
  if (usage?.names.has('keyCertSign') === true || usage?.names.has('cRLSign') === true)
    faults.push('the key may sign certificates or CRLs');
  return faults;
}

function differences(
  what: string,
  found: readonly string[],
  wanted: readonly string[],
): readonly string[] {
  const lacks = wanted.filter((each) => !found.includes(each));
  const more = found.filter((each) => !wanted.includes(each));
  return [
    ...lacks.map((each) => `the certificate lacks the ${what} ${each}`),
    ...more.map((each) => `the certificate has the ${what} ${each}, which its entry does not give`),
  ];
}

export interface NamesExpectation {
  readonly names: Names;
  /** Of the key pair that the agent made. */
  readonly spkiDer: Buffer;
  /** Of the mesh. */
  readonly meshRootsDer: readonly Buffer[];
}

/**
 * Checks a certificate for names that the server sent with the roots of names. These roots count
 * for the certificate alone: a root that the mesh trusts too is refused, so that the two
 * hierarchies stay apart. Judged by the server's time. Throws SVID_INVALID.
 */
export function verifySignedNames(
  svid: X509Svid__Output,
  { names, spkiDer, meshRootsDer }: NamesExpectation,
): void {
  const refused = (reason: string, cause?: PkiError): PkiError =>
    new PkiError(
      'SVID_INVALID',
      `the certificate for the names ${textOf(names)} does not hold: ${reason}`,
      { cause },
    );
  if (svid.namesRootsDer.length === 0) throw refused('the server sent no root of names with it');
  const meshKeys = new Set(meshRootsDer.map(keyOf));
  if (svid.namesRootsDer.some((root) => meshKeys.has(keyOf(root))))
    throw refused('the mesh trusts one of its roots');
  const verified = verifyChain({
    chainDer: svid.chainDer,
    roots: svid.namesRootsDer,
    now: svid.serverTime,
    purpose: 'server',
  });
  if (!verified.ok) throw refused(verified.error.message, verified.error);
  const { leaf } = verified.value;
  const faults = [
    ...namesFaults(leaf, names),
    ...(leaf.spkiDer.equals(spkiDer) ? [] : ['it has another key']),
    ...(leaf.serialHex === svid.serial ? [] : [`its serial is ${leaf.serialHex}`]),
    ...(leaf.notBefore === svid.notBefore && leaf.notAfter === svid.notAfter
      ? []
      : ['its life is another than the server says']),
  ];
  if (faults.length > 0) throw refused(faults.join('; '));
}

/** The key of a certificate as text; of bytes that are none, the bytes. */
function keyOf(der: Buffer): string {
  const parsed = parseCertificate(der);
  return parsed.ok ? parsed.value.spkiDer.toString('base64') : der.toString('base64');
}

const shownNames = 3;

const textOf = ({ dnsNames, ips }: Names): string => {
  const all = [...dnsNames, ...ips];
  const more = all.length > shownNames ? ` and ${all.length - shownNames} more` : '';
  return `${all.slice(0, shownNames).join(', ')}${more}`;
};
