import type { PeerCertificate } from 'node:tls';
import { PkiError } from '../common/errors/index.ts';
import { chainOf } from '../common/runtime/index.ts';
import { serverId, type TrustDomain } from '../common/spiffe/index.ts';
import {
  parseFingerprint,
  serverIssuerOf,
  sha256Hex,
  verifyX509Svid,
} from '../common/x509/index.ts';

export interface ServerProofOptions {
  readonly trustDomain: TrustDomain;
  readonly rootsDer: readonly Buffer[];
  /**
   * SHA-256 (hex) of the public keys of the issuing authorities of the server: from an operator or
   * from an agent. Empty: unknown.
   */
  readonly known: readonly string[];
  /** The same of the issuer of the certificate that this command presents. */
  readonly ownIssuer: string | undefined;
  /** The server, for messages. */
  readonly shown: string;
  /** Unix seconds. */
  readonly now: () => number;
}

/**
 * Whether whoever answered is the CA: its exact ID, and an issuer that may stand above that ID. A CA
 * downstream can issue any ID, and its chain leads to the same root. Without known keys the issuer is
 * believed that issued the caller's own certificate, and the one that a root has marked. Throws
 * RESERVED_ID_UNTRUSTED, and the codes of `verifyX509Svid`.
 */
export function proveServer(certificate: PeerCertificate, options: ServerProofOptions): void {
  const { trustDomain, rootsDer, known, ownIssuer, shown, now } = options;
  const wanted = serverId(trustDomain);
  const svid = verifyX509Svid({
    chainDer: chainOf(certificate),
    bundle: (name) => (name === trustDomain.name ? rootsDer : undefined),
    now: now(),
    purpose: 'server',
  });
  if (!svid.ok)
    throw new PkiError(svid.error.code, `${shown} is not trusted: ${svid.error.message}`, {
      cause: svid.error,
    });
  if (!svid.value.id.equals(wanted))
    throw new PkiError(
      'CHAIN_UNTRUSTED',
      `${shown} is not trusted: the server is not ${wanted.toString()}, but ${svid.value.id.toString()}`,
    );
  const { chain, root } = svid.value;
  const key = sha256Hex((chain[1] ?? root).spkiDer);
  if (known.length === 0 && key === ownIssuer) return;
  const issuer = serverIssuerOf(
    svid.value,
    known.length === 0 ? { kind: 'mark' } : { kind: 'keys', sha256Hex: new Set(known) },
  );
  if (issuer.ok && issuer.value.proof !== 'none') return;
  throw new PkiError(
    'RESERVED_ID_UNTRUSTED',
    issuer.ok
      ? `the certificate of ${shown} has an issuer with the key ${key}, and its root does not ` +
          'mark the issuers of a server: any CA below that root could have answered'
      : `the certificate of ${shown}: ${issuer.error.message}`,
    {
      next:
        'Compare that key with the issuer fingerprint that "meshca token create" prints on ' +
        'the machine of the server. If they are the same, give it with --issuer-fingerprint. ' +
        'Otherwise find out who answers at this address; nothing was sent there.',
    },
  );
}

/** Each as lower-case hex without separators. */
export function fingerprintsOf(
  text: string | undefined,
  option = '--issuer-fingerprint',
): readonly string[] {
  if (text === undefined) return [];
  return text.split(',').map((each) => {
    const fingerprint = parseFingerprint(each);
    if (fingerprint.ok) return fingerprint.value;
    throw new PkiError('INVALID_REQUEST', `${option}: ${fingerprint.error.message}`, {
      next:
        'Give the fingerprint that "meshca token create" prints on the machine of the server; ' +
        'several with commas between them.',
    });
  });
}
