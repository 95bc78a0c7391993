import { readFileSync } from 'node:fs';
import nodeVault, { type client as VaultClient } from 'node-vault';
import { PkiError, type ErrorCode } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import { vaultTransport } from './vault-transport.ts';

/**
 * How we prove who we are. Secrets are files, read anew at each login, so that whoever rotates them
 * needs no restart of ours.
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
  /** CAs of its TLS certificate; default those of the system. */
  readonly caPem?: string;
  readonly auth: VaultAuth;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Answer = Readonly<Record<string, unknown>>;

/**
 * Owner of one login to Vault or OpenBao: logs in when first used, renews its token at two thirds
 * of its life, logs in again when the token is gone. Throws UPSTREAM_UNAVAILABLE, UPSTREAM_SEALED,
 * UPSTREAM_DENIED, UPSTREAM_INVALID; messages name the path and what the other side said, never a
 * credential.
 */
export class VaultSession {
  readonly #options: VaultOptions;
  readonly #client: VaultClient;
  #login: Promise<void> | undefined;
  #cancelRenewal: (() => void) | undefined;
  #closed = false;

  constructor(options: VaultOptions) {
    this.#options = options;
    const silent = (): void => {};
    this.#client = nodeVault({
      endpoint: options.address,
      'request-promise': vaultTransport({
        timeoutMs: options.timeoutMs,
        ...(options.caPem === undefined ? {} : { caPem: options.caPem }),
      }),
      // its debug output has requests in full
      debug: silent,
      token: 'none',
      namespace: options.namespace ?? 'none',
      pathPrefix: '',
    });
    // node-vault fills what is left empty from VAULT_TOKEN, VAULT_NAMESPACE and VAULT_PREFIX
    const bare = this.#client as unknown as {
      token: string;
      namespace: string;
      pathPrefix: string;
    };
    bare.token = '';
    bare.namespace = options.namespace ?? '';
    bare.pathPrefix = '';
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

  /** One field of a KV version 2 secret. */
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
      // a token that was revoked or ran out looks like a missing policy: one new login tells them
      // apart
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
      )) as { data: { ttl: number; renewable?: boolean } };
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
      throw new PkiError('UPSTREAM_INVALID', `${path} answered without a token`);
    this.#client.token = token;
    this.#schedule(answer.auth?.lease_duration ?? 0, answer.auth?.renewable === true);
  }

  /**
   * A refused login is a denial, also where the answer is 400 (a wrong role or secret ID gives
   * that).
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
    // 0: a token without an end
    if (ttlSeconds <= 0 || this.#closed) return;
    this.#cancelRenewal = this.#options.clock.after(
      (ttlSeconds * 1000 * 2) / 3,
      () => void (renewable ? this.#renew() : Promise.resolve(this.#forget())),
    );
  }

  async #renew(): Promise<void> {
    try {
      const answer = (await this.#client.write('auth/token/renew-self', {})) as {
        auth?: { lease_duration?: number; renewable?: boolean };
      };
      this.#schedule(answer.auth?.lease_duration ?? 0, answer.auth?.renewable === true);
    } catch (thrown) {
      const error = translated(thrown, 'auth/token/renew-self');
      this.#options.logger.warn(
        { ...errorFields(error) },
        'the token for the upstream was not renewed; the next call logs in again',
      );
      this.#forget();
    }
  }

  #forget(): void {
    this.#cancelRenewal?.();
    this.#cancelRenewal = undefined;
    this.#login = undefined;
  }
}

function secretFile(path: string, what: string): string {
  try {
    const text = readFileSync(path, 'utf8').trim();
    if (text !== '') return text;
  } catch (thrown) {
    throw new PkiError(
      'UPSTREAM_DENIED',
      `the file with the ${what} for the upstream can not be read: ${path} (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
    );
  }
  throw new PkiError(
    'UPSTREAM_DENIED',
    `the file with the ${what} for the upstream is empty: ${path}`,
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
  const said = errors === '' ? `status ${response.statusCode}` : errors;
  return new PkiError(codeFor(response.statusCode, said), `the upstream refused ${path}: ${said}`, {
    cause: thrown,
  });
}

function codeFor(status: number, said: string): ErrorCode {
  if (status === 503 && /sealed/i.test(said)) return 'UPSTREAM_SEALED';
  if (status === 401 || status === 403) return 'UPSTREAM_DENIED';
  if (status === 429 || status >= 500) return 'UPSTREAM_UNAVAILABLE';
  return 'UPSTREAM_INVALID';
}
