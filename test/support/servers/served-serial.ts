import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import type { ProvenListener } from '../../../sidecar/probe/listener.ts';

/** What a client of its own trust needs for a handshake that is checked. */
export interface ClientTrust {
  readonly ca: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

/** The serial that a new connection is shown, lower-case hex. Nothing is verified without trust. */
export async function servedSerial(listener: ProvenListener, trust?: ClientTrust): Promise<string> {
  const socket = await handshake(listener, trust);
  const serial = socket.getPeerCertificate().serialNumber.toLowerCase();
  socket.destroy();
  return serial;
}

/** A new TLS connection to a server, past what its protocol says before TLS. */
export async function handshake(
  { address, serverName, protocol }: ProvenListener,
  trust?: ClientTrust,
): Promise<TLSSocket> {
  const [host = '', port = ''] = address.split(/:(?=\d+$)/);
  const socket = connectTcp({ host, port: Number(port) });
  const failed = new Promise<never>((_, reject) => socket.on('error', reject));
  failed.catch(() => {});
  try {
    await Promise.race([once(socket, 'connect'), failed]);
    if (protocol === 'postgresql') await Promise.race([askPostgres(socket), failed]);
    const tls = connect({
      socket,
      ...(serverName === undefined ? {} : { servername: serverName }),
      rejectUnauthorized: trust !== undefined,
      ...(trust && { ca: [...trust.ca], cert: trust.cert, key: trust.key }),
      ALPNProtocols: protocol === 'postgresql' ? [] : ['http/1.1'],
    });
    tls.on('error', () => socket.destroy());
    await Promise.race([once(tls, 'secureConnect'), failed, closed(socket)]);
    return tls;
  } catch (thrown) {
    socket.destroy();
    throw thrown;
  }
}

const closed = async (socket: Socket): Promise<never> => {
  await once(socket, 'close');
  throw new Error('the connection was closed');
};

/** SSLRequest, which PostgreSQL answers with S. */
async function askPostgres(socket: Socket): Promise<void> {
  socket.write(Buffer.from('0000000804d2162f', 'hex'));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (answer.toString() !== 'S') throw new Error(`PostgreSQL takes no TLS: ${answer}`);
}
