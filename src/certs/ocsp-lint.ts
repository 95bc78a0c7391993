import { hash as digest, X509Certificate } from 'node:crypto';
import { fail, ok, type Result } from '../common/errors/index.ts';
import type { ParsedCertificate } from '../common/x509/index.ts';
import { parseOcspTbs, type ReadOcspAnswer } from './ocsp-reader.ts';
import { ocspSignerProblem } from './ocsp-signer.ts';
import type { OcspAnswer, OcspHash, OcspResponder } from './ocsp-types.ts';
import type { CrlReason } from './types.ts';

/** No answer of ours lives this long: a mistake of units must be caught. */
const maximumLifeSeconds = 10 * 86_400;

/** AlgorithmIdentifier of each hash, with NULL. */
const algorithms: Readonly<Record<OcspHash, string>> = {
  sha1: '300906052b0e03021a0500',
  sha256: '300d06096086480165030402010500',
};

/** RFC 5280 section 5.3.1. */
const reasons: ReadonlyMap<number | undefined, CrlReason | undefined> = new Map([
  [undefined, undefined],
  [1, 'keyCompromise'],
  [2, 'cACompromise'],
  [3, 'affiliationChanged'],
  [4, 'superseded'],
  [5, 'cessationOfOperation'],
  [9, 'privilegeWithdrawn'],
]);

/**
 * Compares a ResponseData with its intended content, by an independent reader: responder, CertID,
 * status, times. Nothing in it reaches beyond the lives of the issuer and of the signer. Fails with
 * LINT_FAILED and names the first difference.
 */
export function lintOcsp(
  tbsDer: Buffer,
  responder: OcspResponder,
  meant: OcspAnswer,
  hash: OcspHash,
): Result<void> {
  const read = parseOcspTbs(tbsDer);
  const problem = read.ok
    ? (signerProblem(responder, meant) ??
      certIdProblem(read.value, responder, meant, hash) ??
      contentProblem(read.value, responder, meant))
    : read.error.message;
  return problem === undefined ? ok(undefined) : fail('LINT_FAILED', `the OCSP answer: ${problem}`);
}

function signerProblem(
  { issuer, signer }: OcspResponder,
  { nextUpdate }: OcspAnswer,
): string | undefined {
  const problem = ocspSignerProblem(signer, issuer);
  if (problem !== undefined) return problem;
  return nextUpdate > signer.notAfter || nextUpdate > issuer.notAfter
    ? 'it reaches beyond the life of its signer or issuer'
    : undefined;
}

function certIdProblem(
  read: ReadOcspAnswer,
  { issuer, signer }: OcspResponder,
  { serialHex }: OcspAnswer,
  hash: OcspHash,
): string | undefined {
  if (!read.responderKeyHash.equals(keyDigest(signer, 'sha1')))
    return 'its responder is not the signer';
  if (read.hashAlgorithmDer.toString('hex') !== algorithms[hash])
    return 'its hash is not the intended one';
  if (!read.issuerNameHash.equals(nameDigest(issuer, hash))) return 'it names another issuer';
  if (!read.issuerKeyHash.equals(keyDigest(issuer, hash)))
    return 'it names another key of the issuer';
  return read.serialHex === serialHex.replace(/^(00)+(?=..)/, '')
    ? undefined
    : 'its serial is not the intended one';
}

function contentProblem(
  read: ReadOcspAnswer,
  { issuer, signer }: OcspResponder,
  meant: OcspAnswer,
): string | undefined {
  if (read.status !== (meant.revoked === undefined ? 'good' : 'revoked'))
    return 'its status is not the intended one';
  if (
    read.revokedAt !== meant.revoked?.at ||
    !reasons.has(read.reasonCode) ||
    reasons.get(read.reasonCode) !== meant.revoked?.reason
  )
    return 'its revocation is not the intended one';
  if (
    read.producedAt !== meant.producedAt ||
    read.thisUpdate !== meant.thisUpdate ||
    read.nextUpdate !== meant.nextUpdate
  )
    return 'its times are not the intended ones';
  if (read.thisUpdate > read.producedAt || read.producedAt >= read.nextUpdate)
    return 'its times are not in their order';
  if (read.thisUpdate < issuer.notBefore || read.producedAt < signer.notBefore)
    return 'it begins before its issuer or signer';
  if (read.nextUpdate - read.thisUpdate > maximumLifeSeconds) return 'it lives too long';
  return read.revokedAt !== undefined && read.revokedAt > read.producedAt
    ? 'the revocation is later than the answer'
    : undefined;
}

interface Digests {
  readonly name: Map<OcspHash, Buffer>;
  readonly key: Map<OcspHash, Buffer>;
}
const digestsOf = new WeakMap<ParsedCertificate, Digests>();

function digests(certificate: ParsedCertificate): Digests {
  let known = digestsOf.get(certificate);
  if (known === undefined) {
    known = { name: new Map(), key: new Map() };
    digestsOf.set(certificate, known);
  }
  return known;
}

function nameDigest(certificate: ParsedCertificate, hash: OcspHash): Buffer {
  const { name } = digests(certificate);
  let value = name.get(hash);
  if (value === undefined) name.set(hash, (value = digest(hash, certificate.subjectDer, 'buffer')));
  return value;
}

/** The key as OpenSSL reads it, so that our own reading of it is checked too. */
function keyDigest(certificate: ParsedCertificate, hash: OcspHash): Buffer {
  const { key } = digests(certificate);
  let value = key.get(hash);
  if (value === undefined) {
    const { publicKey } = new X509Certificate(certificate.raw);
    const bits =
      publicKey.asymmetricKeyType === 'rsa'
        ? publicKey.export({ type: 'pkcs1', format: 'der' })
        : ecPoint(publicKey.export({ format: 'jwk' }));
    key.set(hash, (value = digest(hash, bits, 'buffer')));
  }
  return value;
}

const ecPoint = ({ x = '', y = '' }: { readonly x?: string; readonly y?: string }): Buffer =>
  Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
