import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { suite, test } from 'node:test';
import {
  derWriter,
  keyIdentifierOf,
  signatureAlgorithmFor,
  spkiOf,
  verifyChain,
  verifyX509Svid,
  type VerifySvidInput,
} from '../../../../src/common/x509/index.ts';
import {
  bits,
  clientAuth,
  commonName,
  day,
  extension,
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  makeKey,
  now,
  serverAuth,
  type CertificateShape,
  type TestCertificate,
} from '../../../support/x509.ts';
import { cpuMs } from '../../../support/cpu.ts';

const root = makeAuthority('root');
const issuing = makeAuthority('issuing', { issuer: root, pathLength: 0 });
const leafKey = makeKey();
const leafOf = (
  change: Readonly<Record<string, Buffer | null>> = {},
  shape: Partial<CertificateShape> = {},
): TestCertificate => {
  const issuer = shape.issuer ?? issuing;
  return makeCertificate({
    key: leafKey,
    issuer,
    extensions: leafExtensions(issuer, change),
    ...shape,
  });
};
const good = leafOf();
const verify = (chain: readonly TestCertificate[], options: Partial<VerifySvidInput> = {}) =>
  verifyX509Svid({
    chainDer: chain.map((each) => each.parsed.raw),
    bundle: (name) => (name === 'example.org' ? [root.parsed.raw] : undefined),
    now,
    ...options,
  });
const codeOf = (result: ReturnType<typeof verifyX509Svid>): string =>
  result.ok ? 'OK' : result.error.code;

