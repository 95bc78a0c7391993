import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isLoopbackUrl } from '../../common/runtime/index.ts';

export interface IssuerHttpOptions {
  /** Reads the PEM of the CAs for each request, so that a new file counts. Undefined: the system's. */
  readonly caPem: (() => string) | undefined;
  readonly timeoutMs: number;
  /** Whether plain HTTP is allowed on loopback. */
  readonly allowHttp: boolean;
}

export interface IssuerRequest {
  readonly url: string;
  readonly bearer?: string | undefined;
  /** A body makes it a POST. */
  readonly json?: unknown;
  readonly signal?: AbortSignal;
}

/**
 * Asks an issuer over TLS. Redirects are not followed, the environment's proxies are not used, and
 * an answer has limits in size and time. Rejects with a plain Error, whose text holds no secret.
 */
export type IssuerHttp = (request: IssuerRequest) => Promise<unknown>;

const maximumAnswerBytes = 512 * 1024;

export const issuerHttp =
  (options: IssuerHttpOptions): IssuerHttp =>
  async (request) => {
    const url = new URL(request.url);
    const { status, body } = await send(url, request, options);
    if (status >= 300 && status < 400)
      throw new Error(`${url.host} answers with a redirect, which is not followed`);
    // the API server answers 201 to a review
    if (status !== 200 && status !== 201)
      throw new Error(`${url.host}${url.pathname} answers with status ${status}`);
    try {
      return JSON.parse(body.toString('utf8'));
    } catch {
      throw new Error(`${url.host}${url.pathname} answers with something else than JSON`);
    }
  };

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

function send(
  url: URL,
  { bearer, json, signal }: IssuerRequest,
  { caPem, timeoutMs, allowHttp }: IssuerHttpOptions,
): Promise<Answer> {
  const secure = url.protocol === 'https:';
  if (!secure && !(url.protocol === 'http:' && allowHttp && isLoopbackUrl(url)))
    return Promise.reject(new Error(`${url.href} is not https`));
  const body = json === undefined ? undefined : Buffer.from(JSON.stringify(json));
  const requestOptions: RequestOptions = {
    method: body === undefined ? 'GET' : 'POST',
    agent: false,
    signal: AbortSignal.any([
      AbortSignal.timeout(timeoutMs),
      ...(signal === undefined ? [] : [signal]),
    ]),
    headers: {
      // an API server of Kubernetes gives its keys as application/jwk-set+json alone
      accept: 'application/json, application/jwk-set+json',
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      ...(body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': body.length }),
    },
  };
  return new Promise((resolve, reject) => {
    const onResponse = (response: IncomingMessage): void => {
      read(response, (size) => sent.destroy(new Error(`${url.host} answers with ${size} bytes`)))
        .then(resolve)
        .catch(reject);
    };
    const sent = secure
      ? httpsRequest(
          url,
          {
            ...requestOptions,
            minVersion: 'TLSv1.2',
            ...(caPem === undefined ? {} : { ca: caPem() }),
          },
          onResponse,
        )
      : httpRequest(url, requestOptions, onResponse);
    sent.on('error', (error: Error) => {
      reject(
        error.name === 'AbortError' || error.name === 'TimeoutError'
          ? new Error(`${url.host} gives no answer in ${timeoutMs} ms`)
          : error,
      );
    });
    sent.end(body);
  });
}

async function read(response: IncomingMessage, tooLong: (size: number) => void): Promise<Answer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maximumAnswerBytes) {
      tooLong(size);
      throw new Error(`the answer has more than ${maximumAnswerBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks) };
}
