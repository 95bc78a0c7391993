import { isIP } from 'node:net';
import { IpRange, isIpv4Mapped } from '../policy/index.ts';

export interface AddressPolicyOptions {
  /** Networks in CIDR notation that a validation may reach, IPv4 and IPv6. */
  readonly allowed: readonly string[];
  /** Networks below them that it may not reach. */
  readonly denied: readonly string[];
  /** True for an address and port at which this server listens itself. */
  readonly isOwn: (address: string, port: number) => boolean;
}

/** Why an address is not dialled. */
export type AddressRefusal = 'not-an-address' | 'never' | 'denied' | 'not-allowed' | 'own-port';

/**
 * Never dialled, whatever the configuration allows: a validation that could reach them would let
 * the owner of a DNS name talk to services of this machine or of its cloud.
 *
 * IPv4 and IPv6 special-purpose registries (RFC 6890). Addresses that embed an IPv4 address are
 * refused as a whole, because a translator or tunnel may deliver them to it: IPv4-mapped and
 * IPv4-compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215), SIIT (RFC 7915), Teredo (RFC 4380),
 * 6to4 (RFC 3056).
 */
const never: readonly string[] = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '192.88.99.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  // metadata and control addresses of clouds outside of the link-local range
  '100.100.100.200/32',
  '168.63.129.16/32',
  'fd00:ec2::/32',
  'fd20:ce::254/128',
  '::/96',
  '::ffff:0:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/32',
  '2002::/16',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
];

/**
 * Judges each address that a validation is about to dial: at each redirect and each attempt, and
 * never a name. Owner of nothing: pure after construction.
 */
export class AddressPolicy {
  readonly #never = rangesOf(never);
  readonly #allowed: readonly IpRange[];
  readonly #denied: readonly IpRange[];
  readonly #isOwn: AddressPolicyOptions['isOwn'];

  /** @throws TypeError if a text is no network in CIDR notation */
  constructor({ allowed, denied, isOwn }: AddressPolicyOptions) {
    this.#allowed = rangesOf(allowed);
    this.#denied = rangesOf(denied);
    this.#isOwn = isOwn;
  }

  /** Undefined: it may be dialled. */
  refusal(address: string, port: number): AddressRefusal | undefined {
    if (isIP(address) === 0 || address.includes('%')) return 'not-an-address';
    if (isIpv4Mapped(address) || isIsatap(address) || covers(this.#never, address)) return 'never';
    if (covers(this.#denied, address)) return 'denied';
    if (!covers(this.#allowed, address)) return 'not-allowed';
    return this.#isOwn(address, port) ? 'own-port' : undefined;
  }
}

/** Whether it is the configuration that refuses an address, and not what the address is. */
export const isByConfiguration = (refusal: AddressRefusal | undefined): boolean =>
  refusal === 'denied' || refusal === 'not-allowed';

/** What a refusal means, for the person who asked for the certificate. */
export const refusalText: Readonly<Record<AddressRefusal, string>> = {
  'not-an-address': 'it is not an IP address',
  never: 'loopback, link-local, metadata, multicast and embedded addresses are never validated',
  denied: 'the CA may not reach this network',
  'not-allowed': 'it is outside the networks that the CA validates',
  'own-port': 'it is a port of the CA itself',
};

/** A network without its length is refused: a host that was meant as a network would go unseen. */
const rangesOf = (networks: readonly string[]): readonly IpRange[] =>
  networks.map((network) => {
    const range = IpRange.parse(network);
    if (!range.ok || !network.includes('/'))
      throw new TypeError(`${network} is not a network such as 10.0.0.0/8`);
    return range.value;
  });

const covers = (ranges: readonly IpRange[], address: string): boolean =>
  ranges.some((range) => range.covers(address));

/** Interface identifiers 0000:5efe and 0200:5efe embed an IPv4 address (RFC 5214 section 6.1). */
function isIsatap(address: string): boolean {
  if (isIP(address) !== 6) return false;
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const [first, last] = [groups(head), groups(tail ?? '')];
  const all = [...first, ...new Array<string>(8 - first.length - last.length).fill('0'), ...last];
  return (all[4] === '0' || all[4] === '200') && all[5] === '5efe';
}
