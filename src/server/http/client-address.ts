import { isIP } from 'node:net';
import { unwrap } from '../../common/errors/index.ts';
import { IpRange } from '../../common/policy/index.ts';
import { plainAddress } from '../../common/runtime/index.ts';

/** @throws PkiError POLICY_INVALID if a text is neither an address nor a network in CIDR form */
export const trustedProxies = (networks: readonly string[]): readonly IpRange[] =>
  networks.map((network) => unwrap(IpRange.parse(network)));

/**
 * The address of a client. X-Forwarded-For is read from its end, as long as the address so far is
 * that of a trusted proxy. A client can have invented everything further left.
 */
export function clientAddress(
  peer: string,
  forwardedFor: string | readonly string[] | undefined,
  proxies: readonly IpRange[],
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

const isTrusted = (address: string, proxies: readonly IpRange[]): boolean =>
  proxies.some((proxy) => proxy.covers(address));
