import { unwrap, type PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { tokenIssuerId } from '../../common/spiffe/index.ts';
import { AttestationLimits } from '../attestation/limits.ts';
import type { ServiceSettings } from '../settings.ts';
import type { TokenDemand, TokenVerifier, VerifiedToken } from './token-verifier.ts';

export interface TokenAdmissionDependencies {
  readonly verifier: Pick<TokenVerifier, 'verify'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly settings: Pick<ServiceSettings, 'attestationRate' | 'trustDomain'>;
}

/** The way in for tokens of other issuers. Owner of the limit on tokens that are verified. */
export class TokenAdmission {
  readonly #dependencies: TokenAdmissionDependencies;
  readonly #limits: AttestationLimits;

  constructor(dependencies: TokenAdmissionDependencies) {
    this.#dependencies = dependencies;
    const { settings, clock } = dependencies;
    this.#limits = new AttestationLimits(settings.attestationRate, clock);
  }

  /**
   * Tokens of operators, without a peer, count for no limit.
   *
   * @throws PkiError RATE_LIMITED before the token is looked at; TOKEN_*
   */
  async verified(
    text: string,
    demand: TokenDemand,
    signal: AbortSignal | undefined,
  ): Promise<VerifiedToken> {
    const { peer } = demand;
    if (peer !== undefined) this.#limits.admit(peer);
    const verified = await this.#dependencies.verifier.verify(text, demand, signal);
    if (!verified.ok && peer !== undefined) this.#limits.failed(peer);
    return unwrap(verified);
  }

  /** A verified token of a stranger leads nowhere. */
  failed(peer: string): void {
    this.#limits.failed(peer);
  }

  /** What came of a verified token was refused. */
  refused(peer: string, error: PkiError): void {
    this.#limits.refused(peer, error);
  }

  /** The name under which the issuer of a token acts. */
  issuerId({ issuer }: Pick<VerifiedToken, 'issuer'>): string {
    return tokenIssuerId(this.#dependencies.settings.trustDomain, issuer).toString();
  }
}
