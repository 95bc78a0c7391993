import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { serverId, SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  derWriter,
  encodeTime,
  keyIdentifierOf,
  parseCertificate,
  parseTbsCertificate,
  signatureAlgorithmFor,
  type ParsedCertificate,
} from '../../../src/common/x509/index.ts';
import {
  assembleSigned,
  buildAuthorityTbs,
  buildCrlTbs,
  buildLeafTbs,
  lint,
  type LeafInput,
  type LintContext,
  type Profile,
} from '../../../src/certs/index.ts';
import { spiffeSubject } from '../../../src/domain/index.ts';
import {
  clientAuth,
  commonName,
  day,
  extension,
  extensions,
  makeKey,
  now,
  serverAuth,
  signWith,
  type TestKey,
} from '../../support/x509.ts';

const { context, der, integer, sequence } = derWriter;
const trustDomain = TrustDomain.of('example.org');
const serial = Buffer.from('4123456789ab00112233445566778899', 'hex');
const year = { notBefore: now - 300, notAfter: now + 365 * day };
const hour = { notBefore: now - 30, notAfter: now + 3600 };
const [rootKey, issuingKey, leafKey] = [makeKey(), makeKey(), makeKey()];
const sealed = (tbs: Buffer, signer: TestKey): ParsedCertificate =>
  unwrap(parseCertificate(assembleSigned(tbs, signer.keyType, signWith(signer, tbs))));
const rootTbs = buildAuthorityTbs({
  serial,
  profile: 'root',
  issuer: undefined,
  spkiDer: rootKey.spkiDer,
  trustDomain,
  ...year,
});
const root = sealed(rootTbs, rootKey);
const issuingTbs = buildAuthorityTbs({
  serial,
  profile: 'intermediate',
  issuer: root,
  spkiDer: issuingKey.spkiDer,
  trustDomain,
  ...year,
});
const issuing = sealed(issuingTbs, rootKey);
const spiffeId = SpiffeId.of('spiffe://example.org/ns/shop/sa/cart');
/** What a certificate says, with the names of its subject spread out. */
type Said = Omit<LintContext, 'subject'> & Names;
type Input = Omit<LeafInput, 'subject'> & Names;
interface Names {
  readonly spiffeId: SpiffeId;
  readonly dnsNames?: readonly string[];
}
const gathered = <T extends Names>({ spiffeId: id, dnsNames = [], ...rest }: T) => ({
  ...rest,
  subject: spiffeSubject(id, dnsNames),
});
const leafTbs = (names: Input): Buffer => buildLeafTbs(gathered(names));
const said: Said = {
  issuer: issuing,
  spkiDer: leafKey.spkiDer,
  spiffeId,
  dnsNames: ['cart.example.org'],
  ...hour,
};
const input: Input = {
  serial,
  issuer: issuing,
  spkiDer: leafKey.spkiDer,
  spiffeId,
  dnsNames: ['cart.example.org'],
  profile: 'short-lived',
  ...hour,
};
const crlUrl = 'http://ca.example.org/1.crl';
const passes = (tbs: Buffer, profile: Profile, about: Said): boolean =>
  lint(tbs, profile, gathered(about)).ok;
const refused = (tbs: Buffer, profile: Profile, about: Said, why: string): void => {
  const result = lint(tbs, profile, gathered(about));
  assert.equal(result.ok ? 'OK' : result.error.code, 'LINT_FAILED', why);
};

