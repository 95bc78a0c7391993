import { isAbsolute } from 'node:path';
import type { NetConnectOpts } from 'node:net';

const maximumUnixPathBytes = 107;

/**
 * Reads the address of a listener: `host:port`, `[IPv6]:port` or the absolute path of a Unix
 * socket. Undefined: it is none of these.
 */
export function parseListenerAddress(text: string): NetConnectOpts | undefined {
  if (isAbsolute(text))
    return Buffer.byteLength(text) <= maximumUnixPathBytes && !text.includes('\0')
      ? { path: text }
      : undefined;
  const parts =
    /^(?:\[([0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(text);
  const host = parts?.[1] ?? parts?.[2];
  const port = Number(parts?.[3]);
  if (host === undefined || port < 1 || port > 65_535) return undefined;
  return { host, port };
}
