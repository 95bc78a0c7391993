import { isIPv4, isIPv6 } from 'node:net';

/**
 * The 4 or 16 octets of an IP address in text (RFC 5280 section 4.2.1.6). Undefined if the text is
 * no IP address, or is not canonical (RFC 5952 for IPv6).
 */
export function ipOctets(text: string): Buffer | undefined {
  const octets = isIPv4(text)
    ? Buffer.from(text.split('.').map(Number))
    : isIPv6(text) && !text.includes('%')
      ? ipv6Octets(text)
      : undefined;
  return octets !== undefined && ipText(octets) === text ? octets : undefined;
}

/**
 * The canonical text of an IPv4 or IPv6 address in any usual text. Undefined: it is none, it has a
 * zone, or it is an IPv4 address in the form of an IPv6 one, which readers take for either.
 */
export function canonicalIp(text: string): string | undefined {
  if (isIPv4(text)) return text.split('.').map(Number).join('.');
  if (!isIPv6(text) || text.includes('%') || text.includes('.')) return undefined;
  const octets = ipv6Octets(text);
  return octets === undefined || octets.subarray(0, 12).equals(mappedPrefix)
    ? undefined
    : ipText(octets);
}

const mappedPrefix = Buffer.from('00000000000000000000ffff', 'hex');

/** The canonical text of an IP address. Undefined if it has neither 4 nor 16 octets. */
export function ipText(octets: Buffer): string | undefined {
  if (octets.length === 4) return octets.join('.');
  if (octets.length !== 16) return undefined;
  const groups = Array.from({ length: 8 }, (_, index) => octets.readUInt16BE(index * 2));
  const { start, length } = longestZeros(groups);
  const hex = (part: readonly number[]): string =>
    part.map((group) => group.toString(16)).join(':');
  return length < 2
    ? hex(groups)
    : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

function ipv6Octets(text: string): Buffer | undefined {
  const [head = '', tail] = text.split('::');
  const groupsOf = (part: string | undefined): readonly string[] =>
    part === undefined || part === '' ? [] : part.split(':');
  const [first, last] = [groupsOf(head), groupsOf(tail)];
  const zeros = tail === undefined ? 0 : 8 - first.length - last.length;
  const groups = [...first, ...new Array<string>(Math.max(0, zeros)).fill('0'), ...last];
  // a trailing IPv4 address is not the canonical text
  if (groups.length !== 8 || text.includes('.')) return undefined;
  const octets = Buffer.alloc(16);
  for (const [index, group] of groups.entries())
    octets.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  return octets;
}

/** The first of the longest runs of zeros. */
function longestZeros(groups: readonly number[]): {
  readonly start: number;
  readonly length: number;
} {
  let longest = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start += 1) {
    let end = start;
    while (groups[end] === 0) end += 1;
    if (end - start > longest.length) longest = { start, length: end - start };
    start = Math.max(start, end - 1);
  }
  return longest;
}
