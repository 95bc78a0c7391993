import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  derWriter,
  parseCertificate,
  parseTbsCertificate,
  readExtensions,
  DerReader,
  serverIssuerOf,
  sha256Hex,
  type ParsedCertificate,
} from '../../../src/common/x509/index.ts';
import {
  assembleSigned,
  authorityIdentity,
  buildAuthorityCsr,
  buildAuthorityTbs,
  lint,
  readTwice,
  type AuthorityProfile,
} from '../../../src/certs/index.ts';
import { extension } from '../../../src/certs/fields.ts';
import { day, makeKey, now, signWith, type TestKey } from '../../support/x509.ts';

const trustDomain = TrustDomain.of('example.org');
const serial = Buffer.from('4123456789ab00112233445566778899', 'hex');
const year = { notBefore: now - 300, notAfter: now + 365 * day };
const oid = '1.2.840.113556.1.8000.2554.14914.56170.64652.20426.42641.10257499.7236474';

interface Authority {
  readonly key: TestKey;
  readonly certificate: ParsedCertificate;
}

function tbsOf(profile: AuthorityProfile, key: TestKey, issuer?: Authority, subject?: Authority) {
  const input = {
    issuer: issuer?.certificate,
    spkiDer: key.spkiDer,
    ...year,
    ...(subject === undefined
      ? {}
      : {
          subjectDer: subject.certificate.subjectDer,
          subjectMarked: subject.certificate.serverAuthority,
        }),
  };
  const tbs = buildAuthorityTbs({ ...input, serial, profile, trustDomain });
  return { tbs, context: { ...input, subject: authorityIdentity(trustDomain) } };
}

const signed = (tbs: Buffer, signer: TestKey): ParsedCertificate =>
  unwrap(parseCertificate(assembleSigned(tbs, signer.keyType, signWith(signer, tbs))));

function make(
  profile: AuthorityProfile,
  issuer?: Authority,
  { key = makeKey(), subject }: { readonly key?: TestKey; readonly subject?: Authority } = {},
): Authority {
  const { tbs, context } = tbsOf(profile, key, issuer, subject);
  unwrap(lint(tbs, profile, context));
  return { key, certificate: signed(tbs, issuer?.key ?? key) };
}

/** A root that another program made: ours without the mark. */
function foreignRoot(): Authority {
  const { key, certificate } = make('root');
  const mark = extension('serverAuthority', false, derWriter.derNull());
  const at = certificate.tbsDer.indexOf(mark);
  assert.ok(at > 0);
  const tbs = new DerReader(certificate.tbsDer).sequence('tbs');
  const fields: Buffer[] = [];
  while (tbs.more) {
    const start = tbs.offset;
    tbs.any('field');
    fields.push(tbs.since(start));
  }
  const extensions = fields.pop() as Buffer;
  const list = new DerReader(extensions).enter(0xa3, 'extensions').sequence('extensions');
  const kept: Buffer[] = [];
  while (list.more) {
    const start = list.offset;
    list.any('extension');
    kept.push(list.since(start));
  }
  const rest = kept.filter((each) => !each.equals(mark));
  const bare = derWriter.sequence(...fields, derWriter.context(3, derWriter.sequence(...rest)));
  return { key, certificate: signed(bare, key) };
}

const root = make('root');
const issuing = make('intermediate', root);
const downstream = make('downstream', root);
const leaf = issuing.certificate;
const verdict = (chain: readonly Authority[], anchor: Authority) =>
  serverIssuerOf(
    { chain: [leaf, ...chain.map(({ certificate }) => certificate)], root: anchor.certificate },
    { kind: 'mark' },
  );

