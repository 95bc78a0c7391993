import type { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { nobodysBundle } from '../../bundle/index.ts';
import type { TrustBundle } from '../../ports/bundles.ts';
import type { GrantedSecret, Wanted } from './names.ts';

/**
 * What the proxy of one stream may have of foreign trust domains. Owner of that state.
 *
 * - Discovery can't take a secret back: a proxy whose stream ends goes on with what it has. So a
 *   foreign bundle that was given and is granted no longer is replaced by one that trusts nobody.
 * - Another trust domain must not be able to stop the delivery of our own roots: if a proxy refuses
 *   them together with foreign ones, it gets the own ones alone, until the foreign ones change.
 */
export class ForeignBundles {
  #resumed = false;
  /** Names under which a foreign bundle was sent. */
  readonly #given = new Set<string>();
  /** The foreign bundles that were refused beside the own one, by name. */
  readonly #refused = new Map<string, string>();

  /** `resumed`: the proxy says in its first request that it has secrets of an earlier stream. */
  begin(resumed: boolean): void {
    this.#resumed = resumed;
  }

  /** The name is no longer wanted. */
  forget(name: string): void {
    this.#given.delete(name);
    this.#refused.delete(name);
  }

  /** What is to be sent under a name for which nothing is granted. Undefined: nothing. */
  withdrawn(name: string, wanted: Wanted, own: TrustDomain): GrantedSecret | undefined {
    if (wanted.kind !== 'bundle' || wanted.trustDomain === 'own') return undefined;
    if (wanted.trustDomain.equals(own) || !(this.#resumed || this.#given.has(name)))
      return undefined;
    return { kind: 'bundles', bundles: [nobodysBundle(wanted.trustDomain)] };
  }

  /** Those of the granted bundles that are to be sent under this name. */
  sendable(
    name: string,
    bundles: readonly TrustBundle[],
    own: TrustBundle,
  ): readonly TrustBundle[] {
    return bundles.includes(own) && this.#refused.get(name) === foreignOf(bundles, own)
      ? [own]
      : bundles;
  }

  /** The names under which a foreign bundle was sent, also where it is withdrawn since. */
  given(): Iterable<string> {
    return this.#given;
  }

  sent(name: string, bundles: readonly TrustBundle[], own: TrustBundle): void {
    if (!bundles.includes(own)) this.#given.add(name);
  }

  /** Returns whether the own bundle is to be sent alone. */
  refused(name: string, bundles: readonly TrustBundle[], own: TrustBundle): boolean {
    if (!bundles.includes(own) || bundles.length === 1) return false;
    this.#refused.set(name, foreignOf(bundles, own));
    return true;
  }

  /** What was refused may be good now. */
  tryAgain(): void {
    this.#refused.clear();
  }
}

const foreignOf = (bundles: readonly TrustBundle[], own: TrustBundle): string =>
  bundles
    .filter((each) => each !== own)
    .map(({ trustDomain, authoritySetDigest }) =>
      [trustDomain.name, authoritySetDigest.toString('hex')].join(' '),
    )
    .join();
