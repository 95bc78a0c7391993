import { PkiError } from '../common/errors/index.ts';
import { derWriter, type ParsedCertificate } from '../common/x509/index.ts';
import {
  authorityInfoAccess,
  authorityKeyId,
  basicConstraints,
  commonNameDer,
  crlDistributionPoint,
  emptyName,
  extendedKeyUsage,
  keyUsage,
  noRevAvail,
  serialNumber,
  signatureAlgorithmDer,
  subjectAltName,
  subjectKeyId,
  validity,
  version3,
} from './fields.ts';
import {
  commonNameFor,
  familyFor,
  profiles,
  type KeyFamily,
  type ProfileRules,
} from './profiles.ts';
import type { LeafInput, LeafProfile } from './types.ts';

const { context, sequence } = derWriter;

/**
 * The parts that all leaves of one issuer share. They are made once per issuer object and dropped
 * with it.
 */
interface IssuerParts {
  /** The fields signature and issuer. */
  readonly head: Buffer;
  readonly extensions: Readonly<Record<LeafProfile, Readonly<Record<KeyFamily, Buffer>>>>;
}

const partsOf = new WeakMap<ParsedCertificate, IssuerParts>();

/**
 * The TBSCertificate of a leaf. The identity is in the SAN. The subject is empty, so that the SAN is
 * critical (RFC 5280 section 4.2.1.6), except in a profile with a common name. It must pass `lint`
 * before it is signed.
 *
 * @throws PkiError LINT_FAILED if the input contradicts the profile
 */
export function buildLeafTbs(input: LeafInput): Buffer {
  const { issuer, profile, crlUrl, subject, access = {} } = input;
  const crlRule = profiles[profile].crlDistributionPoint;
  if (crlUrl === undefined ? crlRule === 'required' : crlRule === 'forbidden')
    throw new PkiError(
      'LINT_FAILED',
      `a CRL URL ${crlUrl === undefined ? 'is missing for' : 'does not belong into'} the profile ${profile}`,
    );
  let parts = partsOf.get(issuer);
  if (parts === undefined) {
    parts = makeParts(issuer);
    partsOf.set(issuer, parts);
  }
  const commonName = commonNameFor(profile, subject);
  const san = subjectAltName(commonName === undefined, subject);
  const ski = subjectKeyId(input.spkiDer);
  const family = familyFor(profile, input.spkiDer);
  if (family === undefined)
    throw new PkiError('LINT_FAILED', 'keys of this type are not certified');
  const fixed = parts.extensions[profile][family];
  const information = authorityInfoAccess(access);
  const extensions = sequence(
    fixed,
    ski,
    san,
    ...(crlUrl === undefined ? [] : [crlDistributionPoint(crlUrl)]),
    ...(information === undefined ? [] : [information]),
  );
  return sequence(
    version3,
    serialNumber(input.serial),
    parts.head,
    validity(input.notBefore, input.notAfter),
    commonName === undefined ? emptyName : commonNameDer(commonName),
    input.spkiDer,
    context(3, extensions),
  );
}

function makeParts(issuer: ParsedCertificate): IssuerParts {
  const aki = authorityKeyId(issuer);
  const fixed = (rules: ProfileRules, family: KeyFamily): Buffer =>
    Buffer.concat([
      keyUsage(rules.keyUsage[family]),
      extendedKeyUsage(rules.extendedKeyUsage),
      basicConstraints(false, undefined),
      aki,
      ...(rules.noRevAvail ? [noRevAvail()] : []),
    ]);
  const byFamily = (profile: LeafProfile): Readonly<Record<KeyFamily, Buffer>> => ({
    ec: fixed(profiles[profile], 'ec'),
    rsa: fixed(profiles[profile], 'rsa'),
  });
  return {
    head: Buffer.concat([signatureAlgorithmDer(issuer.spkiDer), issuer.subjectDer]),
    extensions: {
      'short-lived': byFamily('short-lived'),
      revocable: byFamily('revocable'),
      server: byFamily('server'),
      short: byFamily('short'),
      classic: byFamily('classic'),
      hours: byFamily('hours'),
      linkerd: byFamily('linkerd'),
    },
  };
}
