import { isIP } from 'node:net';

/**
 * Whether a Host is an IP address or localhost, with or without a port, and so does not depend on
 * DNS. HTTP/1.0 has no Host.
 */
export function isLocalHost(host: string | undefined): boolean {
  if (host === undefined) return true;
  const name = host.replace(/:[0-9]{1,5}$/, '');
  return name === 'localhost' || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** Whether an address to listen on or to connect to stays on this machine, whatever DNS says. */
export const isLoopback = (address: string): boolean =>
  address === 'localhost' ||
  address === '::1' ||
  (isIP(address) === 4 && address.startsWith('127.'));

/** The same for the host of a URL, where an IPv6 address stands in brackets. */
export const isLoopbackUrl = ({ hostname }: Pick<URL, 'hostname'>): boolean =>
  isLoopback(hostname.replace(/^\[|\]$/g, ''));
