import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';

/** The key of an account, with the algorithm that it signs with. */
export interface AcmeKey {
  readonly privateKey: KeyObject;
  readonly alg: string;
  readonly jwk: JsonWebKey;
}

type Algorithm = 'ES256' | 'RS256';

export function acmeKey(alg: Algorithm = 'ES256'): AcmeKey {
  const { privateKey } =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, alg, jwk: createPublicKey(privateKey).export({ format: 'jwk' }) };
}

export const base64url = (value: Buffer | string | object): string =>
  Buffer.from(
    Buffer.isBuffer(value) || typeof value === 'string' ? value : JSON.stringify(value),
  ).toString('base64url');

/** A flattened JWS. Tests alter its parts. */
export interface FlatJws {
  readonly protected: string;
  readonly payload: string;
  readonly signature: string;
}

export const signature = (input: string, { privateKey }: Pick<AcmeKey, 'privateKey'>): string =>
  base64url(sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }));

/** `payload` undefined: POST-as-GET. */
export function jws(header: object, payload: object | string | undefined, key: AcmeKey): FlatJws {
  const [protectedText, payloadText] = [base64url(header), base64url(payload ?? '')];
  return {
    protected: protectedText,
    payload: payloadText,
    signature: signature(`${protectedText}.${payloadText}`, key),
  };
}

/** An external account binding, right unless a test says otherwise. */
export function binding(
  { id, mac }: { readonly id: string; readonly mac: Buffer },
  {
    url,
    jwk,
    header = {},
    digest = 'sha256',
  }: {
    readonly url: string;
    readonly jwk: JsonWebKey;
    readonly header?: object;
    readonly digest?: string;
  },
): FlatJws {
  const protectedText = base64url({ alg: 'HS256', kid: id, url, ...header });
  const payload = base64url(jwk);
  const signed = createHmac(digest, mac).update(`${protectedText}.${payload}`).digest();
  return { protected: protectedText, payload, signature: base64url(signed) };
}

export interface AcmeReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body; without JSON: empty. */
  readonly json: Readonly<Record<string, unknown>>;
  /** The type of a problem document without its prefix; of no problem document: empty. */
  readonly problem: string;
}

/** The wire of ACME, for tests that send what no client would. */
export class AcmeWire {
  readonly base: string;

  /** @param base such as `http://127.0.0.1:1234/acme` */
  constructor(base: string) {
    this.base = base;
  }

  ask(
    method: string,
    url: string,
    {
      headers = {},
      body,
    }: { readonly headers?: Record<string, string>; readonly body?: string } = {},
  ): Promise<AcmeReply> {
    const { promise, resolve, reject } = Promise.withResolvers<AcmeReply>();
    const request = httpRequest(url, { method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        const type = response.headers['content-type'] ?? '';
        const json = /json/.test(type) ? (JSON.parse(text) as Record<string, unknown>) : {};
        const problem =
          type === 'application/problem+json'
            ? String(json['type']).replace('urn:ietf:params:acme:error:', '')
            : '';
        const { statusCode: status = 0, headers: head } = response;
        resolve({ status, headers: head, text, json, problem });
      });
    });
    request.on('error', reject);
    request.end(body);
    return promise;
  }

  async nonce(): Promise<string> {
    const { headers } = await this.ask('HEAD', `${this.base}/new-nonce`);
    return String(headers['replay-nonce']);
  }

  /** Sends a body as it is. */
  send(
    url: string,
    body: object | string,
    headers: Record<string, string> = {},
  ): Promise<AcmeReply> {
    return this.ask('POST', url, {
      headers: { 'content-type': 'application/jose+json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  /** A request of an account (`kid`), or of a key (`jwk`): right, but for what `header` replaces. */
  async post(
    url: string,
    payload: object | string | undefined,
    {
      key,
      kid,
      header = {},
    }: { readonly key: AcmeKey; readonly kid?: string; readonly header?: object },
  ): Promise<AcmeReply> {
    const by = kid === undefined ? { jwk: key.jwk } : { kid };
    const full = { alg: key.alg, nonce: await this.nonce(), url, ...by, ...header };
    return this.send(url, jws(full, payload, key));
  }
}
