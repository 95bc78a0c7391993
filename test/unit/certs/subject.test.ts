import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import {
  buildAuthorityTbs,
  buildLeafTbs,
  assembleSigned,
  lint,
  parseCsr,
  subjectProblem,
  type LintContext,
  type ParsedCsr,
} from '../../../src/certs/index.ts';
import { unwrap } from '../../../src/common/errors/index.ts';
import { SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  createCsr,
  ipOctets,
  ipText,
  parseCertificate,
  type KeyType,
} from '../../../src/common/x509/index.ts';
import { spiffeSubject, type NamesSubject, type Subject } from '../../../src/domain/index.ts';
import { makeKey, now, signWith } from '../../support/x509.ts';

const serial = Buffer.from('4123456789ab00112233445566778899', 'hex');
const times = { notBefore: now - 30, notAfter: now + 3600 };
const issuerKey = makeKey();
const rootTbs = buildAuthorityTbs({
  serial,
  profile: 'root',
  issuer: undefined,
  spkiDer: issuerKey.spkiDer,
  trustDomain: TrustDomain.of('example.org'),
  notBefore: now - 300,
  notAfter: now + 86_400,
});
const issuer = unwrap(
  parseCertificate(assembleSigned(rootTbs, issuerKey.keyType, signWith(issuerKey, rootTbs))),
);
const names = (over: Partial<NamesSubject> = {}): NamesSubject => ({
  kind: 'names',
  dnsNames: ['www.example.org', '*.shop.example.org'],
  ips: ['192.0.2.7', '2001:db8::7'],
  ...over,
});
const spiffe = spiffeSubject(SpiffeId.of('spiffe://example.org/web'), ['web.example.org']);

function endpoint(subject: Subject, keyType: KeyType = 'ec-p256') {
  const key = makeKey(keyType);
  const said: LintContext = { issuer, spkiDer: key.spkiDer, subject, ...times };
  const tbs = buildLeafTbs({ serial, ...said, issuer, profile: 'short' });
  return { said, tbs, key };
}
const verdict = (subject: Subject): string => {
  const { tbs, said } = endpoint(subject);
  const result = lint(tbs, 'short', said);
  return result.ok ? 'OK' : result.error.message;
};

