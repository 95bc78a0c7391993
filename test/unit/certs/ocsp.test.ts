import assert from 'node:assert/strict';
import { verify } from 'node:crypto';
import { suite, test } from 'node:test';
import { unwrap, type Result } from '../../../src/common/errors/index.ts';
import { derWriter, parseCertificate, sha256Hex } from '../../../src/common/x509/index.ts';
import {
  assembleSigned,
  authorityIdentity,
  buildOcspSignerTbs,
  buildOcspTbs,
  lint,
  lintOcsp,
  ocspErrorResponse,
  ocspForm,
  ocspHashes,
  ocspIssuerHashes,
  ocspSignerProblem,
  ocspSignerSubject,
  parseOcspRequest,
  parseOcspResponse,
  type OcspAnswer,
} from '../../../src/certs/index.ts';

import { makeOcspCa, ocspRequest } from '../../support/ocsp.ts';
import { day, extension, extensions, makeKey, now, signWith } from '../../support/x509.ts';

const ca = makeOcspCa({ notBefore: now - day, notAfter: now + 30 * day });
const { issuer, signer } = ca.responder;
const serialHex = '4123456789ab00112233445566778877';
const answer: OcspAnswer = {
  serialHex,
  revoked: undefined,
  producedAt: now,
  thisUpdate: now - 300,
  nextUpdate: now + 4 * day,
};
const revoked: OcspAnswer = { ...answer, revoked: { at: now - 60, reason: 'keyCompromise' } };
const messageOf = (result: Result<unknown>): string => (result.ok ? '' : result.error.message);

suite('a request', () => {
  const { sequence, oid, octetString, derTrue } = derWriter;
  const nonce = (critical: boolean): Buffer =>
    sequence(
      oid('1.3.6.1.5.5.7.48.1.2'),
      ...(critical ? [derTrue()] : []),
      octetString(octetString(Buffer.alloc(16, 7))),
    );

  test('names its certificate by SHA-1 or SHA-256', () => {
    for (const hash of ocspHashes) {
      const read = unwrap(parseOcspRequest(ocspRequest(issuer, serialHex, { hash })));
      assert.equal(read.hash, hash);
      assert.equal(read.serialHex, serialHex);
      const { name, key } = ocspIssuerHashes(issuer, hash);
      assert.ok(read.issuerNameHash.equals(name) && read.issuerKeyHash.equals(key));
    }
  });

  test('of another hash is read, and its hash is unknown', () => {
    const der = ocspRequest(issuer, serialHex, { hashOid: '2.16.840.1.101.3.4.2.3' });
    assert.equal(unwrap(parseOcspRequest(der)).hash, undefined);
  });

  test('may have a nonce, extensions and a signature, which are ignored', () => {
    const der = ocspRequest(issuer, serialHex, {
      extensions: nonce(false),
      singleExtensions: nonce(false),
      signature: Buffer.from('0500', 'hex'),
    });
    assert.equal(unwrap(parseOcspRequest(der)).serialHex, serialHex);
  });

  test('is refused for what is not understood, and for anything that is not DER', () => {
    const whole = ocspRequest(issuer, serialHex);
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [ocspRequest(issuer, serialHex, { times: 2 }), /more than one certificate/],
      [ocspRequest(issuer, serialHex, { times: 0 }), /missing or cut off/],
      [ocspRequest(issuer, serialHex, { version: 0 }), /not of version 1/],
      [ocspRequest(issuer, serialHex, { extensions: nonce(true) }), /critical/],
      [ocspRequest(issuer, serialHex, { singleExtensions: nonce(true) }), /critical/],
      [Buffer.concat([whole, Buffer.of(0)]), /bytes follow/],
      [whole.subarray(0, -1), /cut off/],
      [Buffer.alloc(0), /missing/],
      [Buffer.alloc(8_193, 0x30), /more than 8192 bytes/],
      [ocspRequest(issuer, `7f${'00'.repeat(21)}`), /out of range/],
    ];
    for (const [der, message] of cases) {
      const read = parseOcspRequest(der);
      assert.equal(read.ok ? 'read' : read.error.code, 'INVALID_REQUEST');
      assert.match(messageOf(read), message);
    }
  });
});

