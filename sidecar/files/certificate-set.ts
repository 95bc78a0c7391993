import type { SpiffeId } from '../../src/common/spiffe/index.ts';
import type { Result } from '../../src/common/errors/index.ts';
import type { FederatedRoots } from './federated-roots.ts';

/** What a set for names has beside its files. */
export interface NamesOfSet {
  /** DNS names and addresses. */
  readonly names: readonly string[];
  /** The roots of names, DER in base64. No bundle has them. */
  readonly roots: readonly string[];
}

/** What one set holds, before it is written. */
export interface SetContent {
  /** Of the certificate, or of who owns a certificate for names. */
  readonly spiffeId: SpiffeId;
  /** Undefined: the set is for an identity. */
  readonly forNames: NamesOfSet | undefined;
  /** Lower-case hex. */
  readonly serial: string;
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly privateKeyPkcs8Der: Buffer;
  /** Of the mesh, or of names. */
  readonly rootsDer: readonly Buffer[];
  readonly crlsDer: readonly Buffer[];
  readonly federatedDer: FederatedRoots;
  /** SHA-256 over the sorted SHA-256 digests of the roots; what consumers report. */
  readonly authoritySetDigest: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A set on disk. */
export interface StoredSet {
  /** `<n>-<serial>`; n counts up and has no leading zeros. */
  readonly name: string;
  readonly number: number;
  readonly serial: string;
  /** Of the leaf in DER, lower-case hex. Anybody can make a certificate with the same serial. */
  readonly leafSha256: string;
  /** Absolute: `<target>/sets/<name>`. */
  readonly directory: string;
  /** Unix seconds; of the leaf. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Hex. Of roots of names it counts for nothing. */
  readonly authoritySetDigest: string;
  /** Undefined: the set is for an identity. */
  readonly forNames: NamesOfSet | undefined;
}

/**
 * The sets of one target on disk. Owner of `sets/` and `current`. Each act ends with fsync, so that a
 * crash at any instant leaves `current` at one whole set.
 */
export interface SetDirectory {
  /**
   * Whole sets, oldest first; none where the directory is gone. Remains of a crash are no sets, and are
   * removed at `write`. Throws TARGET_UNWRITABLE where the disk can not be read.
   */
  list(): Promise<readonly StoredSet[]>;
  /** What `current` names. Undefined: nothing yet. Throws as `list` does. */
  current(): Promise<StoredSet | undefined>;
  /** Writes a set beside the others. Fails with TARGET_UNWRITABLE; then nothing of it remains. */
  write(content: SetContent): Promise<Result<StoredSet>>;
  /** One rename of `current`. */
  swap(set: StoredSet): Promise<Result<void>>;
  /** Takes `current` away, where there was none before a first set that failed. */
  unlink(): Promise<Result<void>>;
  /** Never the one that `current` names. */
  remove(set: StoredSet): Promise<Result<void>>;
}
