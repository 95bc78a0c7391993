import type { Logger } from '../../src/common/runtime/index.ts';
import { TrustDomain } from '../../src/common/spiffe/index.ts';
import type { TrustBundle } from '../ports/bundles.ts';
import { parseBundleDocument, toTrustBundle } from './document.ts';

/** As it came from the server, which accepted it. */
export interface FederatedDocument {
  /** Its name, without scheme. */
  readonly trustDomain: string;
  /** SPIFFE Trust Domain and Bundle, section 4. */
  readonly bundleJson: string;
}

export interface FederatedUpdate {
  /** All foreign trust domains that are trusted from now on: what is held of others is withdrawn. */
  readonly trustDomains: readonly string[];
  /** The bundles of these that are new. Of the others what is held stays. */
  readonly bundles: readonly FederatedDocument[];
}

interface Held {
  readonly document: FederatedDocument;
  readonly bundle: TrustBundle;
}

const maximumTrustDomains = 100;
/**
 * Of all documents together. A workload gets those that its entries name in one message beside its
 * certificates, and gRPC clients take 4 MiB.
 */
const maximumTotalBytes = 2 * 1024 * 1024;

/**
 * The bundles of foreign trust domains that the server gave to this agent. Owner of them. An update
 * takes effect at once and as a whole. A bundle that is broken, or that does not fit the bounds, is
 * not taken; what was held of its trust domain stays.
 */
export class FederatedBundles {
  readonly #trustDomain: TrustDomain;
  readonly #logger: Logger;
  #held: ReadonlyMap<string, Held> = new Map();
  #bundles: ReadonlyMap<string, TrustBundle> = new Map();
  #problems: ReadonlyMap<string, string> = new Map();

  constructor(trustDomain: TrustDomain, logger: Logger) {
    this.#trustDomain = trustDomain;
    this.#logger = logger;
  }

  /** By name. A bundle is the same object until its document changes. */
  bundles(): ReadonlyMap<string, TrustBundle> {
    return this.#bundles;
  }

  /** Why the newest bundle of a trust domain was not taken, by its name. */
  problems(): ReadonlyMap<string, string> {
    return this.#problems;
  }

  documents(): readonly FederatedDocument[] {
    return [...this.#held.values()].map(({ document }) => document);
  }

  /** Returns whether anything changed. */
  update({ trustDomains, bundles }: FederatedUpdate): boolean {
    const fresh = new Map(bundles.map((document) => [document.trustDomain, document]));
    const next = new Map<string, Held>();
    const problems = new Map<string, string>();
    let bytes = 0;
    for (const name of new Set(trustDomains)) {
      const last = this.#held.get(name);
      const document = fresh.get(name);
      const read = document === undefined ? undefined : this.#read(document, last);
      if (read !== undefined && 'problem' in read) problems.set(name, read.problem);
      else if (document === undefined) {
        const before = this.#problems.get(name);
        if (before !== undefined) problems.set(name, before);
      }
      const held = read !== undefined && 'bundle' in read ? read : last;
      if (held === undefined) continue;
      const size = held.document.bundleJson.length;
      if (next.size >= maximumTrustDomains || bytes + size > maximumTotalBytes) {
        problems.set(name, 'the bundles of all foreign trust domains together are too large');
        continue;
      }
      bytes += size;
      next.set(name, held);
    }
    this.#tell(problems);
    const changed =
      next.size !== this.#held.size ||
      [...next].some(([name, { bundle }]) => this.#held.get(name)?.bundle !== bundle);
    this.#held = next;
    this.#problems = problems;
    if (changed) this.#bundles = new Map([...next].map(([name, { bundle }]) => [name, bundle]));
    return changed;
  }

  #read(document: FederatedDocument, last: Held | undefined): Held | { readonly problem: string } {
    if (last?.document.bundleJson === document.bundleJson) return last;
    const name = TrustDomain.parse(document.trustDomain);
    if (!name.ok || name.value.name !== document.trustDomain)
      return { problem: 'it is no name of a trust domain' };
    if (name.value.equals(this.#trustDomain)) return { problem: 'it is the own trust domain' };
    const parsed = parseBundleDocument(document.bundleJson);
    if (!parsed.ok) return { problem: parsed.error.message };
    const { trustDomain, bundleJson } = document;
    return {
      document: { trustDomain, bundleJson },
      bundle: toTrustBundle(name.value, parsed.value),
    };
  }

  #tell(problems: ReadonlyMap<string, string>): void {
    for (const [trustDomain, reason] of problems)
      if (this.#problems.get(trustDomain) !== reason)
        this.#logger.warn(
          { trustDomain: trustDomain.slice(0, 300), code: 'BUNDLE_INVALID', reason },
          'a bundle of a foreign trust domain is not taken',
        );
  }
}
