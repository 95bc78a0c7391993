import { BlockList, isIP } from 'node:net';

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
  '::ffff:0:0/96',
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
 *
 * The lists are kept apart by family, since Node's BlockList lets an IPv4 rule match a mapped IPv6
 * address and the other way round.
 */
export class AddressPolicy {
  readonly #never = listsOf(never);
  readonly #allowed: Lists;
  readonly #denied: Lists;
  readonly #isOwn: AddressPolicyOptions['isOwn'];

  /** @throws TypeError if a text is no network in CIDR notation */
  constructor({ allowed, denied, isOwn }: AddressPolicyOptions) {
    this.#allowed = listsOf(allowed);
    this.#denied = listsOf(denied);
    this.#isOwn = isOwn;
  }

  /** Undefined: it may be dialled. */
  refusal(address: string, port: number): AddressRefusal | undefined {
    if (isIP(address) === 0 || address.includes('%')) return 'not-an-address';
    if (covers(this.#never, address) || isIsatap(address)) return 'never';
    if (covers(this.#denied, address)) return 'denied';
    if (!covers(this.#allowed, address)) return 'not-allowed';
    return this.#isOwn(address, port) ? 'own-port' : undefined;
  }
}

/** What a refusal means, for the person who asked for the certificate. */
export const refusalText: Readonly<Record<AddressRefusal, string>> = {
  'not-an-address': 'it is not an IP address',
  never: 'loopback, link-local, metadata, multicast and embedded addresses are never validated',
  denied: 'the CA may not reach this network',
  'not-allowed': 'it is outside the networks that the CA validates',
  'own-port': 'it is a port of the CA itself',
};

interface Lists {
  readonly ipv4: BlockList;
  readonly ipv6: BlockList;
}

function listsOf(networks: readonly string[]): Lists {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const network of networks) {
    const [address = '', bits = '', ...more] = network.split('/');
    const version = isIP(address);
    const prefix = /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
    if (version === 0 || more.length > 0 || !(prefix <= (version === 4 ? 32 : 128)))
      throw new TypeError(`${network} is not a network such as 10.0.0.0/8`);
    const family = version === 4 ? 'ipv4' : 'ipv6';
    lists[family].addSubnet(address, prefix, family);
  }
  return lists;
}

function covers(lists: Lists, address: string): boolean {
  const family = isIP(address) === 4 ? 'ipv4' : 'ipv6';
  return lists[family].check(address, family);
}

/** Interface identifiers 0000:5efe and 0200:5efe embed an IPv4 address (RFC 5214 section 6.1). */
function isIsatap(address: string): boolean {
  if (isIP(address) !== 6) return false;
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const [first, last] = [groups(head), groups(tail ?? '')];
  const all = [...first, ...new Array<string>(8 - first.length - last.length).fill('0'), ...last];
  return (all[4] === '0' || all[4] === '200') && all[5] === '5efe';
}
