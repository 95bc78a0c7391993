import { setDigest, sha256Hex } from '../../common/x509/index.ts';
import type { Authority, BundleRevision, RotationWorld } from '../../domain/index.ts';
import type { BundleStore } from '../../store/ports/index.ts';
import { bundleContent } from '../bundle-document.ts';

/**
 * With at most this many issuing authorities, the digest of a subset is understood too: an agent
 * may have verified only some of them.
 */
const maximumSubsets = 8;

/**
 * Maps the digests that consumers report to sets of authorities: the sets of every bundle revision,
 * and the sets of issuing authorities that this process handed out. An unknown digest proves
 * nothing. Owner of this memory.
 */
export class HeldSets {
  readonly #bundles: Pick<BundleStore, 'since'>;
  readonly #root = new Map<string, ReadonlySet<string>>();
  readonly #jwt = new Map<string, ReadonlySet<string>>();
  readonly #issuing = new Map<string, ReadonlySet<string>>();
  /** SHA-256 (hex) of each authority in a set, also of authorities that we do not know. */
  readonly #members = new Map<string, readonly string[]>();
  /** The time at which each root and JWT key first appeared in a bundle, Unix seconds. */
  readonly #since = new Map<string, number>();
  #sequence = 0;
  #published = '';

  constructor(bundles: Pick<BundleStore, 'since'>) {
    this.#bundles = bundles;
  }

  /**
   * `proven` tells whether the log vouches for a revision. Learning stops at the first revision
   * that is not proven.
   */
  async refresh(
    all: readonly Authority[],
    proven: (revision: BundleRevision) => boolean,
  ): Promise<void> {
    for (const revision of await this.#bundles.since(this.#sequence)) {
      if (!proven(revision)) break;
      this.#learn(revision, all);
      this.#sequence = revision.sequence;
    }
    const published = all.filter(
      ({ kind, state }) => kind === 'issuing' && (state === 'published' || state === 'active'),
    );
    const key = published.map(({ id }) => id).join(' ');
    if (key === this.#published) return;
    this.#published = key;
    for (const subset of subsets(published)) {
      this.#issuing.set(
        this.#digest(subset.map(({ certificateDer }) => certificateDer as Buffer)),
        new Set(subset.map(({ id }) => id)),
      );
    }
  }

  sets(): RotationWorld['sets'] {
    return { root: this.#root, jwt: this.#jwt, issuing: this.#issuing };
  }

  membersOf(digest: string): readonly string[] {
    return this.#members.get(digest) ?? [];
  }

  inBundleSince(authorityId: string): number | undefined {
    return this.#since.get(authorityId);
  }

  #learn(revision: BundleRevision, all: readonly Authority[]): void {
    const { rootsDer: roots, jwtKeys } = bundleContent(revision.document);
    const jwts = jwtKeys.map(({ spkiDer }) => spkiDer);
    const ids = (
      authorities: readonly Buffer[],
      encoding: (authority: Authority) => Buffer | null,
      kind: string,
    ): ReadonlySet<string> => {
      const digests = new Set(authorities.map(sha256Hex));
      return new Set(
        all
          .filter(
            (authority) =>
              authority.kind === kind &&
              encoding(authority) !== null &&
              digests.has(sha256Hex(encoding(authority) as Buffer)),
          )
          .map(({ id }) => id),
      );
    };
    const rootIds = ids(roots, ({ certificateDer }) => certificateDer, 'root');
    const jwtIds = ids(jwts, ({ spkiDer }) => spkiDer, 'jwt');
    this.#root.set(this.#digest(roots), rootIds);
    this.#jwt.set(this.#digest(jwts), jwtIds);
    for (const id of [...rootIds, ...jwtIds])
      if (!this.#since.has(id)) this.#since.set(id, revision.createdAt);
  }

  #digest(encodings: readonly Buffer[]): string {
    const digest = setDigest(encodings).toString('hex');
    this.#members.set(digest, encodings.map(sha256Hex));
    return digest;
  }
}

function subsets<T>(items: readonly T[]): readonly (readonly T[])[] {
  if (items.length === 0) return [];
  if (items.length > maximumSubsets) return [items];
  return Array.from({ length: 2 ** items.length - 1 }, (_, index) =>
    items.filter((__, bit) => ((index + 1) >> bit) % 2 === 1),
  );
}
