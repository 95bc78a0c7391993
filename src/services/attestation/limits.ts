import { isIPv6 } from 'node:net';
import { PkiError } from '../../common/errors/index.ts';
import { type Clock, KeyedBuckets, TokenBucket, type Rate } from '../../common/runtime/index.ts';
import { isRefusal } from '../callers/refusal-log.ts';

/** Rate of failed attestations from one address. Beyond it, the address waits behind the others. */
const failureRate: Rate = { perSecond: 0.5, burst: 20 };
const suspectSeconds = 60;
const maximumSuspects = 10_000;
/** Share of the burst that is reserved for addresses without failures beyond that rate. */
const reserve = 0.5;

/**
 * The global limit on attestation. No address can use it up alone: an address with too many
 * failures is served only while the bucket is more than half full. It is never shut out, since many
 * honest nodes may share an address (a load balancer, NAT). Owner of the bucket and of the memory
 * of addresses.
 */
export class AttestationLimits {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #bucket: TokenBucket;
  readonly #failures: KeyedBuckets;
  readonly #suspects = new Map<string, number>();

  constructor(rate: Rate, clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
    this.#bucket = new TokenBucket(rate, clock);
    this.#failures = new KeyedBuckets(failureRate, clock);
  }

  /** @throws PkiError RATE_LIMITED with the time to wait */
  admit(peer: string): void {
    const waitMs =
      this.#isSuspect(holderOf(peer)) && this.#bucket.level <= reserve ? 1000 : this.#bucket.take();
    if (waitMs > 0)
      throw new PkiError('RATE_LIMITED', `too many attestations: try again in ${waitMs} ms`, {
        detail: { waitMs },
      });
  }

  failed(peer: string): void {
    const holder = holderOf(peer);
    if (this.#failures.take(holder) === 0) return;
    this.#suspects.delete(holder);
    if (this.#suspects.size >= maximumSuspects)
      this.#suspects.delete(this.#suspects.keys().next().value as string);
    this.#suspects.set(holder, this.#clock.monotonicMs() + suspectSeconds * 1000);
  }

  /**
   * What a good proof led to was refused. It counts as a failure, since a proof that leads nowhere
   * is not used up: it could come again and again.
   */
  refused(peer: string, { code }: PkiError): void {
    if (isRefusal(code)) this.failed(peer);
  }

  #isSuspect(holder: string): boolean {
    const untilMs = this.#suspects.get(holder);
    if (untilMs === undefined) return false;
    if (untilMs > this.#clock.monotonicMs()) return true;
    this.#suspects.delete(holder);
    return false;
  }
}

/** The address without its port; for IPv6 the /64, since one machine may own all of it. */
export function holderOf(peer: string): string {
  const colon = peer.lastIndexOf(':');
  const address = colon < 0 ? peer : peer.slice(0, colon);
  if (!isIPv6(address)) return address;
  if (address.toLowerCase().startsWith('::ffff:') && address.includes('.'))
    return address.slice('::ffff:'.length);
  const [head = '', tail] = address.split('::', 2);
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups =
    tail === undefined
      ? before
      : [
          ...before,
          ...Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => '0'),
          ...after,
        ];
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
