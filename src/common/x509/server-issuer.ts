import { fail, ok, type Result } from '../errors/index.ts';
import { sha256Hex } from './digest.ts';
import type { VerifiedChain } from './types.ts';

/**
 * The issuing authorities that may stand above the IDs below `/meshca/` of one trust domain.
 *
 * - `keys`: only these, by the SHA-256 (hex) of their public keys. The keys come from the signed
 * steps of the bundle, or from an operator. No keys: no authority. - `mark`: the keys are not known
 * yet. A root with the mark of a server's authorities has put the mark into its own issuing
 * authorities only. A root without the mark proves nothing.
 */
export type ServerIssuers =
  | { readonly kind: 'keys'; readonly sha256Hex: ReadonlySet<string> }
  | { readonly kind: 'mark' };

export interface ServerIssuer {
  /** SHA-256 (hex) of the public key of the issuing authority (SubjectPublicKeyInfo, DER). */
  readonly sha256Hex: string;
  /** `none`: its root has no mark, so that any CA below the root could be this issuer. */
  readonly proof: 'key' | 'mark' | 'none';
}

/**
 * Checks whether the issuer of this verified leaf may stand above an ID below `/meshca/`. Another
 * CA of the same trust domain can issue any ID, and its chain verifies too. Fails with
 * RESERVED_ID_UNTRUSTED.
 */
export function serverIssuerOf(
  { chain, root }: Pick<VerifiedChain, 'chain' | 'root'>,
  issuers: ServerIssuers,
): Result<ServerIssuer> {
  const above = [...chain.slice(1), root];
  const [issuer = root] = above;
  const key = sha256Hex(issuer.spkiDer);
  if (issuers.kind === 'keys')
    return issuers.sha256Hex.has(key)
      ? ok({ sha256Hex: key, proof: 'key' })
      : fail(
          'RESERVED_ID_UNTRUSTED',
          `its issuer, with the key ${key}, is none of the issuing authorities of this server that are known`,
        );
  if (!root.serverAuthority) return ok({ sha256Hex: key, proof: 'none' });
  // a root never marks another CA, and a marked issuing authority can not certify a CA
  return issuer !== root && above.every(({ serverAuthority }) => serverAuthority)
    ? ok({ sha256Hex: key, proof: 'mark' })
    : fail(
        'RESERVED_ID_UNTRUSTED',
        `its issuer, with the key ${key}, is no authority of a server: its root marks those, and this one has no mark`,
      );
}
