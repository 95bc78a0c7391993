import type { ServerUnaryCall } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { selectorText, type Selector } from '../../src/common/spiffe/index.ts';
import type { Attested, Attestor } from '../attest/index.ts';
import type { EntryCache, Identity } from '../ports/entries.ts';
import type { DefaultIdentities } from './default-identities.ts';
import type { LocalConnection } from './local-connection.ts';

export type AnyCall = Pick<ServerUnaryCall<unknown, unknown>, 'getPeer' | 'metadata'>;

export interface Granted {
  readonly attested: Attested;
  /** Never empty, unless the method takes callers without identity. The default is first. */
  readonly identities: readonly Identity[];
}

/** One call of one process. */
export interface Session {
  readonly connection: LocalConnection;
  readonly rpc: string;
  /**
   * Gathers all facts anew. Throws PEER_UNVERIFIABLE, or RATE_LIMITED when the cgroup has no place
   * left.
   */
  attest(): Promise<Attested>;
  /**
   * Attests and finds the identities. Throws NO_IDENTITY with the caller's own selectors, or
   * NOT_SYNCED before there are entries.
   */
  grant(): Promise<Granted>;
  /** Like `grant`, but there may be no identity. Throws NOT_SYNCED before there are entries. */
  rights(): Promise<Granted>;
  /** What entries give to a process with these selectors. Its default is first. */
  identitiesOf(selectors: readonly Selector[]): readonly Identity[];
  /** The process was given this identity as its default: it stays the default while it is granted. */
  gaveDefault(identity: Identity): void;
  /** The last check before anything is handed over. Throws PEER_UNVERIFIABLE. */
  verify(): void;
  /** Idempotent. */
  end(): void;
}

export interface CallSessionDependencies {
  readonly connection: LocalConnection;
  readonly rpc: string;
  readonly attestor: Attestor;
  readonly entries: EntryCache;
  readonly defaults: DefaultIdentities;
  /** Called with each new attestation, unless the call has ended. Throws RATE_LIMITED. */
  readonly count: (attested: Attested) => void;
  /** An entry gives the caller an identity. */
  readonly identified: () => void;
  readonly release: () => void;
}

/** Clients limit the size of trailers, some to 8 KiB, and the text is percent-encoded. */
const listedCharacters = 1_500;

export class CallSession implements Session {
  readonly #dependencies: CallSessionDependencies;
  #ended = false;

  constructor(dependencies: CallSessionDependencies) {
    this.#dependencies = dependencies;
  }

  get connection(): LocalConnection {
    return this.#dependencies.connection;
  }
  get rpc(): string {
    return this.#dependencies.rpc;
  }

  async attest(): Promise<Attested> {
    const { attestor, connection, entries, count } = this.#dependencies;
    const attested = await attestor.attest(connection.vouched(), (selectors, prefixes) =>
      entries.wanted(selectors, prefixes),
    );
    // the call may have ended while a binary was read, and must not take a place again
    if (!this.#ended) count(attested);
    return attested;
  }

  async grant(): Promise<Granted> {
    const granted = await this.rights();
    if (granted.identities.length === 0) throw noIdentity(granted.attested);
    return granted;
  }

  async rights(): Promise<Granted> {
    const { entries } = this.#dependencies;
    if (!entries.synced())
      throw new PkiError('NOT_SYNCED', 'the agent has not received its entries yet');
    const attested = await this.attest();
    const identities = this.identitiesOf(attested.selectors);
    if (identities.length > 0) this.#dependencies.identified();
    return { attested, identities };
  }

  identitiesOf(selectors: readonly Selector[]): readonly Identity[] {
    const { defaults, connection, entries } = this.#dependencies;
    return defaults.ordered(connection, entries.match(selectors));
  }

  gaveDefault(identity: Identity): void {
    this.#dependencies.defaults.give(this.#dependencies.connection, identity);
  }

  verify(): void {
    this.#dependencies.attestor.verify(this.#dependencies.connection.vouched());
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#dependencies.release();
  }
}

/** Tells the caller its own selectors, and nothing about entries. */
export function noIdentity(attested: Attested): PkiError {
  const texts: string[] = [];
  let length = 0;
  for (const each of attested.selectors.map(selectorText)) {
    length += each.length;
    if (length > listedCharacters) break;
    texts.push(each);
  }
  const more = attested.selectors.length - texts.length;
  return new PkiError(
    'NO_IDENTITY',
    'no registration entry gives this process an identity; its selectors are ' +
      `${texts.join(', ')}${more > 0 ? ` and ${more} more` : ''}`,
  );
}
