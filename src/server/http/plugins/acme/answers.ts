import {
  problemDocument,
  type Acme,
  type AcmeAnswer,
  type AcmeLink,
  type AcmeOutcome,
  type AcmeProblem,
  type AcmeProblemType,
} from '../../../../services/index.ts';
import type { HttpAnswer, HttpFailure, HttpHeaders } from '../../plugin.ts';

/** `nonce`: undefined while the ACME server is not open. */
export interface AcmeFront {
  readonly urls: Acme['urls'];
  readonly nonce: (() => string) | undefined;
}

/** The head of every answer but the directory: a nonce, and the link to the directory. */
const commonHeaders = ({ urls, nonce }: AcmeFront, links: readonly AcmeLink[]): HttpHeaders => ({
  ...(nonce === undefined ? {} : { 'replay-nonce': nonce() }),
  'cache-control': 'no-store',
  // one field a link: some clients read no lists
  link: [
    `<${urls.directory}>;rel="index"`,
    ...links.map(({ url, rel }) => `<${url}>;rel="${rel}"`),
  ],
});

const headersOf = (front: AcmeFront, links: readonly AcmeLink[] = []): HttpHeaders =>
  commonHeaders(front, links);

/** The answer to a request for a nonce (RFC 8555 section 7.2): 200 for HEAD, 204 for GET. */
export const nonceAnswer = (front: AcmeFront, isHead: boolean): HttpAnswer => ({
  status: isHead ? 200 : 204,
  headers: headersOf(front),
});

export const answerOf = (outcome: AcmeOutcome, front: AcmeFront): HttpAnswer =>
  outcome.ok ? shown(outcome.answer, front) : refused(outcome.problem, front);

function shown(
  { status, location, links, retryAfterSeconds, body }: AcmeAnswer,
  front: AcmeFront,
): HttpAnswer {
  const headers = {
    ...headersOf(front, links),
    ...placeHeaders({ location, retryAfterSeconds }),
  };
  if (body === undefined) return { status, headers };
  return 'json' in body
    ? {
        status,
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body.json),
      }
    : {
        status,
        headers: { 'content-type': 'application/pem-certificate-chain', ...headers },
        body: body.chainPem,
      };
}

function refused(problem: AcmeProblem, front: AcmeFront): HttpAnswer {
  const { status, location, retryAfterSeconds, type } = problem;
  const links: readonly AcmeLink[] =
    type === 'rateLimited' ? [{ url: front.urls.limits, rel: 'help' }] : [];
  return {
    status,
    headers: {
      'content-type': 'application/problem+json',
      ...headersOf(front, links),
      ...placeHeaders({ location, retryAfterSeconds }),
    },
    body: problemDocument(problem),
  };
}

/** Retry-After in seconds: some clients read no date. */
const placeHeaders = ({
  location,
  retryAfterSeconds,
}: {
  readonly location: string | undefined;
  readonly retryAfterSeconds: number | undefined;
}): HttpHeaders => ({
  ...(location === undefined ? {} : { location }),
  ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }),
});

/** What the listener refuses is a problem document too, with a status and a nonce. */
export function failureAnswer(failure: HttpFailure, front: AcmeFront): HttpAnswer {
  const { status, code, message, next } = failure;
  const answer = refused(
    { type: typeOf(failure), status, detail: `${message}. ${next}`, code },
    front,
  );
  return { ...answer, headers: { ...answer.headers, ...failure.headers } };
}

function typeOf({ status, code }: HttpFailure): AcmeProblemType {
  if (code === 'OVERLOADED') return 'rateLimited';
  return status >= 500 ? 'serverInternal' : 'malformed';
}
