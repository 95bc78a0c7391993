import { fail, ok, type Result } from '../errors/index.ts';
import { DerError, DerReader, oidText, parsing, tag } from './der-reader.ts';
import { readName } from './names.ts';
import { signatureAlgorithmOf } from './signature-algorithm.ts';
import { checkSignature } from './signature-check.ts';
import { readTime } from './time.ts';
import type { ParsedCertificate, ParsedCrl, RevokedEntry } from './types.ts';

export type TbsCrlFields = Omit<ParsedCrl, 'raw' | 'tbsDer' | 'signatureAlgorithm' | 'signature'>;

const maximumBytes = 16_000_000;
const oids = {
  authorityKeyId: '2.5.29.35',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  deltaCrlIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  certificateIssuer: '2.5.29.29',
} as const;

/**
 * Reads a complete v2 CRL (RFC 5280 section 5) in strict DER, with nextUpdate,
 * AuthorityKeyIdentifier and CRL number, which that profile demands. Refuses what it can not
 * evaluate: delta CRLs, indirect CRLs, CRLs for a part of the certificates (even if the extension
 * that says so is not critical), and any other critical extension. `ofShards`: the certificates of
 * one distribution point are a part that the caller can evaluate. Fails with CRL_INVALID.
 */
export function parseCrl(der: Buffer, { ofShards = false } = {}): Result<ParsedCrl> {
  if (der.length > maximumBytes)
    return fail('CRL_INVALID', `the CRL has more than ${maximumBytes} bytes`);
  return parsing('CRL_INVALID', () => {
    const outer = new DerReader(der);
    const list = outer.sequence('certificateList');
    outer.end('the CRL');
    const start = list.offset;
    const fields = readTbs(list, ofShards);
    const tbsDer = list.since(start);
    const algorithm = list.element(tag.sequence, 'signatureAlgorithm');
    if (!algorithm.equals(fields.signatureAlgorithmDer))
      throw new DerError('the two signature algorithms differ');
    const signature = list.octetBits('signature');
    list.end('the signature');
    return ok({
      raw: der,
      tbsDer,
      ...fields,
      signatureAlgorithm: signatureAlgorithmOf(algorithm),
      signature,
    });
  });
}

/** Reads a TBSCertList alone, before it is signed. Fails with CRL_INVALID. */
export function parseTbsCrl(tbsDer: Buffer, { ofShards = false } = {}): Result<TbsCrlFields> {
  return parsing('CRL_INVALID', () => {
    const outer = new DerReader(tbsDer);
    const fields = readTbs(outer, ofShards);
    outer.end('the TBSCertList');
    return ok(fields);
  });
}

/** The key (SPKI) whose signature on a CRL verified: a fact of mathematics, never of trust. */
const goodSignatures = new WeakMap<ParsedCrl, Buffer>();

/**
 * Whether `issuer` signed the CRL and may. Call with a trusted issuer only. Fails with CRL_INVALID.
 */
export function checkCrlSignature(crl: ParsedCrl, issuer: ParsedCertificate): Result<void> {
  if (!isCrlOf(crl, issuer)) return fail('CRL_INVALID', 'the CRL names another issuer');
  if (issuer.keyUsage?.names.has('cRLSign') === false)
    return fail('CRL_INVALID', 'the issuer of the CRL may not sign one');
  // cached, since every handshake would hash a long CRL again
  const known = goodSignatures.get(crl);
  if (known?.equals(issuer.spkiDer)) return ok(undefined);
  const signed = checkSignature(crl, issuer);
  if (signed.ok) goodSignatures.set(crl, Buffer.from(issuer.spkiDer));
  return signed.ok
    ? signed
    : fail('CRL_INVALID', 'the signature of the CRL is wrong', { cause: signed.error });
}

export const isCrlOf = (
  crl: Pick<ParsedCrl, 'issuerDer' | 'authorityKeyId'>,
  issuer: ParsedCertificate,
): boolean => crl.issuerDer.equals(issuer.subjectDer) && crl.authorityKeyId === issuer.subjectKeyId;

/**
 * Whether a verified path has been revoked (RFC 5280 section 6.3 for complete CRLs). Each
 * certificate on it needs a current CRL of its issuer, except a leaf with noRevAvail (RFC 9608
 * section 4). Of several CRLs under one key the highest number counts. If another one begins later,
 * their issuer has lost count, and a certificate revoked in either is revoked. Fails with
 * CERTIFICATE_REVOKED, or with REVOCATION_UNKNOWN if a CRL is missing, expired or wrongly signed:
 * then nothing of that chain can be relied on.
 */
export function checkRevocation(
  path: readonly ParsedCertificate[],
  root: ParsedCertificate,
  crls: readonly ParsedCrl[],
  now: number,
): Result<void> {
  let issuer = root;
  for (let index = path.length - 1; index >= 0; index -= 1) {
    const current = path[index] as ParsedCertificate;
    if (index > 0 || !current.noRevAvail) {
      const signer = issuer;
      const what = index === 0 ? 'the certificate' : 'an intermediate';
      const valid = newestCrls(
        crls.filter(
          (each) =>
            isCrlOf(each, signer) &&
            now >= each.thisUpdate &&
            now <= each.nextUpdate &&
            checkCrlSignature(each, signer).ok,
        ),
      );
      if (valid.length === 0)
        return fail(
          'REVOCATION_UNKNOWN',
          `no valid CRL of the issuer of ${what} ${current.serialHex} is at hand`,
        );
      if (valid.some(({ revoked }) => revoked.has(current.serialHex)))
        return fail('CERTIFICATE_REVOKED', `${what} ${current.serialHex} is revoked`);
    }
    issuer = current;
  }
  return ok(undefined);
}

