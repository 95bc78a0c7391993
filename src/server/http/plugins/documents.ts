import { hash } from 'node:crypto';
import { PkiError } from '../../../common/errors/index.ts';
import { jsonErrorForm } from '../failure.ts';
import type { HttpAnswer, HttpPlugin } from '../plugin.ts';

/** Enough for many readers at once: each answer is a document that already exists. */
const limits = { concurrent: 256, handlerSeconds: 10 } as const;

export interface BundleSource {
  /**
   * The SPIFFE bundle document.
   *
   * @throws PkiError NO_ISSUER while there is none
   */
  readonly document: () => string;
  readonly refreshHintSeconds: number;
}

/**
 * The SPIFFE trust bundle of our trust domain (SPIFFE Trust Domain and Bundle, section 5.2). It has
 * no signature, so that readers over a network need TLS.
 */
export const bundlePlugin = ({ document, refreshHintSeconds }: BundleSource): HttpPlugin => ({
  name: 'bundle',
  listeners: ['tls', 'loopback'],
  limits,
  errorForm: jsonErrorForm,
  routes: [
    {
      method: 'GET',
      path: '/bundle',
      handle: () => ({
        status: 200,
        headers: {
          'content-type': 'application/json',
          'cache-control': `max-age=${refreshHintSeconds}`,
        },
        body: document(),
      }),
    },
  ],
});

/**
 * The bundle endpoint for foreign trust domains (SPIFFE Federation, section 5). It is the same
 * document, at the root of listeners of its own.
 */
export const bundleEndpointPlugin = ({
  document,
  refreshHintSeconds,
}: BundleSource): HttpPlugin => ({
  name: 'bundle-endpoint',
  listeners: ['federation'],
  limits,
  errorForm: jsonErrorForm,
  routes: [
    {
      method: 'GET',
      path: '/',
      handle: ({ headers }) => {
        const body = document();
        const etag = `"${hash('sha256', body, 'base64url')}"`;
        const caching = { 'cache-control': `public, max-age=${refreshHintSeconds}`, etag };
        return headers['if-none-match'] === etag
          ? { status: 304, headers: caching }
          : { status: 200, headers: { 'content-type': 'application/json', ...caching }, body };
      },
    },
  ],
});

/**
 * The complete CRL of each authority, and those of the shards of its leaves. They are offered over
 * plain HTTP, since they are signed (RFC 5280, section 4.2.1.13). A shard has a number above 0.
 */
export const crlPlugin = (
  crl: (authorityId: string, shard: number) => Promise<Buffer>,
): HttpPlugin => ({
  name: 'crl',
  listeners: ['tls', 'plain'],
  limits,
  errorForm: jsonErrorForm,
  below: ['/crl/'],
  routes: [
    {
      method: 'GET',
      path: '/crl/:id(^[0-9A-Za-z-]{1,64}).crl',
      handle: async ({ parameters }): Promise<HttpAnswer> => ({
        status: 200,
        headers: { 'content-type': 'application/pkix-crl' },
        body: await crl(parameters['id'] ?? '', 0),
      }),
    },
    {
      method: 'GET',
      path: '/crl/:id(^[0-9A-Za-z-]{1,64})/:shard(^[1-9][0-9]{0,14}).crl',
      handle: async ({ parameters }): Promise<HttpAnswer> => ({
        status: 200,
        headers: { 'content-type': 'application/pkix-crl' },
        body: await crl(parameters['id'] ?? '', Number(parameters['shard'])),
      }),
    },
  ],
});

/** Relying parties read it daily; a proxy between may keep it for an hour. */
const namesRootsMaxAge = 3_600;

/**
 * The trusted roots of names, PEM. A list of roots has no signature, so that readers over a network
 * need TLS. `roots`: empty while there are none.
 */
export const namesPlugin = (roots: () => string): HttpPlugin => ({
  name: 'names',
  listeners: ['tls', 'loopback'],
  limits,
  errorForm: jsonErrorForm,
  routes: [
    {
      method: 'GET',
      path: '/names/roots.pem',
      handle: (): HttpAnswer => {
        const body = roots();
        if (body === '')
          throw new PkiError('NOT_FOUND', 'this server has no root of names', {
            next: 'Set names.enabled, and start the server again.',
          });
        return {
          status: 200,
          headers: {
            'content-type': 'application/x-pem-file',
            'cache-control': `max-age=${namesRootsMaxAge}`,
          },
          body,
        };
      },
    },
  ],
});

/**
 * The certificate of each authority, to which certificates of names point (RFC 5280 section
 * 4.2.2.1, caIssuers). It is beside the CRL, over plain HTTP too, since it is signed.
 */
export const issuerPlugin = (
  certificateDer: (authorityId: string) => Buffer | undefined,
): HttpPlugin => ({
  name: 'issuer',
  listeners: ['tls', 'plain'],
  limits,
  errorForm: jsonErrorForm,
  routes: [
    {
      method: 'GET',
      path: '/crl/:id(^[0-9A-Za-z-]{1,64}).cer',
      handle: ({ parameters }): HttpAnswer => {
        const id = parameters['id'] ?? '';
        const body = certificateDer(id);
        if (body === undefined)
          throw new PkiError('NOT_FOUND', `there is no certificate of an authority ${id}`);
        return { status: 200, headers: { 'content-type': 'application/pkix-cert' }, body };
      },
    },
  ],
});
