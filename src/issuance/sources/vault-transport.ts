import { request as httpRequest } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';

/** The part of a node-vault request, and of the expected answer, that is used here. */
interface TransportRequest {
  readonly uri: string;
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
}

interface TransportResponse {
  readonly statusCode: number;
  readonly body: unknown;
  readonly request: { readonly path: string };
}

export interface TransportOptions {
  readonly caPem?: string;
  readonly timeoutMs: number;
}

const maximumAnswerBytes = 1024 * 1024;

/**
 * The transport under node-vault. The default transport of node-vault follows redirects with the
 * token in the header, takes proxies and VAULT_SKIP_VERIFY from the environment, and does not limit
 * the size of an answer. This one does none of that.
 */
export function vaultTransport({ caPem, timeoutMs }: TransportOptions): {
  readonly defaults: () => (request: TransportRequest) => Promise<TransportResponse>;
  /** From now on Vault proves itself under these CAs. Undefined: those of the system. */
  readonly trust: (caPem: string | undefined) => void;
} {
  let agent = agentFor(caPem);
  const send = (options: TransportRequest): Promise<TransportResponse> =>
    new Promise((resolve, reject) => {
      const url = new URL(options.uri);
      const body =
        options.json === undefined ? undefined : Buffer.from(JSON.stringify(options.json));
      const headers = {
        ...options.headers,
        'x-vault-request': 'true',
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(body.length) }),
      };
      const onResponse: Parameters<typeof httpRequest>[1] &
        ((response: import('node:http').IncomingMessage) => void) = (
        response: import('node:http').IncomingMessage,
      ) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > maximumAnswerBytes) sent.destroy(new Error('the answer is too long'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            statusCode: response.statusCode ?? 0,
            body: parsed(Buffer.concat(chunks)),
            request: { path: url.pathname },
          }),
        );
      };
      const sent =
        url.protocol === 'https:'
          ? httpsRequest(
              url,
              { method: options.method, headers, agent, signal: AbortSignal.timeout(timeoutMs) },
              onResponse,
            )
          : httpRequest(
              url,
              { method: options.method, headers, signal: AbortSignal.timeout(timeoutMs) },
              onResponse,
            );
      sent.on('error', reject);
      sent.end(body);
    });
  return {
    defaults: () => send,
    trust: (ca) => {
      agent = agentFor(ca);
    },
  };
}

/**
 * No connection is kept open. Calls are days apart, and a seal or a restart between them must not
 * appear as a reset of an old connection.
 */
const agentFor = (ca: string | undefined): Agent =>
  new Agent({ keepAlive: false, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) });

function parsed(bytes: Buffer): unknown {
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return {};
  }
}