suite('a certificate of names', () => {
  test('has DNS names, wildcards and addresses, and no URI', () => {
    const { tbs, said } = endpoint(names());
    assert.ok(lint(tbs, 'short', said).ok);
    const certificate = unwrap(
      parseCertificate(assembleSigned(tbs, issuerKey.keyType, signWith(issuerKey, tbs))),
    );
    assert.deepEqual(certificate.uriSans, []);
    assert.deepEqual(certificate.dnsSans, names().dnsNames);
    assert.deepEqual(certificate.ipSans, names().ips);
    assert.ok(certificate.sanCritical);
    assert.deepEqual(certificate.extendedKeyUsage, ['1.3.6.1.5.5.7.3.1']);
  });

  test('lets an RSA key decipher, and an EC key sign alone', () => {
    const usage = (keyType: KeyType): readonly string[] => {
      const { tbs, said } = endpoint(names(), keyType);
      assert.ok(lint(tbs, 'short', said).ok);
      const der = assembleSigned(tbs, issuerKey.keyType, signWith(issuerKey, tbs));
      return [...(unwrap(parseCertificate(der)).keyUsage?.names ?? [])];
    };
    assert.deepEqual(usage('ec-p256'), ['digitalSignature']);
    assert.deepEqual(usage('rsa-2048'), ['digitalSignature', 'keyEncipherment']);
  });

  test('names its CRL, its issuer and a responder if, and only if, its profile is classic', () => {
    const { said } = endpoint(names());
    const crlUrl = 'http://ca.example.org/1.crl';
    const issuerUrl = 'http://ca.example.org/1.cer';
    const ocspUrl = 'http://ca.example.org/ocsp/1';
    const context = { ...said, crlUrl, access: { issuerUrl, ocspUrl } };
    const tbs = buildLeafTbs({ serial, ...context, issuer, profile: 'classic' });
    assert.ok(lint(tbs, 'classic', context).ok);
    assert.ok(lint(tbs, 'short', said).ok === false);
    for (const other of [
      said,
      { ...context, access: { issuerUrl } },
      { ...context, access: { ocspUrl } },
      { ...context, access: { issuerUrl: ocspUrl, ocspUrl: issuerUrl } },
      { ...context, crlUrl: ocspUrl },
    ])
      assert.ok(!lint(tbs, 'classic', other).ok);
    assert.throws(() => buildLeafTbs({ serial, ...said, issuer, profile: 'classic' }), {
      code: 'LINT_FAILED',
    });
    const short = { ...said, access: { issuerUrl } };
    const fresh = buildLeafTbs({ serial, ...short, issuer, profile: 'hours' });
    assert.ok(lint(fresh, 'hours', short).ok);
    const contradiction = { ...said, access: { ocspUrl } };
    const tbsWithOcsp = buildLeafTbs({ serial, ...contradiction, issuer, profile: 'short' });
    assert.ok(!lint(tbsWithOcsp, 'short', contradiction).ok, 'a responder beside noRevAvail');
  });

  test('of the profile classic has the first name that fits as its common name', () => {
    const classic = (subject: NamesSubject) => {
      const { said } = endpoint(subject);
      const context = { ...said, crlUrl: 'http://ca.example.org/1.crl' };
      const tbs = buildLeafTbs({ serial, ...context, issuer, profile: 'classic' });
      const result = lint(tbs, 'classic', context);
      assert.ok(result.ok, result.ok ? '' : result.error.message);
      return unwrap(
        parseCertificate(assembleSigned(tbs, issuerKey.keyType, signWith(issuerKey, tbs))),
      );
    };
    const long = `${'a'.repeat(60)}.example.org`;
    const named = classic(names({ dnsNames: [long, 'www.example.org'] }));
    assert.match(named.subjectDer.toString('latin1'), /www\.example\.org$/);
    assert.equal(named.sanCritical, false);
    for (const subject of [names({ dnsNames: [long] }), names({ dnsNames: [] })]) {
      const unnamed = classic(subject);
      assert.deepEqual([unnamed.subjectDer.length, unnamed.sanCritical], [2, true]);
    }
  });

  test('is refused with bad, doubled or missing names', () => {
    const bad: readonly (readonly [Partial<NamesSubject>, RegExp])[] = [
      [{ dnsNames: [], ips: [] }, /no name|empty/],
      [{ dnsNames: ['a.example.org', 'a.example.org'] }, /twice/],
      [{ ips: ['192.0.2.7', '192.0.2.7'] }, /twice/],
      [{ dnsNames: ['*.org'] }, /wildcard/],
      [{ dnsNames: ['*'] }, /invalid/],
      [{ dnsNames: ['a.*.example.org'] }, /invalid/],
      [{ dnsNames: ['192.0.2.7'] }, /invalid/],
      [{ dnsNames: ['WWW.example.org'] }, /invalid/],
    ];
    for (const [over, why] of bad) assert.match(verdict(names(over)), why, JSON.stringify(over));
    for (const ip of ['192.0.2.07', '2001:db8:0::7', '::ffff:192.0.2.7', 'fe80::1%eth0', 'x'])
      assert.throws(() => endpoint(names({ ips: [ip] })), { code: 'LINT_FAILED' }, ip);
  });

  test('and one of a SPIFFE ID do not pass for each other', () => {
    const { tbs, said } = endpoint(names());
    assert.ok(!lint(tbs, 'short-lived', said).ok);
    assert.ok(!lint(tbs, 'short', { ...said, subject: spiffe }).ok);
    assert.match(verdict(spiffe), /profiles short/);
    const missing = { ...said, subject: names({ ips: ['192.0.2.7'] }) };
    assert.ok(!lint(tbs, 'short', missing).ok, 'an address that the subject lacks');
  });
});

