import { readFileSync } from 'node:fs';
import type nodeVault from 'node-vault';
import type { client as VaultClient } from 'node-vault';
import { PkiError, type ErrorCode } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import { vaultTransport } from './vault-transport.ts';

/**
 * How we authenticate. Secrets are files that are read at each login, so that a rotated secret
 * needs no restart.
 */
export type VaultAuth =
  | {
      readonly method: 'approle';
      readonly mount: string;
      readonly roleId: string;
      readonly secretIdFile: string;
    }
  | {
      readonly method: 'kubernetes';
      readonly mount: string;
      readonly role: string;
      readonly jwtFile: string;
    }
  | { readonly method: 'token'; readonly file: string };

export interface VaultOptions {
  readonly address: string;
  readonly namespace?: string;
  /** PEM of the CAs of its TLS certificate. Default: the CAs of the system. */
  readonly caPem?: string;
  readonly auth: VaultAuth;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Answer = Readonly<Record<string, unknown>>;

/**
 * Owner of one login to Vault or OpenBao. It logs in at first use, renews its token at two thirds
 * of its life, and logs in again when the token is gone. Messages name the path and the answer of
 * the upstream, never a credential.
 *
 * @throws PkiError UPSTREAM_UNAVAILABLE, UPSTREAM_SEALED, UPSTREAM_DENIED, UPSTREAM_INVALID
 */
export class VaultSession {
  readonly #options: VaultOptions;
  readonly #client: VaultClient;
  readonly #transport: ReturnType<typeof vaultTransport>;
  #caPem: string | undefined;
  #login: Promise<void> | undefined;
  #cancelRenewal: (() => void) | undefined;
  #closed = false;

  private constructor(options: VaultOptions, createClient: typeof nodeVault) {
    this.#options = options;
    const silent = (): void => {};
    this.#transport = vaultTransport({
      timeoutMs: options.timeoutMs,
      ...(options.caPem === undefined ? {} : { caPem: options.caPem }),
    });
    this.#caPem = options.caPem;
    this.#client = createClient({
      endpoint: options.address,
      'request-promise': this.#transport,
      // the debug output of node-vault shows whole requests
      debug: silent,
      token: 'none',
      namespace: options.namespace ?? 'none',
      pathPrefix: '',
    });
    // node-vault fills empty fields from VAULT_TOKEN, VAULT_NAMESPACE and VAULT_PREFIX
    const bare = this.#client as unknown as {
      token: string;
      namespace: string;
      pathPrefix: string;
    };
    bare.token = '';
    bare.namespace = options.namespace ?? '';
    bare.pathPrefix = '';
  }

  /** Most servers have no upstream: the library and its own are loaded for those that have one. */
  static async open(options: VaultOptions): Promise<VaultSession> {
    const { default: createClient } = await import('node-vault');
    return new VaultSession(options, createClient);
  }

  /** The CAs under which Vault proves itself. */
  get caPem(): string | undefined {
    return this.#caPem;
  }

  /** Takes other CAs into use, for the next request on. */
  trust(caPem: string | undefined): void {
    this.#caPem = caPem;
    this.#transport.trust(caPem);
  }

  read(path: string): Promise<Answer> {
    return this.#asking(path, () => this.#client.read(path));
  }

  list(path: string): Promise<Answer> {
    return this.#asking(path, () => this.#client.list(path));
  }

  write(path: string, data: object): Promise<Answer> {
    return this.#asking(path, () => this.#client.write(path, data));
  }

  /** Reads one field of a KV version 2 secret. */
  async secret({
    mount,
    path,
    field,
  }: {
    readonly mount: string;
    readonly path: string;
    readonly field: string;
  }): Promise<string> {
    const answer = await this.read(`${mount}/data/${path}`);
    const value = ((answer['data'] as Answer | undefined)?.['data'] as Answer | undefined)?.[field];
    if (typeof value !== 'string' || value === '')
      throw new PkiError(
        'UPSTREAM_INVALID',
        `the secret ${mount}/data/${path} has no text field ${field}`,
      );
    return value;
  }

  close(): void {
    this.#closed = true;
    this.#cancelRenewal?.();
  }

  async #asking(path: string, ask: () => Promise<unknown>): Promise<Answer> {
    const fresh = this.#login === undefined;
    await this.#loggedIn();
    try {
      return (await ask()) as Answer;
    } catch (thrown) {
      const error = translated(thrown, path);
      // an expired or revoked token looks like a missing policy: one new login tells them apart
      if (error.code !== 'UPSTREAM_DENIED' || fresh) throw error;
      this.#forget();
      await this.#loggedIn();
      try {
        return (await ask()) as Answer;
      } catch (again) {
        throw translated(again, path);
      }
    }
  }

  #loggedIn(): Promise<void> {
    if (this.#login !== undefined) return this.#login;
    const login = this.#authenticate();
    this.#login = login;
    login.catch(() => {
      if (this.#login === login) this.#login = undefined;
    });
    return login;
  }

  async #authenticate(): Promise<void> {
    const { auth } = this.#options;
    if (auth.method === 'token') {
      this.#client.token = secretFile(auth.file, 'token');
      const { data } = (await this.#own('auth/token/lookup-self', () =>
        this.#client.read('auth/token/lookup-self'),
      ).catch((thrown: unknown) => {
        throw endedToken(PkiError.from(thrown), auth.file);
      })) as { data: { ttl: number; renewable?: boolean } };
      this.#schedule(data.ttl, data.renewable === true);
      return;
    }
    const path = `auth/${auth.mount}/login`;
    const body =
      auth.method === 'approle'
        ? { role_id: auth.roleId, secret_id: secretFile(auth.secretIdFile, 'secret ID') }
        : { role: auth.role, jwt: secretFile(auth.jwtFile, 'service account token') };
    this.#client.token = '';
    const answer = (await this.#own(path, () => this.#client.write(path, body))) as {
      auth?: { client_token?: string; lease_duration?: number; renewable?: boolean };
    };
    const token = answer.auth?.client_token;
    if (typeof token !== 'string' || token === '')
      throw new PkiError('UPSTREAM_INVALID', `the answer of ${path} has no token`);
    this.#client.token = token;
    this.#schedule(answer.auth?.lease_duration ?? 0, answer.auth?.renewable === true);
  }

  /**
   * Counts a refused login as UPSTREAM_DENIED. Vault also answers 400, for a wrong role or secret
   * ID.
   */
  async #own(path: string, ask: () => Promise<unknown>): Promise<Answer> {
    try {
      return (await ask()) as Answer;
    } catch (thrown) {
      const error = translated(thrown, path);
      throw error.code === 'UPSTREAM_INVALID'
        ? new PkiError('UPSTREAM_DENIED', error.message, { cause: thrown })
        : error;
    }
  }

  #schedule(ttlSeconds: number, renewable: boolean): void {
    this.#cancelRenewal?.();
    this.#cancelRenewal = undefined;
    // 0: the token has no end
    if (ttlSeconds <= 0 || this.#closed) return;
    this.#cancelRenewal = this.#options.clock.after(
      (ttlSeconds * 1000 * 2) / 3,
      () => void (renewable ? this.#renew(ttlSeconds) : Promise.resolve(this.#forget())),
    );
  }

  /** @param ttlSeconds what the token was given before; less now: it nears its maximum age */
  async #renew(ttlSeconds: number): Promise<void> {
    try {
      const answer = (await this.#client.write('auth/token/renew-self', {})) as {
        auth?: { lease_duration?: number; renewable?: boolean };
      };
      const granted = answer.auth?.lease_duration ?? 0;
      if (granted < 1) this.#forget();
      else this.#schedule(granted, answer.auth?.renewable === true && granted >= ttlSeconds - 1);
    } catch (thrown) {
      this.#forget();
      const error = translated(thrown, 'auth/token/renew-self');
      const { logger } = this.#options;
      // told as an error of the server (500), though it is the end of every token
      const ended = /max TTL/i.test(error.message);
      if (ended || error.code === 'UPSTREAM_DENIED' || error.code === 'UPSTREAM_INVALID')
        logger.info(
          {},
          'the token for the upstream has reached its maximum age, as every token does; the next call logs in again',
        );
      else
        logger.warn(
          { ...errorFields(error) },
          'the token for the upstream was not renewed; the next call logs in again',
        );
    }
  }

  #forget(): void {
    this.#cancelRenewal?.();
    this.#cancelRenewal = undefined;
    this.#login = undefined;
  }
}

