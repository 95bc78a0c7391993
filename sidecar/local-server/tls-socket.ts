import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ShownCertificate } from './options.ts';

export interface TlsSocketOptions {
  readonly certificate: ShownCertificate;
  /** The handshake is done: the socket for node:http2. */
  readonly onSecured: (secured: Socket) => void;
  /** The handshake failed; the socket is closed. `code` is OpenSSL's or the system's. */
  readonly onFailed: (code: string) => void;
}

/**
 * Speaks TLS on an accepted socket. grpc-js finds the connection of a call only by the remote
 * address, which is `id`. Who does not finish the handshake loses the connection to the limit for a
 * first call.
 */
export function serveTls(socket: Socket, id: string, options: TlsSocketOptions): void {
  const { certificate, onSecured, onFailed } = options;
  const secureContext = certificate.context();
  if (secureContext === undefined) {
    socket.destroy();
    onFailed('NO_CERTIFICATE');
    return;
  }
  const secured = new TLSSocket(socket, {
    isServer: true,
    secureContext,
    ALPNProtocols: ['h2'],
    requestCert: false,
  });
  Object.defineProperty(secured, 'remoteAddress', { value: id });
  let done = false;
  secured.on('error', (error: NodeJS.ErrnoException) => {
    secured.destroy();
    if (!done) onFailed(error.code ?? 'TLS_FAILED');
    done = true;
  });
  secured.once('secure', () => {
    done = true;
    // node:http2 waits for the event of a client otherwise; for its own sockets tls.Server says so
    Object.assign(secured, { secureConnecting: false });
    if (secured.alpnProtocol === 'h2') return onSecured(secured);
    secured.destroy();
    onFailed('NO_ALPN');
  });
}
