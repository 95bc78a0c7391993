import { BlockList, isIP } from 'node:net';
import { plainAddress } from '../../common/runtime/index.ts';

/** @throws TypeError if a text is neither an address nor a network in CIDR form */
export function trustedProxies(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const { address, family, prefix } = parseNetwork(network);
    list.addSubnet(address, prefix, family);
  }
  return list;
}

export const isNetwork = (text: string): boolean => {
  try {
    return parseNetwork(text) !== undefined;
  } catch {
    return false;
  }
};

interface Network {
  readonly address: string;
  readonly family: 'ipv4' | 'ipv6';
  readonly prefix: number;
}

function parseNetwork(text: string): Network {
  const [address, bits, ...more] = text.split('/') as [string, ...string[]];
  const version = isIP(address);
  const longest = version === 4 ? 32 : 128;
  const prefix = bits === undefined ? longest : /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN;
  if (version === 0 || more.length > 0 || !(prefix <= longest))
    throw new TypeError(`${text} is neither an IP address nor a network such as 10.0.0.0/8`);
  return { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' };
}

/**
 * The address of a client. X-Forwarded-For is read from its end, as long as the address so far is
 * that of a trusted proxy. A client can have invented everything further left.
 */
export function clientAddress(
  peer: string,
  forwardedFor: string | readonly string[] | undefined,
  proxies: BlockList,
): string {
  let address = plainAddress(peer);
  const hops = [forwardedFor ?? []].flat().join(',').split(',');
  while (isTrusted(address, proxies)) {
    const hop = plainAddress((hops.pop() ?? '').trim());
    if (isIP(hop) === 0) return address;
    address = hop;
  }
  return address;
}

function isTrusted(address: string, proxies: BlockList): boolean {
  const version = isIP(address);
  return version !== 0 && proxies.check(address, version === 4 ? 'ipv4' : 'ipv6');
}