suite('verifyX509Svid', () => {
  test('accepts a leaf with its intermediate and names the root it ends in', () => {
    const verified = verify([good, issuing]);
    assert.ok(verified.ok);
    assert.equal(verified.value.id.toString(), 'spiffe://example.org/ns/shop/sa/cart');
    assert.deepEqual(
      verified.value.chain.map((each) => each.serialHex),
      [good.parsed.serialHex, issuing.parsed.serialHex],
    );
    assert.ok(verified.value.root.raw.equals(root.parsed.raw));
  });

  test('accepts a leaf without extended key usage, without key identifiers, signed by the root itself', () => {
    assert.equal(
      codeOf(verify([leafOf({ extendedKeyUsage: null, authorityKeyId: null }, { issuer: root })])),
      'OK',
    );
  });

  test('accepts intermediates in any order, with foreign certificates among them, behind the leaf', () => {
    const outer = makeAuthority('outer', { issuer: root });
    const inner = makeAuthority('inner', { issuer: outer });
    const foreign = makeAuthority('foreign');
    const leaf = leafOf({}, { issuer: inner });
    assert.equal(codeOf(verify([leaf, foreign, outer, root, inner])), 'OK');
    assert.equal(codeOf(verify([inner, leaf, outer])), 'SVID_INVALID');
  });

  test('accepts a trust anchor that is not self-signed', () => {
    assert.equal(codeOf(verify([good], { bundle: () => [issuing.parsed.raw] })), 'OK');
  });

  test('finds the right one of two roots with the same name, in either order', () => {
    const twin = makeAuthority('root');
    for (const bundle of [
      [root, twin],
      [twin, root],
    ])
      assert.equal(
        codeOf(verify([good, issuing], { bundle: () => bundle.map((each) => each.parsed.raw) })),
        'OK',
      );
    const unnamed = leafOf({ authorityKeyId: null }, { issuer: root });
    assert.equal(
      codeOf(verify([unnamed], { bundle: () => [twin.parsed.raw, root.parsed.raw] })),
      'OK',
    );
  });

  test('is not spoiled by a root in the bundle that can not be parsed', () => {
    assert.equal(
      codeOf(
        verify([good, issuing], { bundle: () => [Buffer.from('3000', 'hex'), root.parsed.raw] }),
      ),
      'OK',
    );
  });

  test('treats both ends of the validity as inclusive', () => {
    assert.equal(codeOf(verify([good, issuing], { now: good.parsed.notBefore })), 'OK');
    assert.equal(codeOf(verify([good, issuing], { now: good.parsed.notAfter })), 'OK');
    assert.equal(
      codeOf(verify([good, issuing], { now: good.parsed.notBefore - 1 })),
      'CERTIFICATE_NOT_YET_VALID',
    );
    assert.equal(
      codeOf(verify([good, issuing], { now: good.parsed.notAfter + 1 })),
      'CERTIFICATE_EXPIRED',
    );
  });

  const usage = (...names: readonly number[]) => ({ keyUsage: extensions.keyUsage(names) });
  const san = (...uris: readonly string[]) => ({ san: extensions.san(uris) });
  const refusedLeaves: readonly (readonly [
    string,
    Readonly<Record<string, Buffer | null>>,
    string,
  ])[] = [
    [
      'a leaf that is a CA',
      { basicConstraints: extensions.basicConstraints(true) },
      'SVID_INVALID',
    ],
    ['keyCertSign on a leaf', usage(bits.digitalSignature, bits.keyCertSign), 'SVID_INVALID'],
    ['cRLSign on a leaf', usage(bits.digitalSignature, bits.cRLSign), 'SVID_INVALID'],
    ['a leaf without digitalSignature', usage(4), 'SVID_INVALID'],
    ['a leaf without key usage', { keyUsage: null }, 'SVID_INVALID'],
    [
      'a key usage that is not critical',
      { keyUsage: extensions.keyUsage([bits.digitalSignature], false) },
      'SVID_INVALID',
    ],
    ['no SAN', { san: null }, 'SVID_INVALID'],
    ['a DNS SAN only', { san: extensions.san([], ['a.example.org']) }, 'SVID_INVALID'],
    ['two URI SANs', san('spiffe://example.org/a', 'spiffe://example.org/b'), 'SVID_INVALID'],
    ['two equal URI SANs', san('spiffe://example.org/a', 'spiffe://example.org/a'), 'SVID_INVALID'],
    ['a URI SAN that is no SPIFFE ID', san('https://example.org/a'), 'SVID_INVALID'],
    ['an ID without a path', san('spiffe://example.org'), 'SVID_INVALID'],
    ['an ID with a trailing slash', san('spiffe://example.org/a/'), 'SVID_INVALID'],
    ['an ID with a dot segment', san('spiffe://example.org/a/../b'), 'SVID_INVALID'],
    ['an ID with an upper-case trust domain', san('spiffe://Example.org/a'), 'SVID_INVALID'],
    ['an ID with a port', san('spiffe://example.org:8443/a'), 'SVID_INVALID'],
    ['an ID with a NUL in it', san('spiffe://example.org/a\u0000b'), 'CERTIFICATE_MALFORMED'],
    [
      'serverAuth without clientAuth',
      { extendedKeyUsage: extensions.extendedKeyUsage(serverAuth) },
      'SVID_INVALID',
    ],
    [
      'clientAuth without serverAuth',
      { extendedKeyUsage: extensions.extendedKeyUsage(clientAuth) },
      'SVID_INVALID',
    ],
    [
      'an unknown critical extension',
      { odd: extension('1.2.3.4', true, Buffer.from('0500', 'hex')) },
      'CHAIN_UNTRUSTED',
    ],
    ['an ID of another trust domain', san('spiffe://other.org/a'), 'CHAIN_UNTRUSTED'],
    [
      'an authority key identifier of another key',
      { authorityKeyId: extensions.authorityKeyId(Buffer.alloc(20, 7)) },
      'CHAIN_UNTRUSTED',
    ],
  ];
  for (const [name, change, code] of refusedLeaves) {
    test(`refuses ${name}`, () => {
      let der: Buffer;
      try {
        der = leafOf(change).parsed.raw;
      } catch (error) {
        assert.equal((error as { code?: string }).code, code);
        return;
      }
      assert.equal(
        codeOf(
          verifyX509Svid({
            chainDer: [der, issuing.parsed.raw],
            bundle: (trustDomain) =>
              trustDomain === 'example.org' ? [root.parsed.raw] : undefined,
            now,
          }),
        ),
        code,
      );
    });
  }

  const intermediateWith = (...parts: readonly Buffer[]): TestCertificate =>
    makeAuthority('bad issuing', { issuer: root, extensions: parts });
  const chainsRefused: readonly (readonly [string, () => readonly TestCertificate[], string])[] = [
    [
      'an intermediate that is not a CA',
      () => {
        const fake = intermediateWith(
          extensions.keyUsage([bits.digitalSignature, bits.keyCertSign]),
        );
        return [leafOf({ authorityKeyId: null }, { issuer: fake }), fake];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'a workload that signs as if it were a CA',
      () => {
        const workload = leafOf({}, { subject: commonName('workload') });
        return [
          leafOf({ authorityKeyId: null }, { issuer: workload, key: makeKey() }),
          workload,
          issuing,
        ];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an intermediate without keyCertSign',
      () => {
        const fake = intermediateWith(
          extensions.basicConstraints(true),
          extensions.keyUsage([bits.cRLSign]),
        );
        return [leafOf({ authorityKeyId: null }, { issuer: fake }), fake];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an intermediate without key usage',
      () => {
        const fake = intermediateWith(extensions.basicConstraints(true));
        return [leafOf({ authorityKeyId: null }, { issuer: fake }), fake];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an intermediate with an unknown critical extension',
      () => {
        const odd = intermediateWith(
          extensions.basicConstraints(true),
          extensions.keyUsage([bits.keyCertSign]),
          extension('2.5.29.36', true, Buffer.from('3000', 'hex')),
        );
        return [leafOf({ authorityKeyId: null }, { issuer: odd }), odd];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an intermediate with name constraints, even if they are not critical',
      () => {
        const odd = intermediateWith(
          extensions.basicConstraints(true),
          extensions.keyUsage([bits.keyCertSign]),
          extension('2.5.29.30', false, Buffer.from('3000', 'hex')),
        );
        return [leafOf({ authorityKeyId: null }, { issuer: odd }), odd];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an intermediate for other purposes',
      () => {
        const odd = intermediateWith(
          extensions.basicConstraints(true),
          extensions.keyUsage([bits.keyCertSign]),
          extensions.extendedKeyUsage(serverAuth),
        );
        return [leafOf({ authorityKeyId: null }, { issuer: odd }), odd];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an intermediate below one with pathLen 0',
      () => {
        const below = makeAuthority('below', { issuer: issuing });
        return [leafOf({}, { issuer: below }), below, issuing];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an expired intermediate',
      () => {
        const old = makeAuthority('old', { issuer: root, notAfter: now - 1 });
        return [leafOf({}, { issuer: old }), old];
      },
      'CERTIFICATE_EXPIRED',
    ],
    [
      'an intermediate of tomorrow',
      () => {
        const early = makeAuthority('early', { issuer: root, notBefore: now + 1 });
        return [leafOf({}, { issuer: early }), early];
      },
      'CERTIFICATE_NOT_YET_VALID',
    ],
    [
      'a wrong signature on the leaf',
      () => [leafOf({}, { corruptSignature: true }), issuing],
      'CHAIN_UNTRUSTED',
    ],
    [
      'a wrong signature on the intermediate',
      () => {
        const forged = makeAuthority('issuing', {
          issuer: root,
          key: issuing.key,
          corruptSignature: true,
        });
        return [good, forged];
      },
      'CHAIN_UNTRUSTED',
    ],
    [
      'an issuer name that is not the subject of the issuer',
      () => [leafOf({}, { issuerName: commonName('someone') }), issuing],
      'CHAIN_UNTRUSTED',
    ],
    ['a missing intermediate', () => [good], 'CHAIN_UNTRUSTED'],
    [
      'a root that only the peer knows',
      () => {
        const foreignRoot = makeAuthority('root');
        const foreign = makeAuthority('issuing', { issuer: foreignRoot });
        return [leafOf({}, { issuer: foreign }), foreign, foreignRoot];
      },
      'CHAIN_UNTRUSTED',
    ],
    ['an empty chain', () => [], 'CERTIFICATE_MALFORMED'],
    [
      'more than ten certificates',
      () => [good, ...Array.from({ length: 10 }, () => issuing)],
      'CHAIN_UNTRUSTED',
    ],
  ];
  for (const [name, chain, code] of chainsRefused)
    test(`refuses ${name}`, () => assert.equal(codeOf(verify(chain())), code));

  test('refuses a chain whose root is expired, not a CA, or limits the path', () => {
    for (const shape of [
      { notAfter: now - 1 },
      { extensions: [extensions.keyUsage([bits.keyCertSign])] },
      { pathLength: 0 },
    ]) {
      const anchor = makeAuthority('root', { key: root.key, ...shape });
      assert.equal(
        codeOf(verify([good, issuing], { bundle: () => [anchor.parsed.raw] })),
        'CHAIN_UNTRUSTED',
        JSON.stringify(shape),
      );
    }
  });

  test('refuses an unknown trust domain and an empty bundle', () => {
    assert.equal(codeOf(verify([good, issuing], { bundle: () => undefined })), 'CHAIN_UNTRUSTED');
    assert.equal(codeOf(verify([good, issuing], { bundle: () => [] })), 'CHAIN_UNTRUSTED');
  });

  test('refuses a leaf that stands itself in the bundle', () => {
    assert.equal(codeOf(verify([good], { bundle: () => [good.parsed.raw] })), 'CHAIN_UNTRUSTED');
  });

  test('asks only for the bundle of the trust domain that the leaf names', () => {
    const asked: string[] = [];
    verify([leafOf(san('spiffe://other.org/a')), issuing], {
      bundle: (name) => (asked.push(name), undefined),
    });
    assert.deepEqual(asked, ['other.org']);
  });

  test('refuses a leaf or an intermediate that can not be parsed', () => {
    const broken = Buffer.concat([issuing.parsed.raw, Buffer.alloc(1)]);
    for (const chainDer of [
      [broken],
      [good.parsed.raw, broken],
      [Buffer.alloc(0), issuing.parsed.raw],
    ]) {
      assert.equal(
        codeOf(verifyX509Svid({ chainDer, bundle: () => [root.parsed.raw], now })),
        'CERTIFICATE_MALFORMED',
      );
    }
  });

  test('refuses signatures of keys that are too weak or of another kind, also when the bundle holds them', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 1024, publicExponent: 65537 });
    const koblitz = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    for (const [pair, keyType] of [
      [rsa, 'rsa-2048'],
      [koblitz, 'ec-p256'],
    ] as const) {
      const key = { ...pair, keyType, spkiDer: spkiOf(pair.publicKey) };
      const algorithm = signatureAlgorithmFor(keyType).algorithmIdentifierDer;
      const weak = makeAuthority('weak', { key, algorithm });
      assert.equal(
        codeOf(
          verify([leafOf({}, { issuer: weak, algorithm })], { bundle: () => [weak.parsed.raw] }),
        ),
        'CHAIN_UNTRUSTED',
      );
    }
  });

  test('forgets a verified chain as soon as its root leaves the bundle', () => {
    assert.equal(codeOf(verify([good, issuing])), 'OK');
    assert.equal(
      codeOf(verify([good, issuing], { bundle: () => [makeAuthority('root').parsed.raw] })),
      'CHAIN_UNTRUSTED',
    );
  });

  test('gives up quickly on a pile of certificates that could all have issued each other', () => {
    const name = commonName('loop');
    const pile = Array.from({ length: 9 }, () =>
      makeCertificate({
        subject: name,
        extensions: [extensions.basicConstraints(true), extensions.keyUsage([bits.keyCertSign])],
      }),
    );
    const leaf = leafOf({ authorityKeyId: null }, { issuer: pile[0]! });
    const decoy = makeAuthority('loop', {
      extensions: [extensions.basicConstraints(true), extensions.keyUsage([bits.keyCertSign])],
    });
    for (const bundle of [[root.parsed.raw], [decoy.parsed.raw]]) {
      const start = cpuMs();
      assert.equal(codeOf(verify([leaf, ...pile], { bundle: () => bundle })), 'CHAIN_UNTRUSTED');
      // nine to the power of nine checks would take hours
      assert.ok(cpuMs() - start < 2_000);
    }
  });

  test('does not take an ECDSA signature for an RSA key, nor a hash that is too weak', () => {
    const rsaRoot = makeAuthority('rsa root', { key: makeKey('rsa-2048') });
    const sha1 = derWriter.sequence(derWriter.oid('1.2.840.113549.1.1.5'), derWriter.derNull());
    const ecdsa = derWriter.sequence(derWriter.oid('1.2.840.10045.4.3.2'));
    for (const algorithm of [sha1, ecdsa]) {
      const leaf = leafOf({}, { issuer: rsaRoot, algorithm });
      assert.equal(
        codeOf(verify([leaf], { bundle: () => [rsaRoot.parsed.raw] })),
        'CHAIN_UNTRUSTED',
      );
    }
  });
});

suite('verifyChain', () => {
  test('checks the purpose of a certificate that is no SVID', () => {
    const plain = makeCertificate({
      key: leafKey,
      issuer: issuing,
      subject: commonName('node-1'),
      extensions: [
        extensions.keyUsage([bits.digitalSignature]),
        extensions.extendedKeyUsage(clientAuth),
        extensions.authorityKeyId(keyIdentifierOf(issuing.key.spkiDer)),
      ],
    });
    const input = {
      chainDer: [plain.parsed.raw, issuing.parsed.raw],
      roots: [root.parsed.raw],
      now: now + day / 2,
    };
    assert.ok(verifyChain({ ...input, purpose: 'client' }).ok);
    assert.equal(verifyChain({ ...input, purpose: 'server' }).ok, false);
  });
});