/** A token from a file can not be had anew by this server when it ends. */
const endedToken = (error: PkiError, path: string): PkiError =>
  error.code === 'UPSTREAM_DENIED'
    ? new PkiError(
        'UPSTREAM_DENIED',
        `the upstream does not know the token in ${path}: it was revoked, or has reached ` +
          `its maximum age (${error.message})`,
        {
          cause: error,
          next:
            `Put a new token into ${path}: the server reads the file at its next attempt. ` +
            'AppRole or a service account (authorities.upstream.auth) log in by themselves.',
        },
      )
    : error;

function secretFile(path: string, content: string): string {
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (text !== '') return text;
  } catch (thrown) {
    throw new PkiError(
      'UPSTREAM_DENIED',
      `the file with the ${content} for the upstream can not be read: ${path} ` +
        `(${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
    );
  }
  throw new PkiError(
    'UPSTREAM_DENIED',
    `the file with the ${content} for the upstream is empty: ${path}`,
  );
}

function translated(thrown: unknown, path: string): PkiError {
  if (thrown instanceof PkiError) return thrown;
  const response = (thrown as { response?: { statusCode: number; body?: { errors?: unknown } } })
    .response;
  if (response === undefined) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    return new PkiError(
      'UPSTREAM_UNAVAILABLE',
      `the upstream does not answer (${code ?? message})`,
      { cause: thrown },
    );
  }
  const errors = Array.isArray(response.body?.errors)
    ? response.body.errors.map(String).join('; ').replace(/\s+/g, ' ').slice(0, 300)
    : '';
  const answer = errors === '' ? `status ${response.statusCode}` : errors;
  return new PkiError(
    codeFor(response.statusCode, answer),
    `the upstream refused ${path}: ${answer}`,
    {
      cause: thrown,
    },
  );
}

function codeFor(status: number, answer: string): ErrorCode {
  if (status === 503 && /sealed/i.test(answer)) return 'UPSTREAM_SEALED';
  if (status === 401 || status === 403) return 'UPSTREAM_DENIED';
  if (status === 429 || status >= 500) return 'UPSTREAM_UNAVAILABLE';
  return 'UPSTREAM_INVALID';
}
