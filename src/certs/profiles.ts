import type { KeyUsageName } from '../common/x509/index.ts';
import type { LeafProfile, Profile } from './types.ts';

/** RFC 9608 and the issue of short-lived leaves: longer than this, a leaf must be revocable. */
export const shortLivedLimitSeconds = 86_400;
/** How far before its issuance a leaf may begin, on top of the life that was asked for. */
export const maximumLeafBackdateSeconds = 60;

/**
 * A certificate profile as data. All have SKI and critical KeyUsage; all but `root` have an AKI
 * equal to the issuer's SKI.
 */
export interface ProfileRules {
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  /**
   * The same for every key type: with TLS 1.3 only, an RSA leaf needs no keyEncipherment either.
   */
  readonly keyUsage: readonly KeyUsageName[];
  /** Dotted OIDs; serverAuth and clientAuth on every leaf, none on authorities. */
  readonly extendedKeyUsage: readonly string[];
  readonly noRevAvail: boolean;
  readonly crlDistributionPoint: 'required' | 'allowed' | 'forbidden';
  /** Of notAfter - notBefore, the backdating included. */
  readonly maximumLifeSeconds: number | undefined;
}

const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';

const leaf = {
  isCa: false,
  pathLength: undefined,
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: [serverAuth, clientAuth],
} as const;
const shortLived: ProfileRules = {
  ...leaf,
  noRevAvail: true,
  crlDistributionPoint: 'forbidden',
  maximumLifeSeconds: shortLivedLimitSeconds + maximumLeafBackdateSeconds,
};
const authority = {
  isCa: true,
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: [],
  noRevAvail: false,
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
  intermediate: { ...authority, pathLength: 0, crlDistributionPoint: 'allowed' },
  cross: { ...authority, pathLength: 1, crlDistributionPoint: 'allowed' },
  root: { ...authority, pathLength: undefined, crlDistributionPoint: 'forbidden' },
};

export const isLeafProfile = (profile: Profile): profile is LeafProfile => !profiles[profile].isCa;
