import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Stands where certificates point, hands on to the plain port of the server, and counts. */
export class Publisher implements AsyncDisposable {
  readonly asked: string[] = [];
  /** What is answered at a path, which the server does not see. */
  readonly fixed = new Map<string, Buffer>();
  forwardsTo = 0;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  static async start(): Promise<Publisher> {
    const publisher = new Publisher();
    publisher.#server.listen(0, '127.0.0.1');
    await once(publisher.#server, 'listening');
    return publisher;
  }

  get base(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url = '', method = '' } = request;
    this.asked.push(`${method} ${url.split('/')[1]}`);
    const fixed = this.fixed.get(url);
    if (fixed !== undefined) {
      response.end(fixed);
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const answer = await fetch(`http://127.0.0.1:${this.forwardsTo}${url}`, {
      method,
      headers: { 'content-type': request.headers['content-type'] ?? '' },
      ...(method === 'POST' ? { body: Buffer.concat(chunks) } : {}),
    });
    response.writeHead(answer.status, {
      'content-type': answer.headers.get('content-type') ?? '',
    });
    response.end(Buffer.from(await answer.arrayBuffer()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
