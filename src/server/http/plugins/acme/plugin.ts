import { PkiError } from '../../../../common/errors/index.ts';
import { uuidForm } from '../../../../common/runtime/index.ts';
import {
  acmePath,
  maximumExchangeBytes,
  maximumJwsBytes,
  type Acme,
  type AcmeOutcome,
  type AcmeResource,
  type TokenExchangeRequest,
} from '../../../../services/index.ts';
import type { HttpAnswer, HttpPlugin, HttpRequest, HttpRoute } from '../../plugin.ts';
import { answerOf, failureAnswer, nonceAnswer, type AcmeFront } from './answers.ts';

/** A finalization waits 2 s for its certificate. */
const limits = { concurrent: 512, handlerSeconds: 30 } as const;

const id = `:id(^${uuidForm}$)`;

/** The path of each resource that is posted to, below `/acme`. */
const paths: readonly (readonly [path: string, resource: AcmeResource])[] = [
  ['/new-account', 'new-account'],
  ['/new-order', 'new-order'],
  ['/revoke-cert', 'revoke-cert'],
  ['/key-change', 'key-change'],
  [`/account/${id}`, 'account'],
  [`/account/${id}/orders`, 'orders'],
  [`/account/${id}/orders/:after(^${uuidForm}$)`, 'orders'],
  [`/order/${id}`, 'order'],
  [`/order/${id}/finalize`, 'finalize'],
  [`/authz/${id}/:place(^[0-9]{1,3}$)`, 'authz'],
  [`/chall/${id}/:place(^[0-9]{1,3}$)/:type(^[a-z0-9-]{1,32}$)`, 'chall'],
  ['/cert/:serial(^[0-9a-f]{1,40}$)', 'cert'],
  ['/cert/:serial(^[0-9a-f]{1,40}$)/alternate/:alternate(^[1-9]$)', 'cert'],
];

/** Where requests go. */
export interface AcmeSource {
  readonly urls: Acme['urls'];
  /** Undefined: the ACME server is not open, because the token has not given it its key yet. */
  present(): Acme | undefined;
  /** Exchanges a token of another issuer for an EAB key. Never throws. */
  exchange(request: TokenExchangeRequest): Promise<AcmeOutcome>;
}

/** ACME (RFC 8555): HTTP in front of the server of `src/services/acme`. */
export const acmePlugin = (source: AcmeSource): HttpPlugin => ({
  name: 'acme',
  listeners: ['tls', 'loopback'],
  limits,
  below: [`${acmePath}/`],
  needsPublicBaseUrl: true,
  errorForm: (failure) => failureAnswer(failure, frontOf(source)),
  routes: [
    anonymous('directory', source, () => ({
      status: 200,
      headers: { 'content-type': 'application/json', 'cache-control': 'no-cache' },
      body: JSON.stringify(opened(source).directory()),
    })),
    anonymous('new-nonce', source, ({ isHead }) => nonceAnswer(frontOf(source), isHead)),
    get('/limits', () => ({
      status: 200,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: opened(source).limitsText(),
    })),
    get('/renewal-info/:certificate', async ({ parameters, client }) =>
      answerOf(
        await opened(source).renewalInfo(parameters['certificate'] ?? '', client),
        frontOf(source),
      ),
    ),
    {
      method: 'POST',
      path: `${acmePath}/exchange`,
      body: { maximumBytes: maximumExchangeBytes },
      handle: (request) => exchanged(request, source),
    },
    ...paths.map(([path, resource]) => post(path, resource, source)),
  ],
});

function frontOf({ urls, present }: AcmeSource): AcmeFront {
  const acme = present();
  return { urls, nonce: acme === undefined ? undefined : () => acme.nonce() };
}

/** @throws PkiError STARTING_UP */
function opened({ present }: AcmeSource): Acme {
  const acme = present();
  if (acme !== undefined) return acme;
  throw new PkiError('STARTING_UP', 'the ACME server waits for its key in the token', {
    next: 'Ask again in some seconds. If it stays so, the log of the server says why.',
  });
}

const get = (path: string, handle: HttpRoute['handle']): HttpRoute => ({
  method: 'GET',
  path: `${acmePath}${path}`,
  handle,
});

/** What needs no account is bounded by the address of its client. */
const anonymous = (
  resource: 'directory' | 'new-nonce',
  source: AcmeSource,
  answer: (request: HttpRequest) => HttpAnswer,
): HttpRoute =>
  get(`/${resource}`, async (request) => {
    const refused = await opened(source).refusalOf(resource, request.client);
    return refused === undefined ? answer(request) : answerOf(refused, frontOf(source));
  });

const post = (path: string, resource: AcmeResource, source: AcmeSource): HttpRoute => ({
  method: 'POST',
  path: `${acmePath}${path}`,
  body: { maximumBytes: maximumJwsBytes },
  handle: (request) => posted(resource, request, source),
});

async function posted(
  resource: AcmeResource,
  { rawPath, headers, body, client, signal, parameters }: HttpRequest,
  source: AcmeSource,
): Promise<HttpAnswer> {
  const contentType = headers['content-type'];
  const request = { url: source.urls.at(rawPath), contentType, body, client, signal };
  return answerOf(await opened(source).post(resource, request, parameters), frontOf(source));
}

/** No part of ACME, but the way to an account of it. The address is judged before the request. */
async function exchanged(
  { headers, body, client, signal }: HttpRequest,
  source: AcmeSource,
): Promise<HttpAnswer> {
  const refused = await opened(source).refusalOfExchange(client);
  if (refused !== undefined) return answerOf(refused, frontOf(source));
  const { 'content-type': contentType, authorization } = headers;
  const outcome = await source.exchange({ contentType, authorization, body, client, signal });
  return answerOf(outcome, frontOf(source));
}