/**
 * The CRLs with the highest number and those with the latest beginning, which are usually the same.
 */
function newestCrls(crls: readonly ParsedCrl[]): readonly ParsedCrl[] {
  if (crls.length < 2) return crls;
  let number = -1n;
  let thisUpdate = -Infinity;
  for (const crl of crls) {
    if (crl.number > number) ({ number } = crl);
    thisUpdate = Math.max(thisUpdate, crl.thisUpdate);
  }
  return crls.filter((crl) => crl.number === number || crl.thisUpdate === thisUpdate);
}

function readTbs(outer: DerReader, ofShards: boolean): TbsCrlFields {
  const tbs = outer.sequence('tbsCertList');
  if (tbs.smallInteger('version') !== 1) throw new DerError('the CRL is not of version 2');
  const signatureAlgorithmDer = tbs.element(tag.sequence, 'signature');
  const issuerDer = readName(tbs, 'issuer');
  if (issuerDer.length === 2) throw new DerError('the issuer is empty');
  const thisUpdate = readTime(tbs, 'thisUpdate');
  if (tbs.peek() !== tag.utcTime && tbs.peek() !== tag.generalizedTime)
    throw new DerError('nextUpdate is missing');
  const nextUpdate = readTime(tbs, 'nextUpdate');
  const revoked = new Map<string, RevokedEntry>();
  if (tbs.peek() === tag.sequence) {
    const entries = tbs.sequence('revokedCertificates');
    if (!entries.more) throw new DerError('revokedCertificates is present and empty');
    while (entries.more) readEntry(entries.sequence('revokedCertificate'), revoked);
  }
  const wrapped = tbs.enter(tag.context(0), 'crlExtensions');
  let authorityKeyId: string | undefined;
  let number: bigint | undefined;
  let distributionPoint: string | undefined;
  for (const { oid, critical, value } of readList(wrapped.sequence('crlExtensions'))) {
    if (oid === oids.authorityKeyId) {
      const fields = value.sequence('authorityKeyIdentifier');
      authorityKeyId = fields.content(tag.contextPrimitive(0), 'keyIdentifier').toString('hex');
    } else if (oid === oids.crlNumber) {
      const content = value.integer('crlNumber');
      if ((content[0] as number) >= 0x80 || content.length > 20)
        throw new DerError('the CRL number is out of range');
      number = BigInt(`0x${content.toString('hex')}`);
    } else if (ofShards && oid === oids.issuingDistributionPoint && critical)
      distributionPoint = readDistributionPoint(value);
    else if (oid === oids.deltaCrlIndicator || oid === oids.issuingDistributionPoint)
      throw new DerError(
        `the CRL is not complete: it has the extension ${oid} ` +
          `(${oid === oids.deltaCrlIndicator ? 'deltaCRLIndicator' : 'issuingDistributionPoint'})`,
      );
    else if (critical)
      throw new DerError(`the CRL has the critical extension ${oid}, which is not supported`);
  }
  wrapped.end('crlExtensions');
  tbs.end('the extensions');
  if (authorityKeyId === undefined || number === undefined)
    throw new DerError('the CRL lacks AuthorityKeyIdentifier or CRL number');
  return {
    signatureAlgorithmDer,
    issuerDer,
    thisUpdate,
    nextUpdate,
    number,
    authorityKeyId,
    revoked,
    distributionPoint,
  };
}

/**
 * The one URI of an IssuingDistributionPoint that limits the CRL by nothing else: neither kinds of
 * certificates nor reasons, and not indirect.
 */
function readDistributionPoint(value: DerReader): string {
  const point = value.sequence('issuingDistributionPoint');
  const names = point.enter(tag.context(0), 'distributionPoint').enter(tag.context(0), 'fullName');
  const url = names.content(tag.contextPrimitive(6), 'uniformResourceIdentifier');
  names.end('fullName');
  point.end('issuingDistributionPoint');
  return url.toString('latin1');
}

function readEntry(entry: DerReader, into: Map<string, RevokedEntry>): void {
  const serial = entry.integer('userCertificate');
  if ((serial[0] as number) >= 0x80 || serial.length > 21)
    throw new DerError('a serial number is out of range');
  const serialHex = (serial[0] === 0 && serial.length > 1 ? serial.subarray(1) : serial).toString(
    'hex',
  );
  if (into.has(serialHex)) throw new DerError(`the serial number ${serialHex} appears twice`);
  const revokedAt = readTime(entry, 'revocationDate');
  let reasonCode: number | undefined;
  if (entry.more) {
    for (const { oid, critical, value } of readList(entry.sequence('crlEntryExtensions'))) {
      if (oid === oids.reasonCode) {
        const content = value.content(tag.enumerated, 'reasonCode');
        if (content.length !== 1) throw new DerError('a reason code is out of range');
        reasonCode = content[0];
      } else if (critical || oid === oids.certificateIssuer)
        throw new DerError(`an entry of the CRL has the extension ${oid}, which is not supported`);
    }
  }
  entry.end('a revoked certificate');
  into.set(serialHex, { revokedAt, reasonCode });
}

function* readList(
  list: DerReader,
): Generator<{ readonly oid: string; readonly critical: boolean; readonly value: DerReader }> {
  if (!list.more) throw new DerError('extensions are present and empty');
  const seen = new Set<string>();
  while (list.more) {
    const extension = list.sequence('extension');
    const oid = oidText(extension.oidHex('extension OID'));
    if (seen.has(oid)) throw new DerError(`extension ${oid} appears twice`);
    seen.add(oid);
    const critical = extension.peek() === tag.boolean && extension.boolean('critical');
    const value = extension.enter(tag.octetString, 'extension value');
    extension.end('extension');
    yield { oid, critical, value };
  }
}
