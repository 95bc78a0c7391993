import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { isLoopback } from '../../../src/common/runtime/index.ts';

/** Where a server of this machine listens. */
export type LocalAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number };

/** The absolute path of a Unix socket, or `host:port` of the loopback. */
export const localAddress = (description: string) =>
  z
    .string()
    .refine(
      (text) => parseLocalAddress(text) !== undefined,
      'write the absolute path of a Unix socket, or host:port on the loopback',
    )
    .describe(`${description}: the absolute path of a Unix socket, or host:port on the loopback`);

export function parseLocalAddress(text: string): LocalAddress | undefined {
  if (isAbsolute(text)) return text.includes('\0') ? undefined : { path: text };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? '';
  const port = Number(digits);
  return isLoopback(host) && port > 0 && port < 65_536 ? { host, port } : undefined;
}

export function addressOf(text: string): LocalAddress {
  const address = parseLocalAddress(text);
  if (address === undefined) throw new Error(`${text} is no local address`);
  return address;
}

/** Whether an error says that nobody listens: the server does not run. */
export function isAway(thrown: unknown): boolean {
  const { code = '', syscall } = thrown as NodeJS.ErrnoException;
  return syscall === 'connect' && ['ENOENT', 'ECONNREFUSED'].includes(code);
}
