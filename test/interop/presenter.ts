import { once } from 'node:events';
import { createServer, type TLSSocket } from 'node:tls';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../src/common/x509/index.ts';
import type { Credential } from '../support/server.ts';
import { listen } from '../support/workload-lib.ts';

export type Pair = Pick<Credential, 'chainDer' | 'privateKey'>;

/** A TLS server with this certificate that admits everybody, and answers lines and HTTP. */
export class Presenter implements AsyncDisposable {
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets = new Set<TLSSocket>();
  port = 0;

  constructor({ chainDer, privateKey }: Pair) {
    this.#server = createServer(
      {
        cert: certificatesToPem(chainDer),
        key: pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
        requestCert: true,
        rejectUnauthorized: false,
      },
      (socket) => {
        this.#sockets.add(socket);
        socket.on('error', () => undefined);
        socket.once('data', (bytes: Buffer) => {
          const http = bytes.toString().startsWith('GET ');
          socket.end(http ? 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello' : 'hello\n');
        });
      },
    );
    this.#server.on('tlsClientError', () => undefined);
  }

  /** On a port of its own choice, or on the one of a presenter that is disposed. */
  async listen(port = 0): Promise<this> {
    if (port === 0) this.port = await listen(this.#server);
    else {
      this.port = port;
      this.#server.listen(port, '127.0.0.1');
      await once(this.#server, 'listening');
    }
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
