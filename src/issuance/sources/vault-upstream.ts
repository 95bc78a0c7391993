import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  certificatesFromPem,
  parseCertificate,
  pemDecode,
  pemEncode,
  sha256Hex,
} from '../../common/x509/index.ts';
import type { UpstreamAuthority } from './upstream-authority.ts';
import { requireNamedRoot } from './upstream-root.ts';
import type { VaultSession } from './vault-session.ts';

export interface VaultUpstreamOptions {
  readonly vault: Pick<VaultSession, 'read' | 'write' | 'list'>;
  readonly mount: string;
  readonly issuerRef?: string;
  /** SHA-256 (hex, of the DER) of the roots that a chain may end in. Empty: any root. */
  readonly rootSha256: readonly string[];
  readonly clock: Clock;
}

/** How much shorter than requested a life may be: rounding, and the clocks of two machines. */
const toleranceSeconds = 600;
/** Old issuers stay in a mount as long as somebody may rely on them. */
const maximumIssuers = 50;

/**
 * The PKI engine of Vault or OpenBao as the CA above ours. Names and extensions come from our CSR
 * (`use_csr_values`), so that the engine needs no rules for us. A certificate with a shorter life
 * than requested is UPSTREAM_TTL: it would shift every later rotation without anybody's decision.
 */
export function vaultUpstream(options: VaultUpstreamOptions): UpstreamAuthority {
  const { vault, mount, issuerRef, clock } = options;
  return {
    pinned: options.rootSha256.length > 0,
    async signIntermediate(csrDer, lifeSeconds) {
      const path =
        issuerRef === undefined
          ? `${mount}/root/sign-intermediate`
          : `${mount}/issuer/${issuerRef}/sign-intermediate`;
      const { data } = (await vault.write(path, {
        csr: pemEncode('CERTIFICATE REQUEST', csrDer),
        use_csr_values: true,
        max_path_length: 0,
        format: 'pem',
        ttl: `${lifeSeconds}s`,
      })) as { data?: { certificate?: string; issuing_ca?: string; ca_chain?: readonly string[] } };
      if (typeof data?.certificate !== 'string')
        throw new PkiError('UPSTREAM_INVALID', `the answer of ${path} has no certificate`);
      const certificate = singleCertificate(data.certificate, path);
      const { notAfter } = unwrap(parseCertificate(certificate));
      const life = notAfter - clock.now();
      if (life < lifeSeconds - toleranceSeconds)
        throw new PkiError(
          'UPSTREAM_TTL',
          `the upstream signed a life of ${life} s instead of the requested ${lifeSeconds} s`,
        );
      const chain = [
        certificate,
        ...[
          ...(data.ca_chain ?? []),
          ...(data.issuing_ca === undefined ? [] : [data.issuing_ca]),
        ].map((pem) => singleCertificate(pem, path)),
      ];
      const unique = [...new Map(chain.map((der) => [sha256Hex(der), der])).values()];
      requireNamedRoot(unique, options.rootSha256);
      return unique;
    },
    async crls() {
      const crlsDer: Buffer[] = [];
      for (const issuer of await issuersOf(options)) {
        const path = `${mount}/issuer/${issuer}/crl`;
        const { data } = (await vault.read(path)) as { data?: { crl?: unknown } };
        const blocks = typeof data?.crl === 'string' ? pemDecode(data.crl) : undefined;
        if (blocks?.ok !== true || blocks.value.some(({ label }) => label !== 'X509 CRL'))
          throw new PkiError('UPSTREAM_INVALID', `the answer of ${path} is not a CRL`);
        crlsDer.push(...blocks.value.map(({ der }) => der));
      }
      return [...new Map(crlsDer.map((der) => [sha256Hex(der), der])).values()];
    },
    async renewCrls() {
      await vault.read(`${mount}/crl/rotate`);
    },
  };
}

/**
 * All issuers of the mount, since leaves below an earlier issuer may be in use. If the list is not
 * permitted, only our present issuer.
 */
async function issuersOf({
  vault,
  mount,
  issuerRef,
}: VaultUpstreamOptions): Promise<readonly string[]> {
  try {
    const { data } = (await vault.list(`${mount}/issuers`)) as { data?: { keys?: unknown } };
    const keys = Array.isArray(data?.keys)
      ? data.keys.filter(
          (id): id is string => typeof id === 'string' && /^[A-Za-z0-9-]{1,64}$/.test(id),
        )
      : [];
    if (keys.length > 0) return keys.slice(-maximumIssuers);
  } catch (thrown) {
    const { code } = PkiError.from(thrown);
    if (code !== 'UPSTREAM_DENIED' && code !== 'UPSTREAM_INVALID') throw thrown;
  }
  return [issuerRef ?? 'default'];
}

function singleCertificate(pem: string, path: string): Buffer {
  const certificates = certificatesFromPem(pem);
  const [der] = certificates.ok ? certificates.value : [];
  if (der === undefined)
    throw new PkiError('UPSTREAM_INVALID', `the answer of ${path} is not a certificate`);
  return der;
}
