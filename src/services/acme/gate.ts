import type { AcmeAccount } from '../../domain/index.ts';
import type { AcmeAccountStore, NonceMark } from '../../store/ports/index.ts';
import type { AccountKeys } from './account-keys.ts';
import { parseAcmeJws, verifyAcmeJws, type AccountKey, type AcmeJws } from './jws.ts';
import type { Nonces } from './nonces.ts';
import { accept, badNonceText, refuse } from './problem.ts';
import type { AcmeUrls } from './urls.ts';
import type { UsedNonces } from './used-nonces.ts';

/** A request as it came in, with nothing believed of it. */
export interface AcmeRequest {
  /** The URL of its resource, by the public base URL and the path that was sent. */
  readonly url: string;
  /** The Content-Type header. */
  readonly contentType: string | undefined;
  readonly body: Buffer;
  /** The address of the client. */
  readonly client: string;
  readonly signal: AbortSignal;
}

/** A request that the holder of a key has signed. */
export interface SignedRequest {
  readonly url: string;
  readonly key: AccountKey;
  /** Empty: POST-as-GET. */
  readonly payload: Buffer;
  /** For the transaction of the effect. */
  readonly nonce: NonceMark;
  readonly client: string;
  readonly signal: AbortSignal;
}

/** A request of an account that is valid. */
export interface AccountRequest extends SignedRequest {
  readonly account: AcmeAccount;
}

export interface GateDependencies {
  readonly nonces: Pick<Nonces, 'judge'>;
  readonly used: UsedNonces;
  /** Reads that the log vouches for. */
  readonly accounts: Pick<AcmeAccountStore, 'byId'>;
  readonly keys: Pick<AccountKeys, 'of' | 'requireUsable'>;
  readonly limits: GateLimits;
  readonly urls: AcmeUrls;
}

/**
 * Limits of one address. The first two throw AcmeRefusal rateLimited. `signer`: the ID of the
 * account, or the thumbprint of the key, in whose name a request comes.
 */
export interface GateLimits {
  anonymous(client: string): void;
  /** Not too many signatures were wrong. */
  requireSignatures(client: string, signer: string): void;
  badSignature(client: string, signer: string): void;
}

const mediaType = 'application/jose+json';

/**
 * Authenticates requests (RFC 8555 section 6). What costs least is judged first: the MAC of the
 * nonce, then the URL, then the account with its key, and the signature last. A nonce is good for
 * one signature, right or wrong.
 */
export class AcmeGate {
  readonly #dependencies: GateDependencies;

  constructor(dependencies: GateDependencies) {
    this.#dependencies = dependencies;
  }

  /** A request that is signed by an account (`kid`). @throws AcmeRefusal */
  async ofAccount(request: AcmeRequest): Promise<AccountRequest> {
    const opened = await this.open(request);
    if (opened.account !== undefined) return { ...opened, account: opened.account };
    return refuse('malformed', 'this resource needs "kid", the URL of an account, and no "jwk"');
  }

  /** A request that is signed by a key that it contains (`jwk`). @throws AcmeRefusal */
  async ofKey(request: AcmeRequest): Promise<SignedRequest> {
    const { account, ...signed } = await this.open(request);
    if (account === undefined) return signed;
    return refuse('malformed', 'this resource needs "jwk", the key itself, and no "kid"');
  }

  /** Either of the two: `account` is undefined for a key. @throws AcmeRefusal */
  async open(
    request: AcmeRequest,
  ): Promise<SignedRequest & { readonly account: AcmeAccount | undefined }> {
    const { nonces, used, limits } = this.#dependencies;
    requireMediaType(request.contentType);
    const { client } = request;
    const jws = accept(
      parseAcmeJws(request.body, {
        judgeNonce: (nonce) => nonces.judge(nonce) !== undefined,
        // to read a stranger's key takes work, and so does the signature with it
        admitKey: () => limits.anonymous(client),
      }),
    );
    const nonce =
      nonces.judge(jws.nonce) ?? refuse('badNonce', `${badNonceText}: it has expired just now`);
    if (jws.url !== request.url)
      refuse(
        'unauthorized',
        `"url" of the protected header is not ${request.url}, the URL of this resource`,
      );
    const account = 'kid' in jws.by ? await this.#accountOf(jws.by.kid) : undefined;
    const key = 'jwk' in jws.by ? jws.by.jwk : this.#usableKeyOf(account as AcmeAccount);
    const signer = account?.id ?? key.thumbprint;
    limits.requireSignatures(client, signer);
    if (!used.use(nonce)) refuse('badNonce', `${badNonceText}: it was used before`);
    if (!(await verifyAcmeJws(jws, key))) {
      limits.badSignature(client, signer);
      refuse('malformed', signatureText(jws, key));
    }
    const { url, signal } = request;
    return { url, key, payload: jws.payload, nonce, client, signal, account };
  }

  async #accountOf(kid: string): Promise<AcmeAccount> {
    const { accounts, urls } = this.#dependencies;
    const id = urls.accountIdIn(kid);
    const account = id === undefined ? undefined : await accounts.byId(id);
    if (account === undefined)
      return refuse('accountDoesNotExist', 'there is no account with the URL in "kid"');
    if (account.status !== 'valid')
      refuse('unauthorized', `the account is ${account.status}. Make another one`, { status: 401 });
    return account;
  }

  #usableKeyOf(account: AcmeAccount): AccountKey {
    const { keys } = this.#dependencies;
    const key = keys.of(account);
    keys.requireUsable(key);
    return key;
  }
}

/** RFC 8555 section 6.2. */
export function requireMediaType(contentType: string | undefined): void {
  const [type = ''] = (contentType ?? '').split(';');
  if (type.trim().toLowerCase() === mediaType) return;
  refuse('malformed', `the media type of a request is ${mediaType} (RFC 8555 section 6.2)`, {
    status: 415,
  });
}

const signatureText = (jws: Pick<AcmeJws, 'algorithm'>, key: AccountKey): string =>
  jws.algorithm === key.algorithm
    ? 'the signature of the request is not valid for its key'
    : `the key of the account signs with ${key.algorithm}, not with ${jws.algorithm}`;

/** Refuses a payload where there must be none (RFC 8555 section 6.3). */
export function requirePostAsGet({ payload }: Pick<SignedRequest, 'payload'>): void {
  if (payload.length > 0)
    refuse('malformed', 'this resource is read with an empty payload (POST-as-GET)');
}
