import { fail, ok, type Result } from '../../common/errors/index.ts';
import { TokenBucket, type Clock, type Logger } from '../../common/runtime/index.ts';
import { issuerKeys, type IssuerKey } from './issuer-key.ts';
import type { KeySource } from './key-source.ts';
import type { TokenAlgorithm, TokenIssuerSettings } from './settings.ts';
import type { TokenIssuerStanding } from './token-verifier.ts';

export interface IssuerKeysDependencies {
  readonly source: KeySource;
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly logger: Logger;
}

/** After a failure the issuer is asked again no earlier, whoever wants a key. */
const retryMs = 5_000;
const fileMs = 1_000;
/** Tokens with unknown keys make the server read the JWKS again this often, and no more. */
const unknownKeyRate = { perSecond: 0.1, burst: 3 };

/**
 * The keys of one issuer. Owner of what was read last. Concurrent callers share one request. While
 * the issuer can't be asked, the last good keys count on for `keepSeconds`.
 */
export class IssuerKeys {
  readonly #settings: TokenIssuerSettings;
  readonly #dependencies: IssuerKeysDependencies;
  readonly #unknown: TokenBucket;
  #keys: readonly IssuerKey[] | undefined;
  #readAtMs = 0;
  #readAt = 0;
  #failedAtMs = -Infinity;
  #reason = '';
  #reading: Promise<void> | undefined;

  constructor(settings: TokenIssuerSettings, dependencies: IssuerKeysDependencies) {
    this.#settings = settings;
    this.#dependencies = dependencies;
    this.#unknown = new TokenBucket(unknownKeyRate, dependencies.clock);
  }

  /**
   * The keys that may have signed. A key that is not known makes the JWKS be read again. Fails with
   * TOKEN_KEY_UNKNOWN or TOKEN_ISSUER_UNREACHABLE.
   */
  async candidates(
    kid: string | undefined,
    algorithm: TokenAlgorithm,
  ): Promise<Result<readonly IssuerKey[]>> {
    await this.#refresh();
    const keys = this.#current();
    if (keys === undefined) return this.#unreachable();
    const found = matching(keys, kid, algorithm);
    if (found.length > 0) return ok(found);
    const again = await this.reread();
    if (!again.ok) return again;
    const fresh = matching(this.#current() ?? [], kid, algorithm);
    return fresh.length > 0
      ? ok(fresh)
      : fail(
          'TOKEN_KEY_UNKNOWN',
          `the issuer ${this.#settings.name} publishes no key ` +
            `${kid === undefined ? `for ${algorithm}` : JSON.stringify(kid.slice(0, 80))}`,
        );
  }

  /**
   * Reads the keys again, because a token does not fit them. Strangers can cause this, so that the
   * rate is limited. Fails with TOKEN_ISSUER_UNREACHABLE.
   */
  async reread(): Promise<Result<void>> {
    if (this.#reading === undefined) {
      const waitMs = this.#unknown.take();
      if (waitMs > 0 && !this.#dependencies.source.isFile)
        return fail(
          'TOKEN_ISSUER_UNREACHABLE',
          `the keys of the issuer ${this.#settings.name} are read again in ${Math.ceil(waitMs / 1000)} s`,
          { detail: { waitMs } },
        );
    }
    await this.#read();
    return this.#reason === '' ? ok(undefined) : this.#unreachable();
  }

  standing(): Pick<
    TokenIssuerStanding,
    'state' | 'reason' | 'keyIds' | 'answeredAt' | 'keysUntil'
  > {
    const keys = this.#current();
    const state =
      this.#reason === ''
        ? this.#readAt === 0
          ? 'unasked'
          : 'reachable'
        : keys === undefined
          ? 'unreachable'
          : 'stale';
    return {
      state,
      reason: this.#reason,
      keyIds: (keys ?? []).flatMap(({ kid }) => (kid === undefined ? [] : [kid])),
      answeredAt: this.#readAt,
      keysUntil: this.#readAt === 0 ? 0 : this.#readAt + this.#settings.keys.keepSeconds,
    };
  }

  #current(): readonly IssuerKey[] | undefined {
    return this.#ageMs() <= this.#settings.keys.keepSeconds * 1000 ? this.#keys : undefined;
  }

  #ageMs(): number {
    return this.#keys === undefined
      ? Infinity
      : this.#dependencies.clock.monotonicMs() - this.#readAtMs;
  }

  async #refresh(): Promise<void> {
    const { clock, source } = this.#dependencies;
    const freshMs = source.isFile ? fileMs : this.#settings.keys.refreshSeconds * 1000;
    if (this.#ageMs() <= freshMs) return;
    // a failed request is not repeated for each token, and nobody waits for an issuer that is down
    const pauseMs = source.isFile ? fileMs : retryMs;
    if (clock.monotonicMs() - this.#failedAtMs < pauseMs) return;
    await this.#read();
  }

  #read(): Promise<void> {
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readOnce(): Promise<void> {
    const { source, clock, logger } = this.#dependencies;
    const { name, minimumRsaBits } = this.#settings;
    const askedAtMs = clock.monotonicMs();
    try {
      this.#keys = issuerKeys(await source.read(), minimumRsaBits);
      if (this.#reason !== '') logger.info({ issuer: name }, 'the keys of a token issuer are back');
      this.#readAtMs = askedAtMs;
      this.#readAt = clock.now();
      this.#reason = '';
      this.#failedAtMs = -Infinity;
    } catch (thrown) {
      const reason = (thrown as Error).message;
      if (this.#reason === '')
        logger.warn({ issuer: name, reason }, 'the keys of a token issuer can not be read');
      this.#reason = reason;
      this.#failedAtMs = clock.monotonicMs();
    }
  }

  /** Strangers read this: the reason is for operators, in the log and in the list of issuers. */
  #unreachable(): ReturnType<typeof fail> {
    return fail(
      'TOKEN_ISSUER_UNREACHABLE',
      `the keys of the issuer ${this.#settings.name} can not be read at present`,
      { cause: new Error(this.#reason) },
    );
  }
}

const matching = (
  keys: readonly IssuerKey[],
  kid: string | undefined,
  algorithm: TokenAlgorithm,
): readonly IssuerKey[] =>
  keys.filter((key) => (kid === undefined || key.kid === kid) && key.fits(algorithm));
