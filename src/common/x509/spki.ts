import { fail, ok, type Result } from '../errors/index.ts';
import { DerError, DerReader, parsing } from './der-reader.ts';
import type { KeyType } from './key-type.ts';
import { rsaWeakness } from './rsa-weakness.ts';

interface Curve {
  readonly keyType: KeyType;
  /** All of SubjectPublicKeyInfo before X: named curve, uncompressed point (RFC 5480 section 2). */
  readonly prefix: Buffer;
  readonly coordinateBytes: number;
  readonly p: bigint;
  readonly b: bigint;
}

/** FIPS 186-4 appendix D.1.2; a = -3 for both. */
const curves: readonly Curve[] = [
  {
    keyType: 'ec-p256',
    prefix: Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'),
    coordinateBytes: 32,
    p: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
    b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  },
  {
    keyType: 'ec-p384',
    prefix: Buffer.from('3076301006072a8648ce3d020106052b8104002203620004', 'hex'),
    coordinateBytes: 48,
    p: 0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffffn,
    b: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
  },
];

/** Octets of a coordinate on the named curves that certificates of others may have. */
const coordinateBytes: Readonly<Record<string, number>> = {
  '2a8648ce3d030107': 32,
  '2b81040022': 48,
  '2b81040023': 66,
};

const ecPublicKey = '2a8648ce3d0201';
const rsaEncryption = '2a864886f70d010101';

/**
 * Keys that passed recently, by their bytes, the oldest first. The key of a leaf is checked several
 * times (CSR, profile, lint), the key of an issuer at each signature, and the arithmetic is costly.
 * The result depends on the bytes only, so that it can't become wrong. Refused keys are not kept,
 * so that a stranger can't displace good keys with bad ones.
 */
const passedLately = new Map<string, KeyType>();
const passedLimit = 1024;
/** The last of them, copied: it is often the next that is asked for. */
let passedLast: { readonly spkiDer: Buffer; readonly result: Result<KeyType> } | undefined;

/**
 * The type of a SubjectPublicKeyInfo, or why it is refused: KEY_UNSUPPORTED (other algorithm,
 * curve, encoding, size or exponent) or KEY_WEAK (point not on its curve, modulus with a known
 * weakness). Arithmetic only: no key is imported.
 */
export function keyTypeOfSpki(spkiDer: Buffer): Result<KeyType> {
  if (passedLast?.spkiDer.equals(spkiDer) === true) return passedLast.result;
  const bytes = spkiDer.toString('latin1');
  const passed = passedLately.get(bytes);
  const result = passed === undefined ? judge(spkiDer) : ok(passed);
  if (!result.ok) return result;
  if (passed === undefined) {
    if (passedLately.size >= passedLimit)
      passedLately.delete(passedLately.keys().next().value as string);
    passedLately.set(bytes, result.value);
  }
  passedLast = { spkiDer: Buffer.from(spkiDer), result };
  return result;
}

function judge(spkiDer: Buffer): Result<KeyType> {
  for (const curve of curves) {
    if (
      spkiDer.length !== curve.prefix.length + 2 * curve.coordinateBytes ||
      spkiDer.compare(curve.prefix, 0, curve.prefix.length, 0, curve.prefix.length) !== 0
    )
      continue;
    return isOnCurve(spkiDer, curve)
      ? ok(curve.keyType)
      : fail('KEY_WEAK', 'the public key is not a point on its curve');
  }
  return parsing('KEY_UNSUPPORTED', () => rsaKeyType(spkiDer));
}

/**
 * Reads the SubjectPublicKeyInfo of a certificate to its last byte; returns it with tag and length.
 * The key may be of a type that we do not accept for our own certificates: what is checked is that
 * it says one thing only. RSA: NULL parameters, two positive numbers. EC: a named curve, a point of
 * its length.
 */
