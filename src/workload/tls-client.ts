import type { Socket } from 'node:net';
import {
  connect as connectSocket,
  type ConnectionOptions,
  type PeerCertificate,
  type TLSSocket,
} from 'node:tls';
import { PkiError } from '../common/errors/index.ts';
import { chainOf } from '../common/runtime/index.ts';
import type { Authorizer } from './authorize.ts';
import { issuerKeyIdOf } from './peers.ts';
import { tlsFailure } from './tls-failure.ts';
import { internalsOf, type X509Source } from './x509-source.ts';

/** How a client recognises the server, never by DNS name. */
export interface ClientOptions {
  readonly expect: Authorizer;
}

export interface ConnectOptions extends ClientOptions {
  readonly host?: string;
  readonly port?: number;
  /** A connected stream to speak TLS on, instead of host and port. */
  readonly socket?: Socket;
  /** Sent as SNI. It does not affect the check. */
  readonly servername?: string;
  readonly ALPNProtocols?: string[];
  /** For connect and handshake; default 10 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Options for one `tls.connect`, with the present certificate. Make new ones for each connection.
 * The server is checked as an X.509-SVID against `expect` before `secureConnect`. Never add
 * `session`: Node skips the check of a resumed one.
 */
export function tlsClientOptions(source: X509Source, options: ClientOptions): ConnectionOptions {
  const inside = internalsOf(source);
  return {
    secureContext: inside.secureContext(),
    minVersion: 'TLSv1.3',
    rejectUnauthorized: true,
    checkServerIdentity: (_host: string, certificate: PeerCertificate): Error | undefined => {
      try {
        inside.peers.check(chainOf(certificate), 'client', options.expect);
        return undefined;
      } catch (thrown) {
        return PkiError.from(thrown, 'HANDSHAKE_FAILED');
      }
    },
  };
}

/**
 * Opens a connection whose server is verified and authorized. Rejects with a PkiError. The
 * connection ends when the server's certificate expires.
 */
export function connectTls(source: X509Source, options: ConnectOptions): Promise<TLSSocket> {
  const { counters, peers, context } = internalsOf(source);
  const { expect, timeoutMs = 10_000, signal, ...where } = options;
  // the type forbids it, but plain JavaScript can pass it
  if ('session' in where)
    throw new PkiError('SESSION_RESUMED', 'a session can not be resumed by this client');
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ ...where, ...tlsClientOptions(source, { expect }) });
    // read as soon as it is available, since a refused connection no longer has it
    let issuerKeyId = '';
    socket.prependOnceListener('secure', () => {
      issuerKeyId = issuerKeyIdOf(socket);
    });
    const settle = (): void => {
      cancelTimer();
      signal?.removeEventListener('abort', onAbort);
      socket.off('error', refuse);
      socket.off('close', onClose);
    };
    const refuse = (thrown: unknown): void => {
      settle();
      const error = tlsFailure(thrown, socket.authorizationError);
      counters.failed('client', error, issuerKeyId);
      // later errors are consequences of the first
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const onClose = (): void =>
      refuse(
        new PkiError(
          'HANDSHAKE_FAILED',
          'the other side closed the connection during the handshake',
        ),
      );
    const onAbort = (): void =>
      refuse(new PkiError('CANCELLED', 'connecting was aborted', { cause: signal?.reason }));
    const cancelTimer = context.clock.after(timeoutMs, () =>
      refuse(new PkiError('HANDSHAKE_FAILED', `no TLS connection within ${timeoutMs} ms`)),
    );
    socket.once('error', refuse);
    socket.once('close', onClose);
    socket.once('secureConnect', () => {
      try {
        peers.admit(socket, 'client', expect);
      } catch (thrown) {
        refuse(thrown);
        return;
      }
      settle();
      counters.succeeded('client', issuerKeyId);
      resolve(socket);
    });
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
