import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';

export type TestRequest = IncomingMessage & PassThrough;

/** A request whose body a test writes, without a socket. */
export const testRequest = (
  said: {
    readonly method?: string;
    readonly url?: string;
    readonly httpVersion?: string;
    readonly headers?: IncomingHttpHeaders;
    readonly remoteAddress?: string;
  } = {},
): TestRequest =>
  Object.assign(new PassThrough(), {
    method: said.method ?? 'GET',
    url: said.url ?? '/',
    httpVersion: said.httpVersion ?? '1.1',
    headers: said.headers ?? { host: 'ca.test' },
    socket: { remoteAddress: said.remoteAddress ?? '192.0.2.1' },
  }) as unknown as TestRequest;