suite('a certificate of a Linkerd proxy', () => {
  const one = 'web.shop.serviceaccount.identity.linkerd.cluster.local';
  const proxy = (over: Partial<NamesSubject> = {}, keyType: KeyType = 'ec-p256') => {
    const key = makeKey(keyType);
    const subject = names({ dnsNames: [one], ips: [], ...over });
    const said: LintContext = { issuer, spkiDer: key.spkiDer, subject, ...times };
    const tbs = buildLeafTbs({ serial, ...said, issuer, profile: 'linkerd' });
    const result = lint(tbs, 'linkerd', said);
    return { said, tbs, verdict: result.ok ? 'OK' : result.error.message };
  };

  test('has exactly one DNS name, a P-256 key, and both purposes', () => {
    const { tbs, verdict } = proxy();
    assert.equal(verdict, 'OK');
    const der = assembleSigned(tbs, issuerKey.keyType, signWith(issuerKey, tbs));
    const { uriSans, dnsSans, extendedKeyUsage, keyUsage } = unwrap(parseCertificate(der));
    assert.deepEqual([uriSans, dnsSans], [[], [one]]);
    assert.deepEqual(extendedKeyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.deepEqual([...(keyUsage?.names ?? [])], ['digitalSignature']);
  });

  test('is refused with a second name, an address, a wildcard, another key or a long life', () => {
    assert.match(proxy({ dnsNames: [one, 'b.example.org'] }).verdict, /exactly one DNS name/);
    assert.match(proxy({ ips: ['192.0.2.7'] }).verdict, /exactly one DNS name/);
    assert.match(proxy({ dnsNames: ['*.shop.example.org'] }).verdict, /wildcard/);
    assert.match(proxy({}, 'rsa-2048').verdict, /ec-p256/);
    assert.match(proxy({}, 'ec-p384').verdict, /ec-p256/);
    const { said } = proxy();
    const long = { ...said, notAfter: times.notBefore + 86_400 + 61 };
    const tbs = buildLeafTbs({ serial, ...long, issuer, profile: 'linkerd' });
    assert.ok(!lint(tbs, 'linkerd', long).ok);
  });

  test('and one of an endpoint do not pass for each other', () => {
    const { tbs, said } = proxy();
    assert.ok(!lint(tbs, 'short', said).ok);
    assert.ok(!lint(tbs, 'short-lived', said).ok);
    const { tbs: other, said: otherSaid } = endpoint(names({ dnsNames: [one], ips: [] }));
    assert.ok(!lint(other, 'linkerd', otherSaid).ok);
  });
});

suite('a CSR against the subject that its holder may have', () => {
  const csr = unwrap(parseCsr(createCsr(makeKey().privateKey)));
  const asking = (over: Partial<ParsedCsr>): ParsedCsr => ({ ...csr, ...over });
  const refused = (over: Partial<ParsedCsr>, subject: Subject): boolean =>
    subjectProblem(asking(over), subject) !== undefined;

  test('may name nothing, or what the subject has', () => {
    for (const subject of [spiffe, names()]) assert.ok(!refused({}, subject));
    assert.ok(!refused({ uriSans: ['spiffe://example.org/web'] }, spiffe));
    assert.ok(!refused({ dnsSans: ['WEB.example.org'] }, spiffe));
    assert.ok(
      !refused(
        {
          dnsSans: ['*.shop.example.org'],
          ipSans: ['192.0.2.7'],
          otherSanKinds: ['iPAddress'],
          commonNames: ['WWW.example.org'],
        },
        names(),
      ),
    );
  });

  test('may name nothing else', () => {
    assert.ok(refused({ uriSans: ['spiffe://example.org/other'] }, spiffe));
    assert.ok(refused({ dnsSans: ['www.example.org'] }, spiffe));
    assert.ok(refused({ ipSans: ['192.0.2.7'], otherSanKinds: ['iPAddress'] }, spiffe));
    const beyond: readonly Partial<ParsedCsr>[] = [
      { uriSans: ['spiffe://example.org/web'] },
      { dnsSans: ['a.shop.example.org'] },
      { ipSans: ['192.0.2.8'], otherSanKinds: ['iPAddress'] },
      { otherSanKinds: ['iPAddress'] },
      { otherSanKinds: ['rfc822Name'] },
      { commonNames: ['other.example.org'] },
      { commonNames: ['www.example.org', ''] },
    ];
    for (const over of beyond) assert.ok(refused(over, names()), JSON.stringify(over));
  });
});

test('IP addresses have one text each', () => {
  const canonical = ['0.0.0.0', '255.1.2.3', '::', '::1', '1::', '1:0:0:2::3', '2001:db8::1:0:0:1'];
  for (const text of canonical) {
    const octets = ipOctets(text);
    assert.ok(octets !== undefined, text);
    assert.equal(ipText(octets), text);
  }
  for (const text of ['1.2.3', '01.2.3.4', '::0', '1:0::2:0:0:3', '0:0:0:0:0:0:0:1', 'A::', ''])
    assert.equal(ipOctets(text), undefined, text);
  assert.equal(ipText(Buffer.alloc(5)), undefined);
});
