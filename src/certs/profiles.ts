import { keyTypeOfSpki, type KeyType, type KeyUsageName } from '../common/x509/index.ts';
import { namesLives, type Subject } from '../domain/index.ts';
import type { LeafProfile, Profile } from './types.ts';

/** RFC 9608: above this life in seconds, a leaf must be revocable. */
const shortLivedLimitSeconds = 86_400;
/** How far before its issuance a leaf may begin, in seconds, in addition to the requested life. */
export const maximumLeafBackdateSeconds = 60;

/** The family of a key decides what it can be used for. */
export type KeyFamily = 'ec' | 'rsa';

/**
 * A certificate profile as data. All have SKI and a critical KeyUsage. All except `root` have an
 * AKI equal to the issuer's SKI.
 */
export interface ProfileRules {
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  /**
   * By the family of the certified key. Outside of this mesh, where TLS 1.2 is used, an RSA key may
   * have to decipher.
   */
  readonly keyUsage: Readonly<Record<KeyFamily, readonly KeyUsageName[]>>;
  /** Dotted OIDs. Authorities have none. */
  readonly extendedKeyUsage: readonly string[];
  readonly noRevAvail: boolean;
  /**
   * The mark of the authorities of a server. IDs below `/meshca/` are valid only below a marked
   * authority. `of-subject`: if the certified root has it.
   */
  readonly serverAuthority: boolean | 'of-subject';
  readonly crlDistributionPoint: 'required' | 'allowed' | 'forbidden';
  /** What AuthorityInfoAccess may contain. Absent: the extension is forbidden. */
  readonly access?: { readonly issuer: boolean; readonly ocsp: boolean };
  /** The first DNS name that fits is also the common name. */
  readonly commonName?: boolean;
  /** Maximum of notAfter - notBefore in seconds, with the backdating. */
  readonly maximumLifeSeconds: number | undefined;
  /** The only type of key that is certified; absent: any. */
  readonly keyType?: KeyType;
}

const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';
const ocspSigning = '1.3.6.1.5.5.7.3.9';

const sameForAll = (...names: readonly KeyUsageName[]): ProfileRules['keyUsage'] => ({
  ec: names,
  rsa: names,
});

/**
 * A leaf with an RSA key may encipher keys as well: otherwise NSS refuses it as a server, even with
 * TLS 1.3, which never uses that.
 */
const leaf = {
  isCa: false,
  pathLength: undefined,
  keyUsage: { ec: ['digitalSignature'], rsa: ['digitalSignature', 'keyEncipherment'] },
  extendedKeyUsage: [serverAuth, clientAuth],
  serverAuthority: false,
} as const;
const shortLived: ProfileRules = {
  ...leaf,
  noRevAvail: true,
  crlDistributionPoint: 'forbidden',
  maximumLifeSeconds: shortLivedLimitSeconds + maximumLeafBackdateSeconds,
};
/** Whoever trusts the root for names knows these rules. RFC 9608 sets no limit of life itself. */
const shortNames = (profile: 'short' | 'hours'): ProfileRules => ({
  ...leaf,
  extendedKeyUsage: [serverAuth],
  noRevAvail: true,
  crlDistributionPoint: 'forbidden',
  access: { issuer: true, ocsp: false },
  maximumLifeSeconds: namesLives[profile].maximum + maximumLeafBackdateSeconds,
});
const authority = {
  isCa: true,
  keyUsage: sameForAll('keyCertSign', 'cRLSign'),
  extendedKeyUsage: [],
  noRevAvail: false,
  serverAuthority: true,
  maximumLifeSeconds: undefined,
} as const;

export const profiles: Readonly<Record<Profile, ProfileRules>> = {
  'short-lived': shortLived,
  server: shortLived,
  revocable: {
    ...leaf,
    noRevAvail: false,
    crlDistributionPoint: 'required',
    maximumLifeSeconds: undefined,
  },
  short: shortNames('short'),
  hours: shortNames('hours'),
  classic: {
    ...leaf,
    extendedKeyUsage: [serverAuth],
    noRevAvail: false,
    crlDistributionPoint: 'required',
    access: { issuer: true, ocsp: true },
    commonName: true,
    maximumLifeSeconds: namesLives.classic.maximum + maximumLeafBackdateSeconds,
  },
  // a proxy of Linkerd is client and server, and its TLS library accepts P-256 leaves only
  linkerd: { ...shortLived, keyUsage: sameForAll('digitalSignature'), keyType: 'ec-p256' },
  'ocsp-signer': {
    ...leaf,
    keyUsage: sameForAll('digitalSignature'),
    extendedKeyUsage: [ocspSigning],
    noRevAvail: false,
    crlDistributionPoint: 'forbidden',
    // nobody can ask whether it is revoked
    maximumLifeSeconds: 91 * 86_400,
  },
  intermediate: { ...authority, pathLength: 0, crlDistributionPoint: 'allowed' },
  downstream: {
    ...authority,
    pathLength: 0,
    serverAuthority: false,
    crlDistributionPoint: 'allowed',
  },
  cross: {
    ...authority,
    pathLength: 1,
    serverAuthority: 'of-subject',
    crlDistributionPoint: 'allowed',
  },
  root: { ...authority, pathLength: undefined, crlDistributionPoint: 'forbidden' },
};

/**
 * The rules of a profile. `names`: those of an authority of names, which is never above IDs. An
 * intermediate of names is limited to servers.
 */
export function rulesOf(profile: Profile, names = false): ProfileRules {
  const rules = profiles[profile];
  return names && rules.isCa
    ? {
        ...rules,
        serverAuthority: false,
        extendedKeyUsage: profile === 'intermediate' ? [serverAuth] : [],
      }
    : rules;
}

/**
 * Whether a certificate has the mark. `ofSubject`: whether the root that `cross` certifies has it.
 */
export function hasMark(
  profile: Profile,
  { ofSubject, names }: { readonly ofSubject?: boolean | undefined; readonly names?: boolean },
): boolean {
  const { serverAuthority } = rulesOf(profile, names);
  return serverAuthority === 'of-subject' ? ofSubject === true : serverAuthority;
}

/** ub-common-name of RFC 5280. */
const maximumCommonName = 64;

/** The common name of a leaf. Undefined: its subject is empty, and its SAN critical. */
export function commonNameFor(profile: Profile, subject: Subject): string | undefined {
  if (profiles[profile].commonName !== true) return undefined;
  return subject.dnsNames.find(({ length }) => length <= maximumCommonName);
}

export const isLeafProfile = (profile: Profile): profile is LeafProfile =>
  !profiles[profile].isCa && profile !== 'ocsp-signer';

/**
 * The family of a key, if the profile distinguishes families (only then the key is parsed);
 * otherwise the first family. Undefined: keys of this type are not certified.
 */
export function familyFor(profile: Profile, spkiDer: Buffer): KeyFamily | undefined {
  const { ec, rsa } = profiles[profile].keyUsage;
  if (ec === rsa) return 'ec';
  const keyType = keyTypeOfSpki(spkiDer);
  if (!keyType.ok) return undefined;
  return keyType.value.startsWith('rsa') ? 'rsa' : 'ec';
}

/** The key usage of a certificate for this key. */
export function keyUsageFor(profile: Profile, spkiDer: Buffer): readonly KeyUsageName[] {
  const family = familyFor(profile, spkiDer);
  return family === undefined ? [] : profiles[profile].keyUsage[family];
}
