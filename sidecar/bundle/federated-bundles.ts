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
/** Of the documents for which there is no room now. The server sends each of them once in a session. */
const maximumWaitingBytes = 8 * 1024 * 1024;

const noRoom = 'the bundles of all foreign trust domains together are too large';

/**
 * The bundles of foreign trust domains that the server gave to this agent. Owner of them. An update
 * takes effect at once and as a whole. A bundle that is broken, or that does not fit the bounds, is
 * not taken; what was held of its trust domain stays. One without room is taken as soon as there is
 * room, and takes nobody else's.
 */
export class FederatedBundles {
  readonly #trustDomain: TrustDomain;
  readonly #logger: Logger;
  #held: ReadonlyMap<string, Held> = new Map();
  #waiting: ReadonlyMap<string, FederatedDocument> = new Map();
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
    const names = [...new Set(trustDomains)];
    const documents = new Map(this.#waiting);
    for (const document of bundles) documents.set(document.trustDomain, document);
    const room = new Room(maximumTrustDomains, maximumTotalBytes);
    for (const name of names) room.replace(undefined, this.#held.get(name)?.document);
    const waitingRoom = new Room(Infinity, maximumWaitingBytes);
    const waiting = new Map<string, FederatedDocument>();
    const next = new Map<string, Held>();
    const problems = new Map<string, string>();
    // what is held comes first, so that nothing new takes its room
    for (const name of names.toSorted((one, other) => this.#order(one) - this.#order(other))) {
      const last = this.#held.get(name);
      const document = documents.get(name);
      const problem = this.#problems.get(name);
      const read = document === undefined ? undefined : this.#read(document, last);
      if (last !== undefined) next.set(name, last);
      if (read === undefined) {
        if (problem !== undefined) problems.set(name, problem);
      } else if ('problem' in read) problems.set(name, read.problem);
      else if (room.replace(last?.document, read.document)) next.set(name, read);
      else {
        problems.set(name, noRoom);
        if (waitingRoom.replace(undefined, read.document)) waiting.set(name, read.document);
      }
    }
    this.#tell(problems);
    const changed =
      next.size !== this.#held.size ||
      [...next].some(([name, { bundle }]) => this.#held.get(name)?.bundle !== bundle);
    this.#held = next;
    this.#waiting = waiting;
    this.#problems = problems;
    if (changed) this.#bundles = new Map([...next].map(([name, { bundle }]) => [name, bundle]));
    return changed;
  }

  #order(name: string): number {
    return this.#held.has(name) ? 0 : 1;
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

/** What fits of a number of documents and their bytes together. */
class Room {
  readonly #documents: number;
  readonly #bytes: number;
  #takenDocuments = 0;
  #takenBytes = 0;

  constructor(documents: number, bytes: number) {
    this.#documents = documents;
    this.#bytes = bytes;
  }

  /** Returns whether `by` fits in the place of `last`. Undefined: none. */
  replace(last: FederatedDocument | undefined, by: FederatedDocument | undefined): boolean {
    const documents = this.#takenDocuments - count(last) + count(by);
    const bytes = this.#takenBytes - size(last) + size(by);
    if (documents > this.#documents || bytes > this.#bytes) return false;
    this.#takenDocuments = documents;
    this.#takenBytes = bytes;
    return true;
  }
}

const count = (document: FederatedDocument | undefined): number => (document === undefined ? 0 : 1);
const size = (document: FederatedDocument | undefined): number => document?.bundleJson.length ?? 0;
