import { createHash } from 'node:crypto';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import { derWriter, encodeTime, setDigest } from '../../src/common/x509/index.ts';
import type { TrustBundle } from '../ports/bundles.ts';

const {
  bitString,
  context,
  derTrue,
  integer,
  namedBits,
  octetString,
  oid,
  sequence,
  setOf,
  utf8String,
} = derWriter;

/** The curve P-256 (FIPS 186-5): y² = x³ - 3x + b over p. */
const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

let made: Buffer | undefined;

/**
 * A certificate of an authority that signed nothing and never can: nobody has its private key. Its
 * public key is the first point of P-256 whose x is a hash of a fixed text and a number. It stands
 * where a program must be given a trust anchor and is to trust nobody: Envoy refuses an empty set,
 * and a server does not load a file without a certificate.
 */
export const nobodysAuthority = (): Buffer => (made ??= make());

/** What a reader gets in the place of the bundle of a foreign trust domain that is withdrawn. */
export function nobodysBundle(trustDomain: TrustDomain): TrustBundle {
  const rootsDer = [nobodysAuthority()];
  return {
    trustDomain,
    sequence: 0,
    rootsDer,
    jwksJson: '{"keys":[]}',
    authoritySetDigest: setDigest(rootsDer),
    jwtSetDigest: setDigest([]),
    issuersSha256: [],
  };
}

function make(): Buffer {
  const name = sequence(
    setOf(sequence(oid('2.5.4.3'), utf8String('meshca: nobody, bundle withdrawn'))),
  );
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'));
  const validity = sequence(encodeTime(0), encodeTime(Date.UTC(9999, 11, 31) / 1000));
  const critical = (id: string, value: Buffer): Buffer =>
    sequence(oid(id), derTrue(), octetString(value));
  const extensions = sequence(
    critical('2.5.29.19', sequence(derTrue())),
    critical('2.5.29.15', namedBits([5])),
  );
  const tbs = sequence(
    ...[context(0, integer(2)), integer(1), algorithm, name, validity, name],
    ...[publicKey(), context(3, extensions)],
  );
  // a trust anchor is believed without its own signature, and nobody can make one
  return sequence(tbs, algorithm, bitString(sequence(integer(1), integer(1))));
}

function publicKey(): Buffer {
  const algorithm = sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7'));
  for (let number = 0; ; number += 1) {
    const text = `meshca: the key of nobody, ${number}`;
    const x = BigInt(`0x${createHash('sha256').update(text).digest('hex')}`) % p;
    const square = ((((x * x - 3n) * x + b) % p) + p) % p;
    // p = 3 mod 4
    const y = power(square, (p + 1n) / 4n);
    if ((y * y) % p === square)
      return sequence(algorithm, bitString(Buffer.concat([Buffer.of(4), octets(x), octets(y)])));
  }
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let [factor, rest] = [base, exponent]; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) result = (result * factor) % p;
    factor = (factor * factor) % p;
  }
  return result;
}

const octets = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(64, '0'), 'hex');
