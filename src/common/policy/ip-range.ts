import { BlockList, isIP } from 'node:net';
import { fail, ok, type Result } from '../errors/index.ts';

const mapped = new BlockList();
mapped.addSubnet('::ffff:0:0', 96, 'ipv6');

const familyOf = (ip: string): 'ipv4' | 'ipv6' => (isIP(ip) === 4 ? 'ipv4' : 'ipv6');

/** ::ffff:0:0/96 (RFC 4291 section 2.5.5.2): some readers take such an address for the IPv4 one. */
export const isIpv4Mapped = (ip: string): boolean => isIP(ip) === 6 && mapped.check(ip, 'ipv6');

/** An IP address, or a range in CIDR notation. */
export class IpRange {
  readonly text: string;
  readonly #family: 'ipv4' | 'ipv6';
  readonly #list = new BlockList();

  private constructor(text: string, address: string, prefix: number) {
    this.text = text;
    this.#family = familyOf(address);
    this.#list.addSubnet(address, prefix, this.#family);
  }

  static parse(text: string): Result<IpRange> {
    const [address = '', prefixText, more] = text.split('/');
    const family = isIP(address);
    const bits = family === 4 ? 32 : 128;
    const prefix =
      prefixText === undefined ? bits : /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : -1;
    if (family === 0 || address.includes('%') || more !== undefined || prefix < 0 || prefix > bits)
      return fail(
        'POLICY_INVALID',
        `${JSON.stringify(text)} is neither an IP address nor a range such as 10.0.0.0/8`,
      );
    if (isIpv4Mapped(address))
      return fail('POLICY_INVALID', `${JSON.stringify(text)}: write it as an IPv4 range`);
    return ok(new IpRange(text, address, prefix));
  }

  covers(ip: string): boolean {
    return isIP(ip) !== 0 && familyOf(ip) === this.#family && this.#list.check(ip, this.#family);
  }

  /** Also an IPv4 address that is written as an IPv6 one: some readers take both for the same. */
  touches(ip: string): boolean {
    return isIP(ip) !== 0 && this.#list.check(ip, familyOf(ip));
  }
}
