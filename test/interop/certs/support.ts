import { unwrap } from '../../../src/common/errors/index.ts';
import { systemRandom } from '../../../src/common/runtime/index.ts';
import { serverId, SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  parseCertificate,
  type KeyType,
  type ParsedCertificate,
} from '../../../src/common/x509/index.ts';
import {
  assembleSigned,
  buildAuthorityTbs,
  buildLeafTbs,
  lint,
  newSerial,
  type AuthorityProfile,
  type LeafProfile,
} from '../../../src/certs/index.ts';
import { isNamesProfile, spiffeSubject, type NamesSubject } from '../../../src/domain/index.ts';
import { makeKey, signWith, type TestKey } from '../../support/x509.ts';

export const trustDomain = TrustDomain.of('example.org');

export interface Issued {
  readonly key: TestKey;
  readonly parsed: ParsedCertificate;
}

export interface Times {
  readonly notBefore: number;
  readonly notAfter: number;
}

const keys = new Map<string, TestKey>();
/** One key per role and type: RSA keys are slow to make. */
export function keyFor(role: string, keyType: KeyType): TestKey {
  const name = `${role}/${keyType}`;
  const key = keys.get(name) ?? makeKey(keyType);
  keys.set(name, key);
  return key;
}

/** Builds, lints and signs an authority with a software key, as a token would. */
export function authority(
  profile: AuthorityProfile,
  keyType: KeyType,
  issuer: Issued | undefined,
  { names = false, ...times }: Times & { readonly names?: boolean },
): Issued {
  const key = keyFor(names ? `names ${profile}` : profile, keyType);
  const tbs = buildAuthorityTbs({
    serial: newSerial(Date.now(), systemRandom),
    profile,
    issuer: issuer?.parsed,
    spkiDer: key.spkiDer,
    trustDomain,
    names,
    ...times,
  });
  unwrap(
    lint(tbs, profile, {
      issuer: issuer?.parsed,
      spkiDer: key.spkiDer,
      subject: names ? namesSubject : spiffeSubject(SpiffeId.of(trustDomain.id)),
      names,
      ...times,
    }),
  );
  const signer = issuer?.key ?? key;
  return {
    key,
    parsed: unwrap(parseCertificate(assembleSigned(tbs, signer.keyType, signWith(signer, tbs)))),
  };
}

/** What a certificate of names certifies. */
export const namesSubject: NamesSubject = {
  kind: 'names',
  dnsNames: ['www.shop.example.org', '*.shop.example.org'],
  ips: ['192.0.2.7', '2001:db8::7'],
};
export const ocspUrl = 'http://ca.example.org/ocsp/1';
const issuerUrl = 'http://ca.example.org/crl/1.cer';

export const leafId = (profile: LeafProfile): SpiffeId =>
  profile === 'server' ? serverId(trustDomain) : SpiffeId.in(trustDomain, '/ns/shop/sa/cart');
export const crlUrl = 'http://ca.example.org/crl/1.crl';

export function leaf(
  profile: LeafProfile,
  keyType: KeyType,
  issuer: Issued,
  { url = crlUrl, ...times }: Times & { readonly url?: string },
): Issued {
  const key = keyFor('leaf', keyType);
  const said = {
    spkiDer: key.spkiDer,
    subject: isNamesProfile(profile)
      ? namesSubject
      : spiffeSubject(leafId(profile), ['cart.shop.example.org']),
    ...times,
    ...(profile === 'revocable' || profile === 'classic' ? { crlUrl: url } : {}),
    ...(isNamesProfile(profile)
      ? { access: { issuerUrl, ...(profile === 'classic' ? { ocspUrl } : {}) } }
      : {}),
  };
  const tbs = buildLeafTbs({
    ...said,
    serial: newSerial(Date.now(), systemRandom),
    issuer: issuer.parsed,
    profile,
  });
  unwrap(lint(tbs, profile, { ...said, issuer: issuer.parsed }));
  return {
    key,
    parsed: unwrap(
      parseCertificate(assembleSigned(tbs, issuer.key.keyType, signWith(issuer.key, tbs))),
    ),
  };
}