suite('the mark of the authorities of a server', () => {
  test('stands in roots and issuing authorities, and in no CA downstream', async () => {
    assert.equal(root.certificate.serverAuthority, true);
    assert.equal(issuing.certificate.serverAuthority, true);
    assert.equal(downstream.certificate.serverAuthority, false);
    assert.ok(!issuing.certificate.criticalExtensionOids.includes(oid));
    for (const { certificate } of [root, issuing, downstream])
      unwrap(await readTwice(certificate.tbsDer));
  });

  test('lint refuses it downstream, and refuses an issuing authority without it', () => {
    for (const [built, linted] of [
      ['intermediate', 'downstream'],
      ['downstream', 'intermediate'],
    ] as const) {
      const { tbs, context } = tbsOf(built, makeKey(), root);
      const result = lint(tbs, linted, context);
      assert.equal(result.ok ? 'OK' : result.error.code, 'LINT_FAILED', `${built} as ${linted}`);
    }
  });

  test('goes into a cross-certificate if, and only if, the certified root has it', () => {
    const next = make('root');
    const of = (subject: Authority) => make('cross', root, { key: subject.key, subject });
    assert.equal(of(next).certificate.serverAuthority, true);
    assert.equal(of(foreignRoot()).certificate.serverAuthority, false);
    const { tbs, context } = tbsOf('cross', next.key, root, next);
    assert.equal(lint(tbs, 'cross', { ...context, subjectMarked: false }).ok, false);
  });

  test('is asked for in the CSR of an issuing authority', () => {
    const { spkiDer } = makeKey();
    const info = buildAuthorityCsr({ trustDomain, spkiDer });
    assert.ok(info.includes(extension('serverAuthority', false, derWriter.derNull())));
  });

  test('is refused when critical, with another value, and on a leaf', () => {
    const list = (...parts: Buffer[]) => new DerReader(Buffer.concat(parts));
    const ca = derWriter.sequence(
      derWriter.oid('2.5.29.19'),
      derWriter.derTrue(),
      derWriter.octetString(derWriter.sequence(derWriter.derTrue())),
    );
    const mark = extension('serverAuthority', false, derWriter.derNull());
    assert.equal(readExtensions(list(ca, mark)).serverAuthority, true);
    for (const wrong of [
      [ca, extension('serverAuthority', true, derWriter.derNull())],
      [ca, extension('serverAuthority', false, derWriter.derTrue())],
      [mark],
    ])
      assert.throws(() => readExtensions(list(...wrong)));
    assert.ok(unwrap(parseTbsCertificate(issuing.certificate.tbsDer)).serverAuthority);
  });
});

suite('who stands above an ID below /meshca/', () => {
  test('by known keys: these alone, whatever has a mark', () => {
    const key = sha256Hex(downstream.certificate.spkiDer);
    const by = (authority: Authority, keys: readonly string[]) =>
      serverIssuerOf(
        { chain: [leaf, authority.certificate], root: root.certificate },
        { kind: 'keys', sha256Hex: new Set(keys) },
      );
    assert.deepEqual(unwrap(by(downstream, [key])), { sha256Hex: key, proof: 'key' });
    for (const refused of [by(issuing, [key]), by(issuing, [])])
      assert.equal(refused.ok ? 'OK' : refused.error.code, 'RESERVED_ID_UNTRUSTED');
  });

  test('at first contact below a root that marks: its marked issuing authorities alone', () => {
    assert.equal(unwrap(verdict([issuing], root)).proof, 'mark');
    for (const refused of [verdict([downstream], root), verdict([], root)])
      assert.equal(refused.ok ? 'OK' : refused.error.code, 'RESERVED_ID_UNTRUSTED');
  });

  test('through a cross-certificate: only while each CA on the way has the mark', () => {
    const next = make('root');
    const foreign = foreignRoot();
    const under = (subject: Authority) => make('cross', root, { key: subject.key, subject });
    assert.equal(unwrap(verdict([make('intermediate', next), under(next)], root)).proof, 'mark');
    const refused = verdict([make('intermediate', foreign), under(foreign)], root);
    assert.equal(refused.ok ? 'OK' : refused.error.code, 'RESERVED_ID_UNTRUSTED');
  });

  test('below a root without the mark nothing is proven, and the key is named', () => {
    const foreign = foreignRoot();
    const below = make('intermediate', foreign);
    assert.deepEqual(unwrap(verdict([below], foreign)), {
      sha256Hex: sha256Hex(below.certificate.spkiDer),
      proof: 'none',
    });
  });
});