suite('an answer', () => {
  test('says by key, status and times what it was made of', () => {
    for (const hash of ocspHashes)
      for (const meant of [answer, revoked]) {
        const read = unwrap(parseOcspResponse(ca.respond(meant, hash)));
        assert.ok(read.answer !== undefined);
        assert.equal(read.answer.status, meant.revoked === undefined ? 'good' : 'revoked');
        assert.equal(read.answer.serialHex, serialHex);
        assert.equal(read.answer.revokedAt, meant.revoked?.at);
        assert.equal(read.answer.reasonCode, meant.revoked === undefined ? undefined : 1);
        assert.equal(read.answer.nextUpdate, meant.nextUpdate);
        assert.ok(read.certificatesDer[0]?.equals(signer.raw));
        assert.ok(verify('sha256', read.tbsDer, ca.signerKey.publicKey, read.signature));
        const tbs = buildOcspTbs(ca.responder, meant, hash);
        assert.ok(tbs.equals(read.tbsDer), 'the same input gives the same bytes');
        unwrap(lintOcsp(tbs, ca.responder, meant, hash));
      }
  });

  test('has bytes that kept signatures rely on: who changes them raises the form', () => {
    const fixed = { subjectDer: issuer.subjectDer.subarray(0, 0), spkiDer: fixedSpki };
    const responder = {
      issuer: { ...issuer, ...fixed, subjectDer: Buffer.from('3000', 'hex') },
      signer: { ...signer, ...fixed },
    };
    const digests = [answer, revoked].flatMap((meant) =>
      ocspHashes.map((hash) => sha256Hex(buildOcspTbs(responder, meant, hash)).slice(0, 16)),
    );
    assert.deepEqual(
      [ocspForm, ...digests],
      [1, '938586f7a50c65de', '431a21c1f7b4a059', '5a428a8222824c0f', 'e94cfa399a5b51a3'],
    );
  });

  test('that differs from what was meant is not signed', () => {
    const tbs = buildOcspTbs(ca.responder, revoked, 'sha1');
    const other = makeOcspCa({ notBefore: now - day, notAfter: now + 30 * day });
    const meant: readonly (readonly [Partial<OcspAnswer>, RegExp])[] = [
      [{ revoked: undefined }, /status/],
      [{ revoked: { at: now - 61, reason: 'keyCompromise' } }, /revocation/],
      [{ revoked: { at: now - 60, reason: undefined } }, /revocation/],
      [{ serialHex: '01' }, /serial/],
      [{ nextUpdate: now + day }, /times/],
      [{ thisUpdate: now - 301 }, /times/],
      [{ producedAt: now + 1 }, /times/],
    ];
    for (const [change, message] of meant)
      assert.match(
        messageOf(lintOcsp(tbs, ca.responder, { ...revoked, ...change }, 'sha1')),
        message,
      );
    assert.match(messageOf(lintOcsp(tbs, ca.responder, revoked, 'sha256')), /hash/);
    assert.match(messageOf(lintOcsp(tbs, other.responder, revoked, 'sha1')), /signer|issuer/);
    assert.match(messageOf(lintOcsp(tbs, { issuer, signer: issuer }, revoked, 'sha1')), /signer/);
    assert.match(messageOf(lintOcsp(tbs.subarray(1), ca.responder, revoked, 'sha1')), /tag/);
  });

  test('reaches not beyond the lives of issuer and signer, and not before them', () => {
    const problem = (change: Partial<OcspAnswer>): string => {
      const meant = { ...answer, ...change };
      return messageOf(
        lintOcsp(buildOcspTbs(ca.responder, meant, 'sha1'), ca.responder, meant, 'sha1'),
      );
    };
    assert.match(problem({ nextUpdate: now + 31 * day }), /beyond the life/);
    assert.match(problem({ nextUpdate: now + 11 * day }), /too long/);
    assert.match(problem({ thisUpdate: now - 2 * day }), /begins before/);
    assert.match(problem({ producedAt: now + 5 * day }), /order/);
    assert.match(problem({ revoked: { at: now + 9, reason: undefined } }), /later than the answer/);
    assert.throws(() => buildOcspTbs(ca.responder, { ...answer, nextUpdate: now - 400 }, 'sha1'), {
      code: 'LINT_FAILED',
    });
    assert.throws(() => buildOcspTbs(ca.responder, { ...answer, serialHex: 'x' }, 'sha1'), {
      code: 'LINT_FAILED',
    });
  });

  test('without a signature has a status alone', () => {
    assert.equal(ocspErrorResponse('unauthorized').toString('hex'), '30030a0106');
    assert.equal(ocspErrorResponse('tryLater').toString('hex'), '30030a0103');
    assert.equal(unwrap(parseOcspResponse(ocspErrorResponse('malformedRequest'))).status, 1);
  });
});

