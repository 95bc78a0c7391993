import { connect, type Socket } from 'node:net';
import type { Clock } from '../../src/common/runtime/index.ts';
import { parseListenerAddress } from './address.ts';
import { ByteStream } from './byte-stream.ts';
import { ProbeFailure } from './failure.ts';
import type { ProvenListener, Shown } from './listener.ts';
import { startTls } from './preamble/index.ts';
import { handshake } from './tls/handshake.ts';
import { noApplicationProtocol } from './tls/numbers.ts';
import { AlertFailure } from './tls/records.ts';

/** What the last bytes of the server may take after the client said goodbye. */
const lingerMs = 250;

/** One handshake over a new connection, within this time. Throws ProbeFailure. */
export async function lookOnce(
  listener: ProvenListener,
  { clock, limitMs, signal }: { clock: Clock; limitMs: number; signal: AbortSignal },
): Promise<Shown> {
  const protocols = listener.protocol === 'tls' ? ['h2', 'http/1.1'] : [];
  try {
    return await connection(listener, protocols, { clock, limitMs, signal });
  } catch (thrown) {
    // a server of another protocol may insist on its own name, or on none
    if (protocols.length === 0 || !(thrown instanceof AlertFailure)) throw thrown;
    if (thrown.description !== noApplicationProtocol) throw thrown;
    return connection(listener, [], { clock, limitMs, signal });
  }
}

async function connection(
  { address, serverName, protocol }: ProvenListener,
  applicationProtocols: readonly string[],
  { clock, limitMs, signal }: { clock: Clock; limitMs: number; signal: AbortSignal },
): Promise<Shown> {
  const target = parseListenerAddress(address);
  if (target === undefined) throw new ProbeFailure('the address is malformed');
  if (signal.aborted) throw new ProbeFailure('the probe was ended');
  const socket = connect({ ...target, noDelay: true });
  const stream = new ByteStream(socket);
  let isReached = false;
  socket.once('connect', () => (isReached = true));
  let isEnded = false;
  const end = (reason: string): void => {
    isEnded = true;
    socket.destroy(new ProbeFailure(reason));
  };
  const onAbort = (): void => end('the probe was ended');
  signal.addEventListener('abort', onAbort, { once: true });
  const cancel = clock.after(limitMs, () => end(`no handshake within ${limitMs / 1000} s`));
  try {
    await startTls(protocol, stream);
    const shown = await handshake(stream, { serverName, applicationProtocols });
    await ended(socket, clock);
    return shown;
  } catch (thrown) {
    if (thrown instanceof ProbeFailure) thrown.isRefusal = isReached && !isEnded;
    throw thrown;
  } finally {
    cancel();
    signal.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

/**
 * Waits until the server closed too. A connection that is closed with bytes unread is reset, which
 * servers log.
 */
function ended(socket: Socket, clock: Clock): Promise<void> {
  if (socket.closed) return Promise.resolve();
  return new Promise((resolve) => {
    const cancel = clock.after(lingerMs, resolve);
    socket.once('close', () => {
      cancel();
      resolve();
    });
    socket.end();
  });
}
