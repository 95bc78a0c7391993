import type { BlockedKey, CertificateRecord } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

/** A key by its SHA-256 (of the SubjectPublicKeyInfo, hex), or by a certificate that has it. */
export type NamedKey = { readonly publicKeySha256: string } | { readonly serial: string };

export interface KeyDetail {
  readonly publicKeySha256: string;
  readonly blocked: BlockedKey | undefined;
  /** Certificates with the key that have not ended. */
  readonly certificates: number;
  /** The first of them that the caller may see. */
  readonly sample: readonly CertificateRecord[];
}

export interface Keys {
  /**
   * Blocks a key for ever. A repetition changes nothing. Needs the verb key.block on every identity
   * that has a certificate with the key; for a key without certificates, on everything.
   *
   * @throws PkiError NOT_FOUND, INVALID_REQUEST, ROLE_MISSING, KEY_RESERVED for the key of an
   *   authority that has not ended
   */
  block(caller: OperatorCaller, key: NamedKey, reason: string): Promise<KeyDetail>;
  /** @throws PkiError NOT_FOUND for an unknown serial */
  get(caller: OperatorCaller, key: NamedKey): Promise<KeyDetail>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<BlockedKey>>;
}
