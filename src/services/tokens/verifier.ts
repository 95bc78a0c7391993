import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import {
  checkAudience,
  claimSelectors,
  kubernetesSelectors,
  registeredClaims,
  useIdOf,
} from './claims.ts';
import { issuerHttp, type IssuerHttp } from './issuer-http.ts';
import { IssuerKeys } from './issuer-keys.ts';
import { keySource } from './key-source.ts';
import { identityOfClaims, usernameOf } from './kubernetes-identity.ts';
import { clusterOf, type TokenIssuerSettings, type TokensSettings } from './settings.ts';
import {
  allowedAlgorithm,
  parseToken,
  verifySignature,
  type UnverifiedToken,
} from './signed-token.ts';
import { TokenReviews } from './token-review.ts';
import type {
  KubernetesIdentity,
  TokenDemand,
  TokenIssuerStanding,
  TokenVerifier,
  VerifiedToken,
} from './token-verifier.ts';

export interface TokenVerifierDependencies {
  readonly clock: Pick<Clock, 'now' | 'monotonicMs'>;
  readonly logger: Logger;
  /**
   * Reads a file that the configuration names. `key` is the configuration key.
   *
   * @throws PkiError CONFIG_INVALID
   */
  readonly readFile: (path: string, key: string) => string;
}

/**
 * The verifier of `tokens.issuers`. It asks no issuer before the first token of it comes.
 *
 * @throws PkiError CONFIG_INVALID if a file with CAs can't be read
 */
export function tokenVerifier(
  { issuers }: TokensSettings,
  dependencies: TokenVerifierDependencies,
): TokenVerifier {
  const known = issuers.map((settings) => openIssuer(settings, dependencies));
  return {
    isIssuer: (wanted, purpose) =>
      issuers.some(
        ({ name, purposes }) =>
          name === wanted && (purpose === undefined || purposes.includes(purpose)),
      ),
    standings: () => known.map((issuer) => standingOf(issuer)),
    verify: async (text, demand, signal) => {
      const token = parseToken(text);
      if (!token.ok) return token;
      const issuer = issuerOf(known, token.value, demand);
      if (!issuer.ok) return issuer;
      return unlessAborted(judge(issuer.value, token.value, demand, dependencies), signal);
    },
  };
}

interface OpenIssuer {
  readonly settings: TokenIssuerSettings;
  readonly keys: IssuerKeys;
  /** Asks the cluster. Undefined: the keys decide alone. */
  readonly reviews: TokenReviews | undefined;
}

function openIssuer(
  settings: TokenIssuerSettings,
  { clock, logger, readFile }: TokenVerifierDependencies,
): OpenIssuer {
  const { caFile, name, timeoutSeconds, allowHttp, review } = settings;
  const caPem =
    caFile === undefined ? undefined : () => readFile(caFile, `tokens.issuers ${name}: caFile`);
  // a file that is not there is said at the start, not at the first token
  caPem?.();
  const http: IssuerHttp = issuerHttp({ caPem, timeoutMs: timeoutSeconds * 1000, allowHttp });
  return {
    settings,
    keys: new IssuerKeys(settings, {
      source: keySource(settings, { http, readFile }),
      clock,
      logger,
    }),
    reviews:
      review === undefined
        ? undefined
        : new TokenReviews(settings, review, { http, readFile, clock, logger }),
  };
}

function standingOf({ settings, keys, reviews }: OpenIssuer): TokenIssuerStanding {
  const { name, type, issuer, purposes, audiences } = settings;
  return { name, type, issuer, purposes, audiences, ...(reviews ?? keys).standing() };
}

/** The one issuer whose token this is. Fails with TOKEN_ISSUER_UNKNOWN. */
function issuerOf(
  issuers: readonly OpenIssuer[],
  { issuer }: UnverifiedToken,
  { purpose, cluster }: TokenDemand,
): Result<OpenIssuer> {
  const wanted = [purpose].flat();
  const found = issuers.filter(
    ({ settings }) =>
      settings.issuer === issuer &&
      wanted.some((each) => settings.purposes.includes(each)) &&
      (cluster === undefined ||
        (settings.type === 'kubernetes' && clusterOf(settings) === cluster)),
  );
  const [only] = found;
  const shown = JSON.stringify(issuer.slice(0, 200));
  if (only === undefined)
    return fail(
      'TOKEN_ISSUER_UNKNOWN',
      'no issuer ' +
        `${shown}${cluster === undefined ? '' : ` of a cluster ${JSON.stringify(cluster.slice(0, 80))}`} ` +
        `is configured for ${wanted.join(' or ')}`,
    );
  // a token is a secret of its cluster: it is not tried on others
  return found.length === 1
    ? ok(only)
    : fail(
        'TOKEN_ISSUER_UNKNOWN',
        `${found.length} clusters have the issuer ${shown}: the caller must name its cluster`,
      );
}

async function judge(
  issuer: OpenIssuer,
  token: UnverifiedToken,
  demand: TokenDemand,
  { clock }: TokenVerifierDependencies,
): Promise<Result<VerifiedToken>> {
  const { settings } = issuer;
  const algorithm = allowedAlgorithm(token, settings.algorithms);
  if (!algorithm.ok) return algorithm;
  // what costs nothing comes first: a stranger can then cause few requests to the issuer
  const registered = registeredClaims(token, settings, clock.now());
  if (!registered.ok) return registered;
  const wanted = demand.audiences ?? settings.audiences;
  const audience = checkAudience(registered.value.audiences, wanted);
  if (!audience.ok) return audience;
  if (issuer.reviews === undefined) {
    const signature = await verifySignature(token, algorithm.value, issuer.keys);
    if (!signature.ok) return signature;
  }
  const kubernetes = await kubernetesOf(issuer, token, wanted, demand.peer ?? '');
  if (!kubernetes.ok) return kubernetes;
  const { subject, audiences, jti, issuedAt, expiresAt } = registered.value;
  return ok({
    issuer: settings.name,
    purposes: settings.purposes,
    subject,
    audiences,
    claims: token.claims,
    jti,
    useId: useIdOf(settings.name, jti, token.signedText),
    issuedAt,
    expiresAt,
    clockSkewSeconds: settings.clockSkewSeconds,
    selectors:
      kubernetes.value === undefined
        ? claimSelectors(token.claims)
        : kubernetesSelectors(kubernetes.value),
    kubernetes: kubernetes.value,
  });
}

async function kubernetesOf(
  { settings, reviews }: OpenIssuer,
  token: UnverifiedToken,
  audiences: readonly string[],
  peer: string,
): Promise<Result<KubernetesIdentity | undefined>> {
  if (settings.type !== 'kubernetes') return ok(undefined);
  const identity =
    reviews === undefined
      ? identityOfClaims(token.claims, clusterOf(settings))
      : await reviews.review(token.text, audiences, peer);
  if (!identity.ok) return identity;
  if (token.claims['sub'] !== usernameOf(identity.value))
    return fail('TOKEN_REFUSED', 'the cluster takes the token for that of another account');
  if (identity.value.pod === undefined && !settings.allowUnbound)
    return fail(
      'TOKEN_NOT_BOUND',
      `the token of ${usernameOf(identity.value)} is bound to no pod, so that it outlives all of them`,
    );
  return identity;
}

/** Others may wait for the same answer, so that the work goes on. */
function unlessAborted<T>(
  work: Promise<Result<T>>,
  signal: AbortSignal | undefined,
): Promise<Result<T>> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const gone = (): void => resolve(fail('CANCELLED', 'nobody waits for the answer any more'));
    if (signal.aborted) gone();
    signal.addEventListener('abort', gone, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', gone));
  });
}
