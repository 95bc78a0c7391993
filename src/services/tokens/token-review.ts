import { fail, ok, type Result } from '../../common/errors/index.ts';
import { Crowd, type Clock, type Logger } from '../../common/runtime/index.ts';
import { holderOf } from '../attestation/limits.ts';
import { identityOfReview } from './kubernetes-identity.ts';
import type { IssuerHttp } from './issuer-http.ts';
import { clusterOf, type TokenIssuerSettings } from './settings.ts';
import type { KubernetesIdentity, TokenIssuerStanding } from './token-verifier.ts';

export interface TokenReviewDependencies {
  readonly http: IssuerHttp;
  readonly readFile: (path: string, key: string) => string;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
}

/** More reviews at once would make the API server pay for what strangers send us. */
const maximumReviews = 32;

/**
 * Asks the API server of one cluster about tokens (authentication.k8s.io/v1 TokenReview). It alone
 * knows whether the pod behind a token still exists, so that no answer is remembered. A stranger
 * needs no key for a token that is worth a review: of too many, the address with the most loses its
 * oldest. Owner of the reviews under way, and of the issuer's standing.
 */
export class TokenReviews {
  readonly #settings: TokenIssuerSettings;
  readonly #review: NonNullable<TokenIssuerSettings['review']>;
  readonly #dependencies: TokenReviewDependencies;
  readonly #underWay = new Crowd<AbortController>();
  #answeredAt = 0;
  #reason = '';

  constructor(
    settings: TokenIssuerSettings,
    review: NonNullable<TokenIssuerSettings['review']>,
    dependencies: TokenReviewDependencies,
  ) {
    this.#settings = settings;
    this.#review = review;
    this.#dependencies = dependencies;
  }

  /** Fails with TOKEN_REFUSED, TOKEN_AUDIENCE_WRONG, TOKEN_ISSUER_UNREACHABLE or OVERLOADED. */
  async review(
    token: string,
    audiences: readonly string[],
    peer: string,
  ): Promise<Result<KubernetesIdentity>> {
    const holder = holderOf(peer);
    const review = new AbortController();
    if (this.#underWay.size >= maximumReviews) this.#underWay.victim(holder)?.abort();
    if (this.#underWay.size >= maximumReviews) return overloaded();
    this.#underWay.add(review, holder);
    review.signal.addEventListener('abort', () => this.#underWay.delete(review));
    try {
      const answer = await this.#ask(token, audiences, review.signal);
      return answer.ok ? this.#judged(answer.value, audiences) : answer;
    } finally {
      this.#underWay.delete(review);
    }
  }

  standing(): Pick<
    TokenIssuerStanding,
    'state' | 'reason' | 'keyIds' | 'answeredAt' | 'keysUntil'
  > {
    return {
      state: this.#reason !== '' ? 'unreachable' : this.#answeredAt === 0 ? 'unasked' : 'reachable',
      reason: this.#reason,
      keyIds: [],
      answeredAt: this.#answeredAt,
      keysUntil: 0,
    };
  }

  async #ask(
    token: string,
    audiences: readonly string[],
    signal: AbortSignal,
  ): Promise<Result<ReviewStatus>> {
    const { http, readFile, clock, logger } = this.#dependencies;
    const { name } = this.#settings;
    try {
      const answer = await http({
        url: `${this.#review.apiUrl.replace(/\/$/, '')}/apis/authentication.k8s.io/v1/tokenreviews`,
        bearer: readFile(this.#review.tokenFile, `tokens.issuers ${name}: review.tokenFile`).trim(),
        signal,
        json: {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenReview',
          spec: { token, audiences },
        },
      });
      const status = (answer as { readonly status?: ReviewStatus } | null)?.status;
      if (typeof status !== 'object' || status === null)
        throw new Error('the API server answers with something else than a TokenReview');
      this.#reason = '';
      this.#answeredAt = clock.now();
      return ok(status);
    } catch (thrown) {
      if (signal.aborted) return overloaded();
      const reason = (thrown as Error).message;
      if (this.#reason === '')
        logger.warn({ issuer: name, reason }, 'the cluster of a token issuer can not be asked');
      this.#reason = reason;
      return fail(
        'TOKEN_ISSUER_UNREACHABLE',
        `the cluster ${clusterOf(this.#settings)} can not be asked at present`,
        { cause: thrown },
      );
    }
  }

  #judged(status: ReviewStatus, audiences: readonly string[]): Result<KubernetesIdentity> {
    const cluster = clusterOf(this.#settings);
    if (status.authenticated !== true || status.error)
      return fail('TOKEN_REFUSED', `the cluster ${cluster} does not accept the token`);
    // an API server that does not know audiences says yes to every token of its own
    const confirmed = Array.isArray(status.audiences) ? (status.audiences as unknown[]) : [];
    if (!confirmed.some((audience) => audiences.includes(audience as string)))
      return fail(
        'TOKEN_AUDIENCE_WRONG',
        `the cluster ${cluster} does not confirm that the token is for ${audiences.join(' or ')}`,
      );
    const identity = identityOfReview(status.user ?? {}, cluster);
    return identity === undefined
      ? fail('TOKEN_REFUSED', `the cluster ${cluster} says that the token is no service account's`)
      : ok(identity);
  }
}

const overloaded = (): ReturnType<typeof fail> =>
  fail('OVERLOADED', 'too many tokens wait for the answer of their cluster');

interface ReviewStatus {
  readonly authenticated?: unknown;
  readonly error?: unknown;
  readonly audiences?: unknown;
  readonly user?: { readonly username?: unknown; readonly uid?: unknown; readonly extra?: unknown };
}
