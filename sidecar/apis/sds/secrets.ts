import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import type { CertificateValidationContext } from '../../../src/common/wire/generated/envoy/extensions/transport_sockets/tls/v3/CertificateValidationContext.ts';
import type { Secret } from '../../../src/common/wire/generated/envoy/extensions/transport_sockets/tls/v3/Secret.ts';
import { certificatesToPem, pemEncode } from '../../../src/common/x509/index.ts';
import type { TrustBundle } from '../../ports/bundles.ts';
import type { HeldX509Svid } from '../../ports/svids.ts';

const validatorName = 'envoy.tls.cert_validator.spiffe';
const validatorType =
  'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig';

/** A secret for Envoy, under no name yet. */
export interface SecretContent {
  /** Equal for equal content, also after a restart of the agent. It tells nothing of a key. */
  readonly version: string;
  /**
   * With a `mark` that no other response has: Envoy acknowledges bytes that it has seen before
   * without a look, also those that it refused, and its acknowledgement would prove nothing.
   */
  encode(name: string, mark: string): Secret;
}

/** Text between the blocks of PEM is passed over. */
const markText = (mark: string): string => `# ${mark}\n`;

const inline = (text: string): { readonly inlineBytes: Buffer } => ({
  inlineBytes: Buffer.from(text),
});

/** One hash over all parts, each behind its length: each stream asks for it at each message. */
function digest(...parts: readonly (string | Buffer)[]): string {
  const bytes = parts.flatMap((part) => {
    const content = Buffer.from(part);
    return [Buffer.from(`${content.length}:`), content];
  });
  return createHash('sha256').update(Buffer.concat(bytes)).digest('hex').slice(0, 32);
}

const none = Buffer.alloc(0);

/** By the array, which is the same while the set is: CRLs may be large. */
const crlDigests = new WeakMap<readonly Buffer[], Buffer>();

function crlsDigest(crls: readonly Buffer[]): Buffer {
  if (crls.length === 0) return none;
  const known = crlDigests.get(crls);
  if (known !== undefined) return known;
  const fresh = createHash('sha256').update(Buffer.concat(crls)).digest();
  crlDigests.set(crls, fresh);
  return fresh;
}

/** A certificate with its key. They go out together, in one secret. */
export const svidSecret = ({ chainDer, privateKeyPkcs8Der }: HeldX509Svid): SecretContent => ({
  version: digest('svid', ...chainDer),
  encode: (name, mark) => ({
    name,
    tlsCertificate: {
      certificateChain: inline(certificatesToPem(chainDer) + markText(mark)),
      privateKey: inline(pemEncode('PRIVATE KEY', privateKeyPkcs8Der)),
    },
  }),
});

const fits = new WeakMap<HeldX509Svid, boolean>();

/**
 * Whether the key belongs to the certificate. A pair that does not fit may cost Envoy every later
 * update of the secret.
 */
export function keyFits(svid: HeldX509Svid): boolean {
  const known = fits.get(svid);
  if (known !== undefined) return known;
  const answer = checkKey(svid);
  fits.set(svid, answer);
  return answer;
}

function checkKey({ chainDer, privateKeyPkcs8Der }: HeldX509Svid): boolean {
  try {
    const key = createPrivateKey({ key: privateKeyPkcs8Der, format: 'der', type: 'pkcs8' });
    return new X509Certificate(chainDer[0] as Buffer).checkPrivateKey(key);
  } catch {
    return false;
  }
}

export interface ValidationOptions {
  readonly spiffeValidator: boolean;
  /** The CRLs of the own trust domain, DER: for every level, or none. */
  readonly crls: readonly Buffer[];
}

/**
 * What a proxy validates its peers with. With the SPIFFE validator each root counts for its own
 * trust domain alone. Without it there must be one bundle. JWT keys are no part of it: Envoy refuses
 * them.
 */
export function bundlesSecret(
  bundles: readonly TrustBundle[],
  own: TrustBundle,
  { spiffeValidator, crls }: ValidationOptions,
): SecretContent {
  const crlsOf = ({ trustDomain }: TrustBundle): readonly Buffer[] =>
    trustDomain.equals(own.trustDomain) ? crls : [];
  return {
    version: digest(
      spiffeValidator ? 'spiffe' : 'plain',
      ...bundles.flatMap((each) => [
        each.trustDomain.name,
        each.authoritySetDigest,
        crlsDigest(crlsOf(each)),
      ]),
    ),
    encode: (name, mark) => ({
      name,
      validationContext: spiffeValidator
        ? validatorContext(bundles, crlsOf, mark)
        : plainContext(bundles, crlsOf, mark),
    }),
  };
}

type CrlsOf = (bundle: TrustBundle) => readonly Buffer[];

const crlsToPem = (crls: readonly Buffer[]): string =>
  crls.map((der) => pemEncode('X509 CRL', der)).join('');

const validatorContext = (
  bundles: readonly TrustBundle[],
  crlsOf: CrlsOf,
  mark: string,
): CertificateValidationContext => ({
  customValidatorConfig: {
    name: validatorName,
    typedConfig: {
      typeUrl: validatorType,
      value: {
        trustDomains: bundles.map((each) => ({
          name: each.trustDomain.name,
          // this validator reads CRLs from the PEM of the roots alone
          trustBundle: inline(
            certificatesToPem(each.rootsDer) + crlsToPem(crlsOf(each)) + markText(mark),
          ),
        })),
      },
    },
  },
});

function plainContext(
  bundles: readonly TrustBundle[],
  crlsOf: CrlsOf,
  mark: string,
): CertificateValidationContext {
  const [bundle, ...more] = bundles;
  if (bundle === undefined || more.length > 0)
    throw new RangeError('a plain validation context holds the roots of one trust domain');
  const crls = crlsOf(bundle);
  return {
    trustedCa: inline(certificatesToPem(bundle.rootsDer) + markText(mark)),
    ...(crls.length === 0 ? {} : { crl: inline(crlsToPem(crls)) }),
  };
}
