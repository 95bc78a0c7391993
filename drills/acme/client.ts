import {
  createHash,
  createHmac,
  generateKeyPairSync,
  sign,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { request as httpRequest, Agent as HttpAgent, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest, Agent as HttpsAgent } from 'node:https';

/** A key for external account binding, as an operator hands it out. */
export interface Eab {
  readonly kid: string;
  readonly macKey: Buffer;
}

export interface AcmeAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body; without JSON: empty. */
  readonly json: Readonly<Record<string, any>>;
}

/** The server answered with a problem document (RFC 8555 section 6.7). */
export class AcmeProblem extends Error {
  readonly status: number;
  /** Without `urn:ietf:params:acme:error:`. */
  readonly type: string;

  constructor(url: string, { status, json, text }: AcmeAnswer) {
    const type = String(json['type'] ?? '').replace('urn:ietf:params:acme:error:', '');
    super(`${url}: ${status} ${type} ${String(json['detail'] ?? text.slice(0, 200))}`);
    this.status = status;
    this.type = type;
  }
}

export interface Identifier {
  readonly type: 'dns' | 'ip';
  readonly value: string;
}

const base64url = (value: Buffer | string | object): string =>
  Buffer.from(
    Buffer.isBuffer(value) || typeof value === 'string' ? value : JSON.stringify(value),
  ).toString('base64url');

/** Connections are kept, as those of most clients. Several clients may share one. */
export class AcmeTransport {
  readonly directoryUrl: string;
  #ca: string | undefined;
  readonly #agent: HttpAgent | HttpsAgent;
  #directory: Readonly<Record<string, any>> | undefined;
  #requests = 0;

  /** @param ca PEM of the roots of an https server */
  constructor(directoryUrl: string, ca?: string) {
    this.directoryUrl = directoryUrl;
    this.#ca = ca;
    const options = { keepAlive: true, maxSockets: 64 };
    this.#agent = directoryUrl.startsWith('https:')
      ? new HttpsAgent(options)
      : new HttpAgent(options);
  }

  /** So many were sent. */
  get requests(): number {
    return this.#requests;
  }

  /** PEM of the roots, for a server that has them only once it runs. */
  trust(ca: string): void {
    this.#ca = ca;
  }

  async directory(): Promise<Readonly<Record<string, any>>> {
    if (this.#directory !== undefined) return this.#directory;
    const answer = await this.ask('GET', this.directoryUrl);
    if (answer.status >= 400) throw new AcmeProblem(this.directoryUrl, answer);
    return (this.#directory = answer.json);
  }

  ask(
    method: 'GET' | 'HEAD' | 'POST',
    url: string,
    body?: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<AcmeAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<AcmeAnswer>();
    this.#requests += 1;
    const options = { method, headers, agent: this.#agent };
    const sent = url.startsWith('https:')
      ? httpsRequest(url, { ...options, ...(this.#ca === undefined ? {} : { ca: this.#ca }) })
      : httpRequest(url, options);
    sent.on('response', (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        const isJson = /json/.test(response.headers['content-type'] ?? '') && text !== '';
        const json = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    sent.on('error', reject);
    sent.end(body);
    return promise;
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** The holder of the key of one account. It owns its nonce, so that it sends one request at a time. */
export class AcmeClient {
  readonly #transport: AcmeTransport;
  readonly #key: KeyObject;
  readonly #jwk: JsonWebKey;
  #kid: string | undefined;
  #nonce: string | undefined;

  constructor(transport: AcmeTransport) {
    this.#transport = transport;
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey;
    const { crv, kty, x, y } = publicKey.export({ format: 'jwk' });
    // the order of RFC 7638
    this.#jwk = { crv, kty, x, y } as JsonWebKey;
  }

  /** RFC 8555 section 8.1. */
  keyAuthorization(token: string): string {
    return `${token}.${createHash('sha256').update(JSON.stringify(this.#jwk)).digest('base64url')}`;
  }

  async createAccount(eab?: Eab): Promise<void> {
    const url = String((await this.#transport.directory())['newAccount']);
    const externalAccountBinding = eab === undefined ? undefined : bindingOf(eab, url, this.#jwk);
    const { headers } = await this.post(url, {
      termsOfServiceAgreed: true,
      ...(externalAccountBinding === undefined ? {} : { externalAccountBinding }),
    });
    this.#kid = String(headers.location);
  }

  async createOrder(
    identifiers: readonly Identifier[],
    more: object = {},
  ): Promise<{ readonly url: string; readonly order: AcmeAnswer['json'] }> {
    const url = String((await this.#transport.directory())['newOrder']);
    const { headers, json } = await this.post(url, { identifiers, ...more });
    return { url: String(headers.location), order: json };
  }

  /**
   * A signed request; without a payload a POST-as-GET. A refused nonce is replaced, as every client
   * does.
   *
   * @throws AcmeProblem; an Error of the connection, which loses the nonce
   */
  async post(url: string, payload?: object): Promise<AcmeAnswer> {
    for (let tries = 1; ; tries += 1) {
      const nonce = await this.#takeNonce();
      const by = this.#kid === undefined ? { jwk: this.#jwk } : { kid: this.#kid };
      const head = base64url({ alg: 'ES256', nonce, url, ...by });
      const body = base64url(payload ?? '');
      const signature = sign('sha256', Buffer.from(`${head}.${body}`), {
        key: this.#key,
        dsaEncoding: 'ieee-p1363',
      });
      const jws = { protected: head, payload: body, signature: base64url(signature) };
      const answer = await this.#transport.ask('POST', url, JSON.stringify(jws), {
        'content-type': 'application/jose+json',
      });
      this.#nonce = nonceOf(answer);
      if (answer.status < 400) return answer;
      const problem = new AcmeProblem(url, answer);
      if (problem.type !== 'badNonce' || tries === 5) throw problem;
    }
  }

  async #takeNonce(): Promise<string> {
    const kept = this.#nonce;
    this.#nonce = undefined;
    if (kept !== undefined) return kept;
    const url = String((await this.#transport.directory())['newNonce']);
    const answer = await this.#transport.ask('HEAD', url);
    const fresh = nonceOf(answer);
    if (answer.status >= 400 || fresh === undefined) throw new AcmeProblem(url, answer);
    return fresh;
  }
}

const nonceOf = ({ headers }: AcmeAnswer): string | undefined => {
  const nonce = headers['replay-nonce'];
  return typeof nonce === 'string' ? nonce : undefined;
};

function bindingOf({ kid, macKey }: Eab, url: string, jwk: JsonWebKey): object {
  const head = base64url({ alg: 'HS256', kid, url });
  const payload = base64url(jwk);
  const mac = createHmac('sha256', macKey).update(`${head}.${payload}`).digest();
  return { protected: head, payload, signature: base64url(mac) };
}
