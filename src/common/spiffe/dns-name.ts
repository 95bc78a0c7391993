import { fail, ok, type Result } from '../errors/index.ts';

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * A DNS name for a SAN: lower case, LDH labels, no wildcard, no trailing dot, not an IP address
 * (RFC 5890, RFC 6125).
 */
export function parseDnsName(text: string): Result<string> {
  if (text.length === 0 || text.length > 253)
    return fail(
      'DNS_NAME_INVALID',
      `DNS name ${JSON.stringify(text.slice(0, 80))} has ${text.length} characters`,
    );
  const labels = text.split('.');
  const bad = labels.find((part) => !label.test(part));
  if (bad !== undefined)
    return fail(
      'DNS_NAME_INVALID',
      `DNS name ${JSON.stringify(text)} has the invalid label ${JSON.stringify(bad)}`,
    );
  if (/^[0-9]+$/.test(labels.at(-1) as string))
    return fail('DNS_NAME_INVALID', `${JSON.stringify(text)} looks like an IP address`);
  return ok(text);
}
