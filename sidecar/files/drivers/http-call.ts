import { request, type IncomingMessage } from 'node:http';
import { PkiError } from '../../../src/common/errors/index.ts';
import { addressOf } from './local-address.ts';

export interface HttpCall {
  /** As of `localAddress`. */
  readonly address: string;
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
}

const maximumBody = 8 * 1024 * 1024;

/** One request on a connection of its own. Rejects with the error of the system. */
export function callHttp(call: HttpCall, signal: AbortSignal): Promise<HttpAnswer> {
  const address = addressOf(call.address);
  const where =
    'path' in address
      ? { socketPath: address.path, host: 'localhost' }
      : { host: address.host, port: address.port };
  const { method, path, headers, body } = call;
  const sent = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { ...where, method, path, headers: { ...headers, ...sent }, agent: false, signal },
      (incoming) => read(incoming).then(resolve, reject),
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function read(incoming: IncomingMessage): Promise<HttpAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maximumBody)
      throw new PkiError('DRIVER_FAILED', `the answer is longer than ${maximumBody} bytes`);
    chunks.push(chunk);
  }
  return { status: incoming.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') };
}
