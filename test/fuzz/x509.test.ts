import assert from 'node:assert/strict';
import { verify, X509Certificate } from 'node:crypto';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import {
  createCsr,
  keyTypeOfSpki,
  parseCertificate,
  pemDecode,
  splitDer,
  verifyX509Svid,
} from '../../src/common/x509/index.ts';
import { lint, parseCsr, parseOcspRequest, parseOcspResponse } from '../../src/certs/index.ts';
import { spiffeSubject } from '../../src/domain/index.ts';
import { SpiffeId } from '../../src/common/spiffe/index.ts';
import { makeOcspCa, ocspRequest } from '../support/ocsp.ts';
import { leafExtensions, makeAuthority, makeCertificate, makeKey, now } from '../support/x509.ts';

/**
 * Each property runs until its time is over, so that the whole file stays within seconds, and once
 * at least, so that none passes without a run.
 */
function holds<T>(property: fc.IProperty<T>): void {
  const end = performance.now() + 1_500;
  do fc.assert(property, { numRuns: 200 });
  while (performance.now() < end);
}

const key = makeKey();
const rsaKey = makeKey('rsa-2048');
const root = makeAuthority('root');
const leaf = makeCertificate({ key, issuer: root, extensions: leafExtensions(root) });
const ocspCa = makeOcspCa({ notBefore: now - 86_400, notAfter: now + 30 * 86_400 });
const csrs = [
  createCsr(key.privateKey),
  createCsr(key.privateKey, { uriSan: 'spiffe://example.org/a' }),
  createCsr(rsaKey.privateKey, { uriSan: 'spiffe://example.org/a' }),
];

/** A valid input with a few octets changed, removed, inserted or repeated. */
const mutated = (seeds: readonly Buffer[]): fc.Arbitrary<Buffer> =>
  fc
    .tuple(
      fc.constantFrom(...seeds),
      fc.array(
        fc.record({
          kind: fc.constantFrom('set', 'cut', 'insert', 'repeat', 'length'),
          at: fc.nat(),
          octet: fc.integer({ min: 0, max: 255 }),
          size: fc.integer({ min: 1, max: 8 }),
        }),
        { minLength: 1, maxLength: 4 },
      ),
    )
    .map(([seed, changes]) => {
      let bytes = Buffer.from(seed);
      for (const { kind, at: anywhere, octet, size } of changes) {
        const at = bytes.length === 0 ? 0 : anywhere % bytes.length;
        if (kind === 'set' && bytes.length > 0) bytes[at] = octet;
        else if (kind === 'length' && bytes.length > 0)
          bytes[at] = ((bytes[at] as number) + (octet % 3) - 1) & 0xff;
        else if (kind === 'cut')
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]);
        else if (kind === 'insert')
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.alloc(size, octet),
            bytes.subarray(at),
          ]);
        else bytes = Buffer.concat([bytes.subarray(0, at + size), bytes.subarray(at)]);
      }
      return bytes;
    });

/** A parser returns a result with a known code; it never throws and never hangs. */
const answers = (result: { readonly ok: boolean; readonly error?: unknown }): void => {
  if (!result.ok) assert.ok(result.error instanceof PkiError && result.error.code !== 'INTERNAL');
};