suite('what the builders make', () => {
  test('an RSA leaf has keyEncipherment, which NSS asks of servers, and an EC leaf has not', () => {
    const rsa = makeKey('rsa-2048');
    for (const { spkiDer } of [rsa, leafKey]) {
      const tbs = leafTbs({ ...input, spkiDer });
      assert.ok(passes(tbs, 'short-lived', { ...said, spkiDer }));
      const { keyUsage } = unwrap(parseTbsCertificate(tbs));
      assert.equal(keyUsage?.names.has('keyEncipherment'), spkiDer === rsa.spkiDer);
    }
  });

  test('passes lint in every profile', () => {
    const authority = { spiffeId: SpiffeId.of(trustDomain.id), ...year };
    assert.ok(
      passes(rootTbs, 'root', { issuer: undefined, spkiDer: rootKey.spkiDer, ...authority }),
    );
    assert.ok(
      passes(issuingTbs, 'intermediate', {
        issuer: root,
        spkiDer: issuingKey.spkiDer,
        ...authority,
      }),
    );
    assert.ok(passes(leafTbs(input), 'short-lived', said));
    assert.ok(
      passes(leafTbs({ ...input, profile: 'revocable', crlUrl }), 'revocable', {
        ...said,
        crlUrl,
      }),
    );
    const id = serverId(trustDomain);
    assert.ok(
      passes(leafTbs({ ...input, profile: 'server', spiffeId: id }), 'server', {
        ...said,
        spiffeId: id,
      }),
    );
    const withCrl = buildAuthorityTbs({
      serial,
      profile: 'intermediate',
      issuer: root,
      spkiDer: issuingKey.spkiDer,
      trustDomain,
      ...year,
      crlUrl,
    });
    assert.ok(
      passes(withCrl, 'intermediate', {
        issuer: root,
        spkiDer: issuingKey.spkiDer,
        ...authority,
        crlUrl,
      }),
    );
  });

  test('says nothing about revocation on a short-lived leaf, and no noRevAvail on a revocable one', () => {
    const short = sealed(leafTbs(input), issuingKey);
    assert.deepEqual([short.noRevAvail, short.crlDistributionPoints], [true, []]);
    const revocable = sealed(leafTbs({ ...input, profile: 'revocable', crlUrl }), issuingKey);
    assert.deepEqual([revocable.noRevAvail, revocable.crlDistributionPoints], [false, [crlUrl]]);
    assert.throws(() => leafTbs({ ...input, crlUrl }), { code: 'LINT_FAILED' });
    assert.throws(() => leafTbs({ ...input, profile: 'revocable' }), { code: 'LINT_FAILED' });
  });

  test('gives a root no pathLen, an issuing intermediate pathLen 0, and both the ID of the trust domain', () => {
    assert.deepEqual(
      [root.isCa, root.pathLength, root.uriSans],
      [true, undefined, ['spiffe://example.org']],
    );
    assert.deepEqual(
      [issuing.isCa, issuing.pathLength, issuing.uriSans],
      [true, 0, ['spiffe://example.org']],
    );
    assert.ok(issuing.issuerDer.equals(root.subjectDer));
    assert.equal(issuing.authorityKeyId, root.subjectKeyId);
  });

  test('gives two authorities of a trust domain different names, and cuts long ones to a legal common name', () => {
    const long = TrustDomain.of(`${'a'.repeat(200)}.org`);
    const make = (key: TestKey): ParsedCertificate =>
      sealed(
        buildAuthorityTbs({
          serial,
          profile: 'root',
          issuer: undefined,
          spkiDer: key.spkiDer,
          trustDomain: long,
          ...year,
        }),
        key,
      );
    const [first, second] = [make(rootKey), make(issuingKey)];
    assert.ok(!first.subjectDer.equals(second.subjectDer));
    assert.deepEqual(first.uriSans, [long.id]);
    assert.ok(first.subjectDer.length < 130);
  });

  test('refuses serials that are not positive or too long, and a signature of another key type', () => {
    for (const bad of [
      Buffer.alloc(0),
      Buffer.alloc(16),
      Buffer.alloc(16, 0xff),
      Buffer.alloc(21, 1),
    ])
      assert.throws(() => leafTbs({ ...input, serial: bad }), { code: 'LINT_FAILED' });
    assert.throws(() => assembleSigned(leafTbs(input), 'ec-p384', Buffer.alloc(70)), {
      code: 'LINT_FAILED',
    });
    assert.throws(() => assembleSigned(Buffer.alloc(5), 'ec-p256', Buffer.alloc(70)), {
      code: 'LINT_FAILED',
    });
  });

  test('refuses a CRL that lists a serial twice or ends before it begins', () => {
    const crl = {
      issuer: issuing,
      number: 1n,
      thisUpdate: now,
      nextUpdate: now + day,
      revoked: [],
    };
    assert.ok(buildCrlTbs(crl).length > 0);
    assert.throws(() => buildCrlTbs({ ...crl, nextUpdate: now }), { code: 'LINT_FAILED' });
    const twice = [
      { serialHex: '41', revokedAt: now },
      { serialHex: '41', revokedAt: now },
    ];
    assert.throws(() => buildCrlTbs({ ...crl, revoked: twice }), { code: 'LINT_FAILED' });
    assert.throws(() => buildCrlTbs({ ...crl, revoked: [{ serialHex: 'xyz', revokedAt: now }] }), {
      code: 'LINT_FAILED',
    });
  });
});

