import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import { setDigest, sha256Hex, verifyChain } from '../../src/common/x509/index.ts';
import type { BundleStore } from './bundle-store.ts';

/** From the issuing authority up, without the root. */
export interface PublishedChain {
  readonly authorityId: string;
  readonly chainDer: readonly Buffer[];
}

const maximumChains = 100;

/**
 * The issuing authorities that may sign, now or next, as the server published them: each is
 * verified under the roots that this agent holds, and its key must stand in the signed step, before it
 * counts as held; and again when the bundle changes. Owner of what it keeps. Nothing here makes
 * anything trusted: trust are the roots alone, so that a server which lies only keeps itself from
 * activating.
 */
export class IssuerChains {
  readonly #bundles: Pick<BundleStore, 'roots' | 'issuersSha256'>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #published: readonly PublishedChain[] = [];
  #verified: readonly PublishedChain[] = [];
  #refused = new Set<string>();

  constructor(bundles: Pick<BundleStore, 'roots' | 'issuersSha256'>, clock: Clock, logger: Logger) {
    this.#bundles = bundles;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Full state: what is not named is no longer published. */
  set(published: readonly PublishedChain[]): void {
    this.#published = published.slice(0, maximumChains).map(({ authorityId, chainDer }) => ({
      authorityId,
      chainDer: chainDer.map((der) => Buffer.from(der)),
    }));
    this.recheck();
  }

  /** To be called after the bundle changed. */
  recheck(): void {
    const roots = this.#bundles.roots();
    const keys = this.#bundles.issuersSha256();
    const refused = new Set<string>();
    this.#verified = this.#published.filter(({ authorityId, chainDer }) => {
      const problem = problemOf(chainDer, { roots, keys, now: this.#clock.now() });
      if (problem === undefined) return true;
      refused.add(authorityId);
      if (!this.#refused.has(authorityId))
        this.#logger.warn(
          { authorityId, reason: problem },
          'a published issuing authority does not verify under the bundle that is held',
        );
      return false;
    });
    this.#refused = refused;
  }

  /** Those that verified. */
  verified(): readonly PublishedChain[] {
    return this.#verified;
  }

  /** Of the certificates of those that verified, or undefined when there is none. */
  digest(): Buffer | undefined {
    if (this.#verified.length === 0) return undefined;
    // one certificate may be published once only, whatever a server says
    const certificates = new Map(
      this.#verified.map(({ chainDer }) => [
        sha256Hex(chainDer[0] as Buffer),
        chainDer[0] as Buffer,
      ]),
    );
    return setDigest([...certificates.values()]);
  }
}

/** What keeps a leaf under this chain from verifying, or undefined. */
function problemOf(
  chainDer: readonly Buffer[],
  {
    roots,
    keys,
    now,
  }: {
    readonly roots: readonly Buffer[];
    readonly keys: ReadonlySet<string> | undefined;
    readonly now: number;
  },
): string | undefined {
  const verified = verifyChain({ chainDer, roots, now });
  if (!verified.ok) return verified.error.message;
  const path = [...verified.value.chain, verified.value.root];
  const [issuing] = path;
  if (issuing === undefined || !issuing.isCa) return 'it is no CA';
  if (issuing.keyUsage?.names.has('keyCertSign') !== true) return 'it may not sign certificates';
  if (keys?.has(sha256Hex(issuing.spkiDer)) !== true)
    return 'the signed bundle step does not name its key, so that its server would not be believed';
  // the leaf to come makes each path one longer than the one that was verified
  const short = path.find(
    ({ pathLength }, below) => pathLength !== undefined && pathLength < below,
  );
  return short === undefined ? undefined : 'an authority above it allows no intermediate there';
}