export function readSpki(reader: DerReader): Buffer {
  const start = reader.offset;
  const spki = reader.sequence('subjectPublicKeyInfo');
  const algorithm = spki.sequence('the algorithm of the key');
  const oid = algorithm.oidHex('the algorithm of the key');
  const curve = oid === ecPublicKey ? algorithm.oidHex('the curve of the key') : undefined;
  if (oid === rsaEncryption) algorithm.null('the parameters of the RSA key');
  else if (curve === undefined && algorithm.more) algorithm.any('the parameters of the key');
  algorithm.end('the algorithm of the key');
  const key = spki.octetBits('subjectPublicKey');
  spki.end('subjectPublicKey');
  if (oid === rsaEncryption) readRsaKey(key);
  if (curve !== undefined) checkPoint(key, coordinateBytes[curve]);
  return reader.since(start);
}

function readRsaKey(bytes: Buffer): void {
  const inner = new DerReader(bytes);
  const key = inner.sequence('RSAPublicKey');
  inner.end('RSAPublicKey');
  for (const what of ['the modulus', 'the exponent']) {
    const [first, second] = key.integer(what);
    if ((first as number) >= 0x80 || (first === 0 && second === undefined))
      throw new DerError(`${what} of the RSA key is not positive`);
  }
  key.end('the exponent');
}

function checkPoint(point: Buffer, length: number | undefined): void {
  const compressed = point[0] === 2 || point[0] === 3;
  if (!compressed && point[0] !== 4) throw new DerError('the EC key is no point of a known form');
  if (length !== undefined && point.length !== 1 + (compressed ? 1 : 2) * length)
    throw new DerError('the EC key is no point of its curve');
}

function isOnCurve(spkiDer: Buffer, { prefix, coordinateBytes, p, b }: Curve): boolean {
  const middle = prefix.length + coordinateBytes;
  const x = BigInt(`0x${spkiDer.toString('hex', prefix.length, middle)}`);
  const y = BigInt(`0x${spkiDer.toString('hex', middle)}`);
  // the point at infinity has no uncompressed form, and the order is prime: on the curve is enough
  return x < p && y < p && (y * y - (x * x - 3n) * x - b) % p === 0n;
}

function rsaKeyType(spkiDer: Buffer): Result<KeyType> {
  const outer = new DerReader(spkiDer);
  const spki = outer.sequence('subjectPublicKeyInfo');
  outer.end('subjectPublicKeyInfo');
  const algorithm = spki.sequence('algorithm');
  const oid = algorithm.oidHex('algorithm OID');
  if (oid === ecPublicKey)
    return fail(
      'KEY_UNSUPPORTED',
      'the EC key is not on P-256 or P-384 as named curve with an uncompressed point',
    );
  if (oid !== rsaEncryption)
    return fail('KEY_UNSUPPORTED', 'the key is neither EC (P-256, P-384) nor RSA');
  if (!algorithm.more)
    return fail(
      'KEY_UNSUPPORTED',
      'the RSA key lacks the NULL parameters of its algorithm (RFC 3279 section 2.3.1); a ' +
        'request made with OpenSSL has them: openssl req -new -key KEY',
    );
  algorithm.null('RSA parameters');
  algorithm.end('RSA parameters');
  const inner = new DerReader(spki.octetBits('subjectPublicKey'));
  spki.end('subjectPublicKey');
  const key = inner.sequence('RSAPublicKey');
  inner.end('RSAPublicKey');
  const signedModulus = key.integer('modulus');
  const exponent = key.integer('publicExponent');
  key.end('publicExponent');
  // a modulus of 2048, 3072 or 4096 bits has its top bit set, so that DER puts a zero octet before
  // it
  const bits = (signedModulus.length - 1) * 8;
  if (signedModulus[0] !== 0 || (bits !== 2048 && bits !== 3072 && bits !== 4096))
    throw new DerError('the RSA modulus does not have exactly 2048, 3072 or 4096 bits');
  if (exponent.toString('hex') !== '010001')
    return fail('KEY_UNSUPPORTED', 'the RSA exponent is not 65537, the only one that is accepted');
  const weakness = rsaWeakness(signedModulus.subarray(1));
  return weakness === undefined ? ok<KeyType>(`rsa-${bits}`) : fail('KEY_WEAK', weakness);
}
