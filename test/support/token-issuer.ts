import { generateKeyPairSync } from 'node:crypto';
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { exportJWK, generateKeyPair, SignJWT, type JWK, type JWTPayload } from 'jose';
import { pemEncode, pkcs8Of, spkiOf } from '../../src/common/x509/index.ts';
import { createCertificate, createRoot, serverAuth } from './test-pki.ts';

type SigningKey = Awaited<ReturnType<typeof generateKeyPair>>['privateKey'];

export interface IssuerKeyPair {
  readonly kid: string | undefined;
  readonly alg: string;
  readonly privateKey: SigningKey;
  readonly jwk: JWK;
}

/** An OIDC issuer on loopback: discovery and JWKS over TLS, and tokens signed with its keys. */
export interface TokenIssuer extends AsyncDisposable {
  readonly url: string;
  /** PEM of the CA of its TLS certificate. */
  readonly caPem: string;
  /** Paths that were asked for, in order. */
  readonly asked: string[];
  /** The published keys; a test may change them. */
  keys: IssuerKeyPair[];
  /** What the discovery document says in place of the truth. */
  discovery: Readonly<Record<string, unknown>>;
  /** Unix seconds at which a token is issued, where the test states no other. */
  now: () => number;
  /** Answers each request in the place of the issuer; undefined: the issuer answers. */
  answer:
    | ((path: string, body: string) => TestAnswer | Promise<TestAnswer> | undefined)
    | undefined;
  newKey(alg?: string, kid?: string | null): Promise<IssuerKeyPair>;
  /** A token with the first key. `undefined` claims are left out. */
  token(claims?: Readonly<Record<string, unknown>>, options?: TokenOptions): Promise<string>;
  /** Ends the listener; requests fail from then on. */
  stop(): Promise<void>;
  /** Listens again, at the same port. */
  start(): Promise<void>;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface TokenOptions {
  readonly key?: IssuerKeyPair;
  readonly header?: Readonly<Record<string, unknown>>;
  /** Unix seconds; default: the issuer's clock. */
  readonly now?: number;
}

export const tokenAudience = 'meshca';

export async function newIssuerKey(alg = 'RS256', kid: string | null = crypto.randomUUID()) {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(publicKey);
  const named = kid === null ? undefined : kid;
  return {
    kid: named,
    alg,
    privateKey,
    jwk: { ...jwk, alg, use: 'sig', ...(named === undefined ? {} : { kid: named }) },
  };
}

// oxlint-disable-next-line test-sizes/function-lines -- one issuer, part by part
export async function startTokenIssuer(
  options: { readonly plain?: boolean } = {},
): Promise<TokenIssuer> {
  const root = createRoot('issuer.test');
  const tls = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const certificate = createCertificate(root, spkiOf(tls), root.subjectDer, {
    dnsSans: ['localhost'],
    extendedKeyUsage: [serverAuth],
    keyUsage: ['digitalSignature'],
    notAfterIn: 7200,
  });
  let listener: ReturnType<typeof createHttps> | ReturnType<typeof createHttp> | undefined;
  let port = 0;
  const respond = async (path: string, body: string, response: ServerResponse): Promise<void> => {
    const special = await self.answer?.(path, body);
    if (special !== undefined) {
      response.writeHead(special.status, special.headers).end(special.body ?? '');
      return;
    }
    const document =
      path === '/.well-known/openid-configuration'
        ? { issuer: self.url, jwks_uri: `${self.url}/jwks`, ...self.discovery }
        : path === '/jwks'
          ? { keys: self.keys.map(({ jwk }) => jwk) }
          : undefined;
    if (document === undefined) response.writeHead(404).end();
    else response.setHeader('content-type', 'application/json').end(JSON.stringify(document));
  };
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    self.asked.push(request.url ?? '');
    // as an API server of Kubernetes does
    if (request.url === '/jwks' && !/jwk-set|\*\/\*/.test(request.headers.accept ?? '')) {
      response.writeHead(406).end();
      return;
    }
    void text(request).then((body) => respond(request.url ?? '', body, response));
  };
  const self: TokenIssuer = {
    get url() {
      return `${options.plain === true ? 'http' : 'https'}://localhost:${port}`;
    },
    caPem: pemEncode('CERTIFICATE', root.certificateDer),
    asked: [],
    keys: [await newIssuerKey()],
    discovery: {},
    answer: undefined,
    now: () => Math.floor(Date.now() / 1000),
    newKey: newIssuerKey,
    token: async (claims = {}, { key = self.keys[0], header = {}, now } = {}) => {
      const issuedAt = now ?? self.now();
      const { alg, kid, privateKey } = key as IssuerKeyPair;
      const payload = {
        iss: self.url,
        sub: 'repo:example/app:ref:refs/heads/main',
        aud: tokenAudience,
        iat: issuedAt,
        exp: issuedAt + 300,
        jti: crypto.randomUUID(),
        ...claims,
      };
      return new SignJWT(JSON.parse(JSON.stringify(payload)) as JWTPayload)
        .setProtectedHeader({ alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }), ...header })
        .sign(privateKey);
    },
    start: async () => {
      listener =
        options.plain === true
          ? createHttp(handler)
          : createHttps(
              {
                key: pemEncode('PRIVATE KEY', pkcs8Of(tls)),
                cert: pemEncode('CERTIFICATE', certificate),
              },
              handler,
            );
      const opened = listener;
      await new Promise<void>((resolve, reject) => {
        opened.once('error', reject);
        opened.listen(port, 'localhost', resolve);
      });
      port = (opened.address() as AddressInfo).port;
    },
    stop: async () => {
      const closing = listener;
      listener = undefined;
      if (closing === undefined) return;
      closing.closeAllConnections();
      await new Promise((resolve) => closing.close(resolve));
    },
    [Symbol.asyncDispose]: () => self.stop(),
  };
  await self.start();
  return self;
}
