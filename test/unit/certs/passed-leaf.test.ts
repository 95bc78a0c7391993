import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  derWriter,
  parseCertificate,
  type ParsedCertificate,
} from '../../../src/common/x509/index.ts';
import {
  assembleSigned,
  buildAuthorityTbs,
  buildLeafTbs,
  lint,
  type LeafInput,
  type LintContext,
} from '../../../src/certs/index.ts';
import { cutLeaf, hasPassed } from '../../../src/certs/passed-leaf.ts';
import { spiffeSubject } from '../../../src/domain/index.ts';
import { day, makeKey, now, signWith } from '../../support/x509.ts';

const trustDomain = TrustDomain.of('example.org');
const serial = Buffer.from('4123456789ab00112233445566778899', 'hex');
const rootKey = makeKey();
const rootTbs = buildAuthorityTbs({
  serial,
  profile: 'root',
  issuer: undefined,
  spkiDer: rootKey.spkiDer,
  trustDomain,
  notBefore: now - 300,
  notAfter: now + 365 * day,
});
const rootDer = assembleSigned(rootTbs, rootKey.keyType, signWith(rootKey, rootTbs));
/** An issuer that has passed nothing: what is remembered is remembered of this object. */
const newIssuer = (): ParsedCertificate => unwrap(parseCertificate(rootDer));

type Profile = LeafInput['profile'];
const inputOf = (profile: Profile, issuer: ParsedCertificate): LeafInput => ({
  serial,
  issuer,
  spkiDer: makeKey().spkiDer,
  subject: spiffeSubject(SpiffeId.of('spiffe://example.org/cart'), ['cart.example.org']),
  notBefore: now - 30,
  notAfter: now + 3600,
  profile,
  ...(profile === 'revocable' ? { crlUrl: 'http://ca.example.org/1.crl' } : {}),
});
const other = (input: LeafInput): LeafInput => ({
  ...input,
  serial: Buffer.from('4fedcba98765ffeeddccbbaa99887766', 'hex'),
  spkiDer: makeKey().spkiDer,
  subject: spiffeSubject(SpiffeId.of('spiffe://example.org/a/longer/name')),
  notBefore: now,
  notAfter: now + 7200,
});
const contextOf = ({ profile: _profile, ...context }: LeafInput): Omit<LeafInput, 'profile'> =>
  context;
const answerOf = (tbsDer: Buffer, profile: Profile, context: LintContext): string => {
  const result = lint(tbsDer, profile, context);
  return result.ok ? 'passed' : `${result.error.code}: ${result.error.message}`;
};

for (const profile of ['short-lived', 'revocable'] as const)
  suite(`a leaf of the profile ${profile} whose issuer has passed one before`, () => {
    const issuer = newIssuer();
    const first = inputOf(profile, issuer);
    const next = other(first);
    const tbsDer = buildLeafTbs(next);

    test('is like it, whatever its serial, times, key and names are', () => {
      const cut = cutLeaf(tbsDer);
      assert.ok(cut);
      assert.ok(!hasPassed(cut, profile, contextOf(next)));
      assert.equal(answerOf(buildLeafTbs(first), profile, contextOf(first)), 'passed');
      assert.ok(hasPassed(cut, profile, contextOf(next)));
      assert.equal(answerOf(tbsDer, profile, contextOf(next)), 'passed');
    });

    test('is judged by each of its octets as by an issuer that has passed nothing', () => {
      for (let at = 0; at < tbsDer.length; at += 1)
        for (const change of [0x01, 0x20, 0x80, 0xff]) {
          const changed = Buffer.from(tbsDer);
          changed[at] = (tbsDer[at] as number) ^ change;
          const answer = answerOf(changed, profile, contextOf(next));
          assert.notEqual(answer, 'passed', `octet ${at}`);
          const fresh = { ...contextOf(next), issuer: newIssuer() };
          assert.equal(answer, answerOf(changed, profile, fresh), `octet ${at}`);
        }
    });

    test('is refused where anything is not the intended, with the same words', () => {
      const intentions: readonly Partial<LintContext>[] = [
        { serial: first.serial },
        { notBefore: next.notBefore + 1 },
        { notAfter: next.notAfter + 1 },
        { spkiDer: first.spkiDer },
        { spkiDer: Buffer.alloc(91) },
        { subject: first.subject },
        { subject: spiffeSubject(SpiffeId.of('spiffe://example.org/meshca/server')) },
        { crlUrl: 'http://ca.example.org/2.crl' },
        { access: { issuerUrl: 'http://ca.example.org/1.cer' } },
        { issuer: unwrap(parseCertificate(rootDer)), notAfter: now + 366 * day },
      ];
      for (const intention of intentions) {
        const context = { ...contextOf(next), ...intention };
        const answer = answerOf(tbsDer, profile, context);
        assert.match(answer, /^LINT_FAILED/);
        assert.equal(answer, answerOf(tbsDer, profile, { ...context, issuer: newIssuer() }));
      }
    });

    test('is refused under every other profile', () => {
      for (const wrong of [
        'short-lived',
        'revocable',
        'server',
        'short',
        'hours',
        'linkerd',
      ] as const)
        if (wrong !== profile)
          assert.match(answerOf(tbsDer, wrong, contextOf(next)), /^LINT_FAILED/);
    });

    test('is refused with the key of the issuer, a bad serial, or a life past that of the issuer', () => {
      const bad: readonly Partial<LeafInput>[] = [
        { spkiDer: rootKey.spkiDer },
        { serial: Buffer.alloc(16, 0x41) },
        { serial: Buffer.from('01', 'hex') },
        { notAfter: issuer.notAfter + 1 },
        { notBefore: issuer.notBefore - 1 },
        { notAfter: next.notBefore },
      ];
      for (const part of bad) {
        const input = { ...next, ...part };
        assert.match(answerOf(buildLeafTbs(input), profile, contextOf(input)), /^LINT_FAILED/);
      }
    });
  });

test('a time that is no UTCTime before 2050 is refused, also after a leaf that passed', () => {
  const input = inputOf('short-lived', newIssuer());
  const tbsDer = buildLeafTbs(input);
  assert.equal(answerOf(tbsDer, 'short-lived', contextOf(input)), 'passed');
  const outer = tbsDer.subarray(4);
  const at = outer.indexOf(Buffer.from([0x17, 13]));
  const long = (from: number): Buffer =>
    derWriter.der(0x18, Buffer.from('20'), outer.subarray(from + 2, from + 15));
  const validity = derWriter.sequence(long(at), long(at + 15));
  const changed = derWriter.sequence(outer.subarray(0, at - 2), validity, outer.subarray(at + 30));
  assert.match(answerOf(changed, 'short-lived', contextOf(input)), /encoded as RFC 5280 requires/);
});
