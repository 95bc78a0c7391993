import {
  acmePath,
  maximumJwsBytes,
  type Acme,
  type AcmeResource,
} from '../../../../services/index.ts';
import type { HttpAnswer, HttpPlugin, HttpRequest, HttpRoute } from '../../plugin.ts';
import { answerOf, failureAnswer, nonceAnswer } from './answers.ts';

/** A finalization waits 2 s for its certificate. */
const limits = { concurrent: 512, handlerSeconds: 30 } as const;

const id = ':id(^[0-9a-f-]{36}$)';

/** The path of each resource that is posted to, below `/acme`. */
const paths: readonly (readonly [path: string, resource: AcmeResource])[] = [
  ['/new-account', 'new-account'],
  ['/new-order', 'new-order'],
  ['/revoke-cert', 'revoke-cert'],
  ['/key-change', 'key-change'],
  [`/account/${id}`, 'account'],
  [`/account/${id}/orders`, 'orders'],
  [`/account/${id}/orders/:after(^[0-9a-f-]{36}$)`, 'orders'],
  [`/order/${id}`, 'order'],
  [`/order/${id}/finalize`, 'finalize'],
  [`/authz/${id}/:place(^[0-9]{1,3}$)`, 'authz'],
  [`/chall/${id}/:place(^[0-9]{1,3}$)/:type(^[a-z0-9-]{1,32}$)`, 'chall'],
  ['/cert/:serial(^[0-9a-f]{1,40}$)', 'cert'],
  ['/cert/:serial(^[0-9a-f]{1,40}$)/alternate/:alternate(^[1-9]$)', 'cert'],
];

/** ACME (RFC 8555): HTTP in front of the server of `src/services/acme`. */
export const acmePlugin = (acme: Acme): HttpPlugin => ({
  name: 'acme',
  listeners: ['tls', 'loopback'],
  limits,
  below: [`${acmePath}/`],
  needsPublicBaseUrl: true,
  errorForm: (failure) => failureAnswer(failure, acme),
  routes: [
    anonymous('directory', acme, () => ({
      status: 200,
      headers: { 'content-type': 'application/json', 'cache-control': 'no-cache' },
      body: JSON.stringify(acme.directory()),
    })),
    anonymous('new-nonce', acme, ({ isHead }) => nonceAnswer(acme, isHead)),
    get('/limits', () => ({
      status: 200,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      body: acme.limitsText(),
    })),
    get('/renewal-info/:certificate', async ({ parameters, client }) =>
      answerOf(await acme.renewalInfo(parameters['certificate'] ?? '', client), acme),
    ),
    ...paths.map(([path, resource]) => post(path, resource, acme)),
  ],
});

const get = (path: string, handle: HttpRoute['handle']): HttpRoute => ({
  method: 'GET',
  path: `${acmePath}${path}`,
  handle,
});

/** What needs no account is bounded by the address of its client. */
const anonymous = (
  resource: 'directory' | 'new-nonce',
  acme: Acme,
  answer: (request: HttpRequest) => HttpAnswer,
): HttpRoute =>
  get(`/${resource}`, async (request) => {
    const refused = await acme.refusalOf(resource, request.client);
    return refused === undefined ? answer(request) : answerOf(refused, acme);
  });

const post = (path: string, resource: AcmeResource, acme: Acme): HttpRoute => ({
  method: 'POST',
  path: `${acmePath}${path}`,
  body: { maximumBytes: maximumJwsBytes },
  handle: (request) => posted(resource, request, acme),
});

async function posted(
  resource: AcmeResource,
  { rawPath, headers, body, client, signal, parameters }: HttpRequest,
  acme: Acme,
): Promise<HttpAnswer> {
  const contentType = headers['content-type'];
  const request = { url: acme.urls.at(rawPath), contentType, body, client, signal };
  return answerOf(await acme.post(resource, request, parameters), acme);
}
