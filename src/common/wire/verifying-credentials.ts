import type { Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import { pemEncode } from '../x509/index.ts';
import type { VerifiedServer } from './server-trust.ts';

/** The certificate that this agent presents. */
export interface ClientIdentity {
  readonly privateKeyPkcs8Der: Buffer;
  readonly chainDer: readonly Buffer[];
}

export interface VerifyingCredentialsOptions {
  /** Read at each connection. Undefined: the agent presents none (attestation). */
  readonly identity: () => ClientIdentity | undefined;
  /** Throws to refuse. Called once per connection, before a single byte of HTTP/2. */
  readonly verify: (socket: TLSSocket) => VerifiedServer;
  readonly handshakeTimeoutMs: number;
}

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * Channel credentials that make the TLS connection themselves: TLS 1.3 only, ALPN h2, never a
 * resumed session. They verify the server themselves before grpc-js gets the socket, so that no
 * byte of a request can leave earlier.
 */
export class VerifyingCredentials extends ChannelCredentials {
  readonly #options: VerifyingCredentialsOptions;
  /** Why the last connection was refused. grpc-js would report only text. */
  lastFailure: unknown;
  lastServer: VerifiedServer | undefined;

  constructor(options: VerifyingCredentialsOptions) {
    super();
    this.#options = options;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(
    _target: unknown,
    _channelOptions: unknown,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    const calls = callCredentials ?? noCallCredentials;
    return {
      connect: (socket) => this.#connect(socket),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => calls,
      destroy: () => {},
    };
  }

  #connect(socket: Socket): Promise<{ socket: Socket; secure: boolean }> {
    const identity = this.#options.identity();
    return new Promise((resolve, reject) => {
      const tls = connect({
        socket,
        minVersion: 'TLSv1.3',
        ALPNProtocols: ['h2'],
        // OpenSSL knows neither our bundle nor SPIFFE IDs, so verifyServer verifies below
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
        ...(identity === undefined
          ? {}
          : {
              key: pemEncode('PRIVATE KEY', identity.privateKeyPkcs8Der),
              cert: identity.chainDer.map((der) => pemEncode('CERTIFICATE', der)).join(''),
            }),
      });
      const fail = (thrown: unknown): void => {
        clearTimeout(timer);
        this.lastFailure = thrown;
        tls.destroy();
        reject(thrown as Error);
      };
      const timer = setTimeout(
        () => fail(new Error('the TLS handshake took too long')),
        this.#options.handshakeTimeoutMs,
      );
      const onClose = (): void =>
        fail(new Error('the server closed the connection during the handshake'));
      tls.on('error', () => {});
      tls.once('error', fail);
      tls.once('close', onClose);
      tls.once('secureConnect', () => {
        try {
          this.lastServer = this.#options.verify(tls);
        } catch (thrown) {
          fail(thrown);
          return;
        }
        clearTimeout(timer);
        tls.off('close', onClose);
        tls.off('error', fail);
        // errors after the hand-over end the HTTP/2 session, which has its own listeners
        tls.on('error', (error) => {
          this.lastFailure = error;
        });
        resolve({ socket: tls, secure: true });
      });
    });
  }
}

const noCallCredentials = CallCredentials.createEmpty();
