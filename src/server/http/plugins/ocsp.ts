import { createHash } from 'node:crypto';
import type { Clock } from '../../../common/runtime/index.ts';
import {
  maximumOcspRequestBytes,
  ocspErrorResponse,
  type OcspError,
} from '../../../certs/index.ts';
import type { OcspReply } from '../../../issuance/index.ts';
import { jsonErrorForm } from '../failure.ts';
import type { HttpAnswer, HttpPlugin, HttpRequest } from '../plugin.ts';

/** Each answer is one read of the database. */
const limits = { concurrent: 256, handlerSeconds: 10 } as const;

/**
 * So long a cache keeps an answer at most, in seconds: whoever asks through one learns of a
 * revocation that much later.
 */
const longestCacheSeconds = 3_600;

export interface OcspSource {
  readonly reply: (authorityId: string, requestDer: Buffer) => Promise<OcspReply>;
  readonly clock: Pick<Clock, 'now'>;
  /** Called with the status of each answer, or with its error. */
  readonly observe: (result: 'good' | 'revoked' | OcspError) => void;
}

/**
 * The OCSP responder of each authority, below `/ocsp/<authority id>` (RFC 6960, appendix A). It is
 * offered over plain HTTP, since answers are signed. GET answers have the headers that let caches
 * and content networks keep them (RFC 5019, section 6).
 */
export const ocspPlugin = (source: OcspSource): HttpPlugin => ({
  name: 'ocsp',
  listeners: ['tls', 'plain'],
  limits,
  errorForm: jsonErrorForm,
  routes: [
    {
      method: 'GET',
      path: '/ocsp/',
      raw: true,
      handle: async ({ rawRest, headers }) => {
        const slash = rawRest.indexOf('/');
        const request = slash < 0 ? undefined : requestIn(rawRest.slice(slash + 1));
        if (request === undefined) return refused('malformedRequest', source);
        const reply = await source.reply(rawRest.slice(0, slash), request);
        return cached(answered(reply, source), reply, headers, source.clock.now());
      },
    },
    {
      method: 'POST',
      path: '/ocsp/',
      raw: true,
      body: { maximumBytes: maximumOcspRequestBytes, types: ['application/ocsp-request'] },
      handle: async ({ rawRest, body }) => {
        const reply = await source.reply(rawRest.replace(/\/$/, ''), body);
        return answered(reply, source);
      },
    },
  ],
});

const headersOf = { 'content-type': 'application/ocsp-response' } as const;

function answered(reply: OcspReply, source: OcspSource): HttpAnswer {
  if (reply.kind === 'error') return refused(reply.error, source);
  source.observe(reply.status);
  return { status: 200, headers: headersOf, body: reply.der };
}

/** The status is in the response itself: HTTP has delivered it. */
function refused(error: OcspError, { observe }: OcspSource): HttpAnswer {
  observe(error);
  return {
    status: 200,
    headers: { ...headersOf, 'cache-control': 'max-age=0, no-cache' },
    body: ocspErrorResponse(error),
  };
}

function cached(
  answer: HttpAnswer,
  reply: OcspReply,
  asked: HttpRequest['headers'],
  now: number,
): HttpAnswer {
  if (reply.kind === 'error') return answer;
  const etag = `"${createHash('sha256').update(reply.der).digest('hex').slice(0, 40)}"`;
  const left = Math.max(0, reply.nextUpdate - now);
  const headers = {
    ...headersOf,
    'last-modified': httpDate(reply.producedAt),
    expires: httpDate(reply.nextUpdate),
    etag,
    'cache-control':
      `max-age=${Math.min(left, longestCacheSeconds)}, ` + 'public, no-transform, must-revalidate',
  };
  const same = (asked['if-none-match'] ?? '').split(',').some((tag) => tag.trim() === etag);
  return same ? { status: 304, headers } : { ...answer, headers };
}

const httpDate = (seconds: number): string => new Date(seconds * 1000).toUTCString();

/**
 * The request in a path: base64, percent-encoded. Many clients leave `+`, `/` and `=` as they are.
 */
function requestIn(path: string): Buffer | undefined {
  let text: string;
  try {
    text = decodeURIComponent(path);
  } catch {
    return undefined;
  }
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length > 2 * maximumOcspRequestBytes)
    return undefined;
  return Buffer.from(text, 'base64');
}
