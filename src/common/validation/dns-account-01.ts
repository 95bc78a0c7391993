import { createHash } from 'node:crypto';
import { validateDigestAt, type Dns01Dependencies } from './dns-01.ts';
import type { Evidence, Judged } from './outcome.ts';

export interface DnsAccount01Ask {
  /** A DNS name without `*.`. */
  readonly name: string;
  readonly keyAuthorization: string;
  readonly accountUri: string;
}

/**
 * The name of the record: each account has its own, so that several can have one at the same time
 * (draft-ietf-acme-dns-account-label section 3.2).
 */
export const dnsAccount01Name = (name: string, accountUri: string): string =>
  `_${base32(createHash('sha256').update(accountUri).digest().subarray(0, 10))}` +
  `._acme-challenge.${name}`;

/** The challenge dns-account-01. The value is that of dns-01. */
export const validateDnsAccount01 = (
  { name, keyAuthorization, accountUri }: DnsAccount01Ask,
  dependencies: Dns01Dependencies,
  signal: AbortSignal,
): Promise<Judged<Evidence>> =>
  validateDigestAt(dnsAccount01Name(name, accountUri), keyAuthorization, dependencies, signal);

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';

/** Of ten bytes: no padding (RFC 4648 section 6), in lower case. */
const base32 = (bytes: Buffer): string =>
  (
    BigInt(`0x${bytes.toString('hex')}`)
      .toString(2)
      .padStart(80, '0')
      .match(/.{5}/g) ?? []
  )
    .map((bits) => alphabet[Number.parseInt(bits, 2)])
    .join('');
