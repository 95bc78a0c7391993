import { PkiError } from '../errors/index.ts';

const advice: Readonly<Record<string, string>> = {
  EADDRINUSE:
    'Another process listens there: "ss -ltnp" names it. Stop it, or configure another port.',
  EACCES:
    'A port below 1024 takes the capability CAP_NET_BIND_SERVICE. Give it to this process, ' +
    'or configure a port from 1024 on.',
  EADDRNOTAVAIL:
    'No interface of this machine has the address. Configure one that "ip address" shows.',
};

/** Why a port can not be listened on. `what` names the port and its key in the configuration. */
export function portError(
  what: string,
  { address, port }: { readonly address: string; readonly port: number },
  error: NodeJS.ErrnoException,
): PkiError {
  const { code = error.message } = error;
  const next = advice[code];
  return new PkiError(
    code === 'EADDRINUSE' ? 'SOCKET_IN_USE' : 'CONFIG_INVALID',
    `${what} ${address}:${port} can not be used: ${code}`,
    { cause: error, grade: 'fatal', ...(next === undefined ? {} : { next }) },
  );
}
