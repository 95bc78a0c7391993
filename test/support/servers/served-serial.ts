import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import type { ProvenListener } from '../../../sidecar/probe/listener.ts';

/** The certificate chain and key of a client, PEM. */
export interface ClientPair {
  readonly cert: string;
  readonly key: string;
}

export interface ClientOptions {
  readonly client?: ClientPair;
  /** The roots that it verifies the server with, PEM. Absent: nothing is verified. */
  readonly roots?: readonly string[];
}

/** The serial that a new connection is shown, lower-case hex. */
export async function servedSerial(
  listener: ProvenListener,
  options: ClientOptions = {},
): Promise<string> {
  const socket = await handshake(listener, options);
  const serial = socket.getPeerCertificate().serialNumber.toLowerCase();
  socket.destroy();
  return serial;
}

/** A new TLS connection to a server, past what its protocol says before TLS. */
export async function handshake(
  { address, serverName, protocol }: ProvenListener,
  options: ClientOptions = {},
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
      rejectUnauthorized: options.roots !== undefined,
      ...(options.roots && { ca: [...options.roots] }),
      ...options.client,
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

/**
 * Whether a server answers a greeting of its protocol from a client of this certificate, and does not
 * end the connection by an alert.
 */
export async function admits(
  listener: ProvenListener,
  client: ClientPair,
  greeting: Buffer,
): Promise<boolean> {
  try {
    const socket = await handshake(listener, { client });
    const answered = new Promise<boolean>((resolve) => {
      // nginx answers over TLS that it does not trust a certificate
      socket.once('data', (bytes) => resolve(!bytes.includes('HTTP/1.1 400')));
      socket.once('close', () => resolve(false));
    });
    socket.write(greeting);
    const admitted = await answered;
    socket.destroy();
    return admitted;
  } catch {
    return false;
  }
}