suite('lint', () => {
  test('refuses a certificate that says something else than was meant', () => {
    const tbs = leafTbs(input);
    const other: readonly (readonly [string, Partial<Said>])[] = [
      ['key', { spkiDer: makeKey().spkiDer }],
      ['ID', { spiffeId: SpiffeId.of('spiffe://example.org/ns/shop/sa/admin') }],
      ['DNS names', { dnsNames: [] }],
      ['more DNS names', { dnsNames: ['cart.example.org', 'b.example.org'] }],
      ['notBefore', { notBefore: hour.notBefore + 1 }],
      ['notAfter', { notAfter: hour.notAfter + 1 }],
      ['issuer', { issuer: root }],
      ['self-signed', { issuer: undefined }],
      ['CRL', { crlUrl }],
    ];
    for (const [why, change] of other)
      refused(tbs, 'short-lived', { ...said, ...change } as Said, why);
    for (const profile of ['revocable', 'server', 'root', 'intermediate'] as const)
      refused(tbs, profile, said, profile);
  });

  test('refuses input that breaks the rules, however well it is built', () => {
    const cases: readonly (readonly [string, Partial<Input>])[] = [
      ['longer than a short life', { notAfter: hour.notBefore + day + 61 }],
      ['beyond the issuer', { profile: 'revocable', crlUrl, notAfter: year.notAfter + 1 }],
      ['before the issuer', { notBefore: year.notBefore - 1 }],
      ['ends before it begins', { notAfter: hour.notBefore - 1 }],
      ['no life at all', { notAfter: hour.notBefore }],
      ['the key of the issuer', { spkiDer: issuingKey.spkiDer }],
      ['the ID of the server', { spiffeId: serverId(trustDomain) }],
      ['an ID without a path', { spiffeId: SpiffeId.of('spiffe://example.org') }],
      ['a wildcard', { dnsNames: ['*.example.org'] }],
      ['a DNS name twice', { dnsNames: ['a.example.org', 'a.example.org'] }],
      ['an IP address as DNS name', { dnsNames: ['10.0.0.1'] }],
      ['a short serial', { serial: Buffer.from('41', 'hex') }],
      [
        'a serial without randomness',
        { serial: Buffer.concat([Buffer.from('4123456789ab', 'hex'), Buffer.alloc(10)]) },
      ],
    ];
    for (const [why, change] of cases) {
      const changed = { ...input, ...change };
      const { issuer, spkiDer, spiffeId: id, dnsNames = [], notBefore, notAfter } = changed;
      refused(
        leafTbs(changed),
        changed.profile,
        {
          issuer,
          spkiDer,
          spiffeId: id,
          dnsNames,
          notBefore,
          notAfter,
          ...(changed.crlUrl === undefined ? {} : { crlUrl }),
        },
        why,
      );
    }
    const longest = { ...hour, notAfter: hour.notBefore + day + 60 };
    assert.ok(passes(leafTbs({ ...input, ...longest }), 'short-lived', { ...said, ...longest }));
  });

  test('finds every defect of a builder', () => {
    const good = {
      version: context(0, integer(2)),
      serial: der(2, serial),
      algorithm: signatureAlgorithmFor('ec-p256').algorithmIdentifierDer,
      issuer: issuing.subjectDer,
      validity: sequence(encodeTime(hour.notBefore), encodeTime(hour.notAfter)),
      subject: sequence(),
      spki: leafKey.spkiDer,
    };
    const parts = {
      usage: extensions.keyUsage([0]),
      eku: extensions.extendedKeyUsage(serverAuth, clientAuth),
      basic: extensions.basicConstraints(false),
      aki: extensions.authorityKeyId(Buffer.from(issuing.subjectKeyId!, 'hex')),
      noRev: extension('2.5.29.56', false, Buffer.from('0500', 'hex')),
      ski: extensions.subjectKeyId(keyIdentifierOf(leafKey.spkiDer)),
      san: extensions.san([spiffeId.toString()], ['cart.example.org']),
    };
    const make = (
      head: Partial<Record<keyof typeof good, Buffer>>,
      change: Readonly<Record<string, Buffer | null>>,
    ): Buffer =>
      sequence(
        ...Object.values({ ...good, ...head }),
        context(
          3,
          sequence(
            ...Object.values<Buffer | null>({ ...parts, ...change }).filter(
              (part) => part !== null,
            ),
          ),
        ),
      );
    assert.ok(passes(make({}, {}), 'short-lived', said));
    const generalized = (seconds: number): Buffer =>
      der(
        0x18,
        Buffer.from(
          `${new Date(seconds * 1000).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`,
        ),
      );
    const defects: readonly (readonly [string, Buffer])[] = [
      ['version 1', make({ version: context(0, integer(0)) }, {})],
      ['negative serial', make({ serial: der(2, Buffer.alloc(16, 0xff)) }, {})],
      [
        'algorithm with NULL',
        make(
          { algorithm: sequence(derWriter.oid('1.2.840.10045.4.3.2'), derWriter.derNull()) },
          {},
        ),
      ],
      [
        'algorithm of another key type',
        make({ algorithm: signatureAlgorithmFor('rsa-2048').algorithmIdentifierDer }, {}),
      ],
      ['issuer rewritten', make({ issuer: commonName('issuing') }, {})],
      [
        'GeneralizedTime before 2050',
        make({ validity: sequence(generalized(hour.notBefore), encodeTime(hour.notAfter)) }, {}),
      ],
      ['a subject', make({ subject: commonName('cart') }, {})],
      [
        'SAN not critical',
        make({}, { san: extensions.san([spiffeId.toString()], ['cart.example.org'], false) }),
      ],
      [
        'a second URI',
        make(
          {},
          {
            san: extensions.san(
              [spiffeId.toString(), 'spiffe://example.org/x'],
              ['cart.example.org'],
            ),
          },
        ),
      ],
      [
        'an IP SAN',
        make(
          {},
          {
            san: extension(
              '2.5.29.17',
              true,
              sequence(
                derWriter.contextPrimitive(6, Buffer.from(spiffeId.toString())),
                derWriter.contextPrimitive(2, Buffer.from('cart.example.org')),
                derWriter.contextPrimitive(7, Buffer.from([10, 0, 0, 1])),
              ),
            ),
          },
        ),
      ],
      ['key usage not critical', make({}, { usage: extensions.keyUsage([0], false) })],
      ['keyEncipherment', make({}, { usage: extensions.keyUsage([0, 2]) })],
      ['a CA', make({}, { basic: extensions.basicConstraints(true) })],
      [
        'cA FALSE stated',
        make({}, { basic: extension('2.5.29.19', true, Buffer.from('3003010100', 'hex')) }),
      ],
      ['clientAuth only', make({}, { eku: extensions.extendedKeyUsage(clientAuth) })],
      [
        'one usage more',
        make({}, { eku: extensions.extendedKeyUsage(serverAuth, clientAuth, '1.3.6.1.5.5.7.3.3') }),
      ],
      ['no SKI', make({}, { ski: null })],
      ['a wrong SKI', make({}, { ski: extensions.subjectKeyId(Buffer.alloc(20, 1)) })],
      ['no AKI', make({}, { aki: null })],
      ['a wrong AKI', make({}, { aki: extensions.authorityKeyId(Buffer.alloc(20, 1)) })],
      ['no noRevAvail', make({}, { noRev: null })],
      [
        'critical noRevAvail',
        make({}, { noRev: extension('2.5.29.56', true, Buffer.from('0500', 'hex')) }),
      ],
      [
        'an OCSP address',
        make({}, { aia: extension('1.3.6.1.5.5.7.1.1', false, Buffer.from('3000', 'hex')) }),
      ],
      ['an extension twice', make({}, { again: parts.noRev })],
      [
        'a CRL distribution point',
        make(
          {},
          { crl: extension('2.5.29.31', false, Buffer.from('30093007a005a00386016e', 'hex')) },
        ),
      ],
      [
        'critical FALSE stated',
        make(
          {},
          {
            ski: sequence(
              derWriter.oid('2.5.29.14'),
              Buffer.from('010100', 'hex'),
              derWriter.octetString(derWriter.octetString(keyIdentifierOf(leafKey.spkiDer))),
            ),
          },
        ),
      ],
      ['another key under the right identifier', make({ spki: makeKey().spkiDer }, {})],
      ['bytes behind', Buffer.concat([make({}, {}), Buffer.alloc(1)])],
    ];
    for (const [why, tbs] of defects) refused(tbs, 'short-lived', said, why);
  });

  test('refuses another CRL address than was meant, and none where one is needed', () => {
    const tbs = leafTbs({ ...input, profile: 'revocable', crlUrl });
    refused(
      tbs,
      'revocable',
      { ...said, crlUrl: 'http://ca.example.org/2.crl' },
      'another address',
    );
    refused(tbs, 'revocable', said, 'no address meant');
    refused(leafTbs(input), 'revocable', said, 'no address at all');
  });

  test('refuses a root that is linted as if it had an issuer, and an intermediate as if it had none', () => {
    const authority = { spiffeId: SpiffeId.of(trustDomain.id), ...year };
    refused(
      rootTbs,
      'root',
      { issuer: root, spkiDer: rootKey.spkiDer, ...authority },
      'root with issuer',
    );
    refused(
      issuingTbs,
      'intermediate',
      { issuer: undefined, spkiDer: issuingKey.spkiDer, ...authority },
      'intermediate without issuer',
    );
    refused(
      issuingTbs,
      'intermediate',
      { issuer: root, spkiDer: issuingKey.spkiDer, ...authority, dnsNames: ['a.example.org'] },
      'authority with DNS name',
    );
  });

  test('refuses more than 32 KiB', () => {
    const dnsNames = Array.from(
      { length: 200 },
      (_, index) => `${String(index).padStart(3, '0')}.${`${'a'.repeat(60)}.`.repeat(3)}org`,
    );
    refused(leafTbs({ ...input, dnsNames }), 'short-lived', { ...said, dnsNames }, 'too long');
    assert.ok(
      passes(leafTbs({ ...input, dnsNames: dnsNames.slice(0, 100) }), 'short-lived', {
        ...said,
        dnsNames: dnsNames.slice(0, 100),
      }),
    );
  });

  test('refuses an authority below an intermediate, and a leaf of an issuer that may not sign', () => {
    const key = makeKey();
    const below = {
      serial,
      profile: 'intermediate',
      issuer: issuing,
      spkiDer: key.spkiDer,
      trustDomain,
      ...year,
    } as const;
    refused(
      buildAuthorityTbs(below),
      'intermediate',
      { issuer: issuing, spkiDer: key.spkiDer, spiffeId: SpiffeId.of(trustDomain.id), ...year },
      'pathLen 0',
    );
    const workload = sealed(leafTbs(input), issuingKey);
    const fake = { ...workload, subjectDer: commonName('x') };
    refused(
      leafTbs({ ...input, issuer: fake, spkiDer: key.spkiDer }),
      'short-lived',
      { ...said, issuer: fake, spkiDer: key.spkiDer },
      'issuer is a leaf',
    );
  });
});
