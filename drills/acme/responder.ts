import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Answers http-01 challenges (RFC 8555 section 8.3). */
export class HttpResponder implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #answers: Map<string, string>;

  private constructor(server: Server, answers: Map<string, string>) {
    this.#server = server;
    this.#answers = answers;
    this.port = (server.address() as AddressInfo).port;
  }

  static async listen(address: string, port = 0): Promise<HttpResponder> {
    const answers = new Map<string, string>();
    const server = createServer((request, response) => {
      const token = request.url?.split('/').at(-1) ?? '';
      const answer = answers.get(token);
      response.writeHead(answer === undefined ? 404 : 200).end(answer);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, address, resolve);
    });
    return new HttpResponder(server, answers);
  }

  offer(token: string, keyAuthorization: string): void {
    this.#answers.set(token, keyAuthorization);
  }

  withdraw(token: string): void {
    this.#answers.delete(token);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => void this.#server.close(resolve));
  }
}