suite('hostile input', () => {
  test('random bytes never make a parser throw', () => {
    holds(
      fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
        const bytes = Buffer.from(random);
        for (const parse of [parseCsr, parseCertificate, keyTypeOfSpki, splitDer] as const)
          answers(parse(bytes));
        answers(pemDecode(bytes.toString('latin1')));
      }),
    );
  });

  test('a mutated CSR never makes the parser throw, and what it accepts has no spare byte', () => {
    holds(
      fc.property(mutated(csrs), fc.uint8Array({ minLength: 1, maxLength: 4 }), (bytes, rest) => {
        const parsed = parseCsr(bytes);
        answers(parsed);
        if (!parsed.ok) return;
        assert.equal(parseCsr(Buffer.concat([bytes, rest])).ok, false);
        // all of it is accounted for: info, algorithm, signature and their headers
        assert.ok(
          parsed.value.proof.signedBytes.length + parsed.value.proof.signature.length <
            bytes.length,
        );
        assert.ok(keyTypeOfSpki(parsed.value.spkiDer).ok);
      }),
    );
  });

  test('a mutated OCSP request is read whole or refused, and asks for what stands in it', () => {
    const { issuer } = ocspCa.responder;
    const seeds = (['sha1', 'sha256'] as const).map((hash) =>
      ocspRequest(issuer, '4123456789ab00112233445566778877', { hash }),
    );
    fc.assert(
      fc.property(mutated(seeds), fc.uint8Array({ minLength: 1, maxLength: 4 }), (bytes, rest) => {
        const parsed = parseOcspRequest(bytes);
        answers(parsed);
        if (!parsed.ok) return;
        assert.equal(parseOcspRequest(Buffer.concat([bytes, rest])).ok, false);
        const { serialHex, issuerNameHash, issuerKeyHash } = parsed.value;
        for (const part of [Buffer.from(serialHex, 'hex'), issuerNameHash, issuerKeyHash])
          assert.ok(bytes.includes(part));
      }),
      { numRuns: 2_000 },
    );
  });

  test('a mutated OCSP response says what was signed, or its signature is wrong', () => {
    const times = { producedAt: now, thisUpdate: now - 300, nextUpdate: now + 86_400 };
    const serialHex = '4123456789ab00112233445566778877';
    const whole = ocspCa.respond({ serialHex, revoked: undefined, ...times }, 'sha1');
    const original = unwrap(parseOcspResponse(whole)).answer;
    fc.assert(
      fc.property(mutated([whole]), (bytes) => {
        const parsed = parseOcspResponse(bytes);
        answers(parsed);
        if (!parsed.ok || parsed.value.answer === undefined) return;
        const { answer, tbsDer, signature } = parsed.value;
        if (verify('sha256', tbsDer, ocspCa.signerKey.publicKey, signature))
          assert.deepEqual(answer, original);
      }),
      { numRuns: 1_000 },
    );
  });

  test('what the certificate parser accepts, OpenSSL reads in the same way', () => {
    holds(
      fc.property(mutated([leaf.parsed.raw, root.parsed.raw]), (bytes) => {
        const parsed = parseCertificate(bytes);
        answers(parsed);
        if (!parsed.ok) return;
        let judged: X509Certificate;
        try {
          judged = new X509Certificate(bytes);
        } catch {
          return; // OpenSSL is stricter on strings in names: nothing to compare
        }
        assert.equal(
          judged.serialNumber.toLowerCase().replace(/^0+(?=.)/, ''),
          parsed.value.serialHex.replace(/^0+(?=.)/, ''),
        );
        assert.equal(judged.validToDate.getTime() / 1000, parsed.value.notAfter);
        // the other way round OpenSSL also weighs extensions that we pass over
        if (judged.ca)
          assert.ok(parsed.value.isCa && parsed.value.keyUsage?.names.has('keyCertSign') !== false);
        if (
          parsed.value.uriSans.length === 1 &&
          parsed.value.dnsSans.length === 0 &&
          parsed.value.otherSanKinds.length === 0 &&
          /^[A-Za-z0-9:/._-]+$/.test(parsed.value.uriSans[0] as string)
        ) {
          // Node quotes names with other characters
          assert.equal(judged.subjectAltName, `URI:${parsed.value.uriSans[0]}`);
        }
      }),
    );
  });

  test('no mutation of a verified certificate verifies', () => {
    const verify = (chainDer: readonly Buffer[]): boolean =>
      verifyX509Svid({ chainDer, bundle: () => [root.parsed.raw], now }).ok;
    assert.ok(verify([leaf.parsed.raw]));
    holds(
      fc.property(mutated([leaf.parsed.raw]), (bytes) => {
        const parsed = parseCertificate(bytes);
        // an ECDSA signature can be written in one more way (s and n - s): only what was signed
        // counts
        const same = parsed.ok && parsed.value.tbsDer.equals(leaf.parsed.tbsDer);
        assert.ok(same || !verify([bytes]));
      }),
    );
  });

  test('lint answers on any bytes', () => {
    const context = {
      issuer: root.parsed,
      spkiDer: key.spkiDer,
      subject: spiffeSubject(SpiffeId.of('spiffe://example.org/a')),
      notBefore: now,
      notAfter: now + 60,
    };
    holds(
      fc.property(mutated([leaf.parsed.tbsDer]), (bytes) =>
        assert.equal(lint(bytes, 'short-lived', context).ok, false),
      ),
    );
  });
});