suite('the certificate of the signer', () => {
  const key = makeKey();
  const input = {
    serial: Buffer.from('4123456789ab00112233445566778855', 'hex'),
    issuer,
    spkiDer: key.spkiDer,
    trustDomain: ca.trustDomain,
    notBefore: now,
    notAfter: now + 20 * day,
  };
  const context = {
    ...input,
    subject: authorityIdentity(ca.trustDomain),
    subjectDer: ocspSignerSubject(ca.trustDomain, key.spkiDer),
  };

  test('passes the lint, and nobody can take it for an identity or a CA', () => {
    const tbs = buildOcspSignerTbs(input);
    unwrap(lint(tbs, 'ocsp-signer', context));
    const der = assembleSigned(tbs, ca.caKey.keyType, signWith(ca.caKey, tbs));
    const parsed = unwrap(parseCertificate(der));
    assert.deepEqual(
      [parsed.isCa, parsed.uriSans, parsed.dnsSans, parsed.extendedKeyUsage],
      [false, [], [], ['1.3.6.1.5.5.7.3.9']],
    );
    assert.equal(ocspSignerProblem(parsed, issuer), undefined);
    assert.match(ocspSignerProblem(parsed, signer) ?? '', /not certified by the issuer/);
  });

  test('that lives long, has another name or the key of its issuer fails the lint', () => {
    const cases: readonly (readonly [Partial<typeof input>, RegExp])[] = [
      [{ notAfter: now + 92 * day }, /longer than/],
      [{ spkiDer: ca.caKey.spkiDer }, /that of the issuer/],
      [{ notBefore: now - 9 * day }, /begins before its issuer/],
    ];
    for (const [change, message] of cases) {
      const changed = { ...context, ...change };
      assert.match(
        messageOf(lint(buildOcspSignerTbs({ ...input, ...change }), 'ocsp-signer', changed)),
        message,
      );
    }
    const { subjectDer: _, ...unnamed } = context;
    assert.match(
      messageOf(lint(buildOcspSignerTbs(input), 'ocsp-signer', unnamed)),
      /name of the signer is not given/,
    );
    for (const profile of ['short-lived', 'server', 'intermediate'] as const)
      assert.equal(lint(buildOcspSignerTbs(input), profile, context).ok, false);
  });

  test('without nocheck, or with a SAN, is not signed', () => {
    const tbs = buildOcspSignerTbs(input);
    const noCheck = extension('1.3.6.1.5.5.7.48.1.5', false, Buffer.from('0500', 'hex'));
    const san = extensions.san(['spiffe://example.org/x'], [], false);
    assert.ok(tbs.includes(noCheck));
    const swapped = rewritten(tbs, noCheck, san);
    assert.match(messageOf(lint(swapped, 'ocsp-signer', context)), /no SAN/);
  });
});

/** Replaces an extension in a TBS; lengths are written anew. */
function rewritten(tbs: Buffer, from: Buffer, to: Buffer): Buffer {
  const at = tbs.indexOf(from);
  assert.ok(at > 0);
  const { sequence, context } = derWriter;
  const marker = tbs.indexOf(Buffer.from('0603551d0f', 'hex')) - 2;
  const list = Buffer.concat([tbs.subarray(marker, at), to, tbs.subarray(at + from.length)]);
  const head = tbs.subarray(tbs[1] === 0x82 ? 4 : 3, tbs.lastIndexOf(0xa3, marker));
  return sequence(head, context(3, sequence(list)));
}

const fixedSpki = Buffer.from(
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004' +
    '6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296' +
    '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
  'hex',
);
