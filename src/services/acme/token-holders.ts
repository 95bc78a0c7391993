import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { selectorText } from '../../common/spiffe/index.ts';
import type { AuditEvent, EabKey, Proven, RegistrationEntry, Rights } from '../../domain/index.ts';
import type { LedgerDelegations, ObjectLedger } from '../../ledger/index.ts';
import type { TokenMark, TokenUseStore } from '../../store/ports/index.ts';
import type { AnonymousCaller } from '../callers/caller.ts';
import type { ServiceSettings } from '../settings.ts';
import { chosenGrant, judgeEntries, type GrantDependencies } from '../tokens/grants.ts';
import { refuseLost } from '../tokens/single-use.ts';
import { TokenAdmission } from '../tokens/token-admission.ts';
import type { TokenVerifier, VerifiedToken } from '../tokens/token-verifier.ts';
import type { ExchangeHolder } from './exchanged-key.ts';

export interface TokenHolderDependencies extends GrantDependencies {
  readonly verifier: TokenVerifier;
  readonly tokenUses: Pick<TokenUseStore, 'byId'>;
  readonly delegations: Pick<LedgerDelegations, 'activeFor' | 'compareSoon'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'restores'>;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** Who holds a token, by the entry below its issuer that matches its claims. */
export interface TokenHolder extends ExchangeHolder {
  readonly token: VerifiedToken;
  readonly entry: Proven<RegistrationEntry>;
  readonly rights: Rights;
}

/**
 * Holders of tokens of other issuers that have the purpose `acme`. An entry below the issuer gives
 * the token a SPIFFE ID, and the delegations of that ID say which names it may have.
 */
export class TokenHolders {
  readonly #dependencies: TokenHolderDependencies;
  readonly #admission: TokenAdmission;

  constructor(dependencies: TokenHolderDependencies) {
    this.#dependencies = dependencies;
    this.#admission = new TokenAdmission(dependencies);
  }

  /** @throws PkiError RATE_LIMITED before the token is looked at; TOKEN_* */
  verified(
    { peer }: AnonymousCaller,
    text: string,
    signal: AbortSignal | undefined,
  ): Promise<VerifiedToken> {
    return this.#admission.verified(text, { purpose: 'acme', peer }, signal);
  }

  /** What came of a verified token was refused. */
  refused({ peer }: AnonymousCaller, error: PkiError): void {
    this.#admission.refused(peer, error);
  }

  /**
   * @param wanted the SPIFFE ID, where a token gives several; empty: the only one
   * @throws PkiError TOKEN_REPLAYED, ENTRY_NOT_AUTHORIZED, TOKEN_GRANT_AMBIGUOUS, OUTSIDE_DELEGATION
   */
  async holderOf(token: VerifiedToken, wanted: string): Promise<TokenHolder> {
    const { tokenUses, delegations, objects, clock } = this.#dependencies;
    // the transaction decides; here a replay costs nothing more
    if ((await tokenUses.byId(token.useId)) !== undefined)
      throw new PkiError('TOKEN_REPLAYED', 'the token was used before; it counts once', {
        next:
          'Get a new token for each key. If this one was used by nobody you know, treat it as ' +
          'stolen: "meshca audit list --kind identity-token.exchanged" names what it led to.',
      });
    refuseLost(token, objects);
    const { entry, spiffeId: id } = chosenGrant(
      await judgeEntries(token, this.#dependencies),
      wanted,
    );
    const spiffeId = id.toString();
    const active = await delegations.activeFor(spiffeId, clock.now());
    if (active.length === 0) {
      delegations.compareSoon();
      throw new PkiError(
        'OUTSIDE_DELEGATION',
        `${spiffeId}, which the entry ${entry.id} gives to this token, has no active delegation`,
      );
    }
    const { issuer, subject, useId: use } = token;
    return {
      ...{ token, entry, spiffeId, createdBy: this.issuerId(token), endsAt: 0 },
      delegations: active.map((delegation) => objects.require('delegation', delegation)),
      rights: [{ kind: 'entry', id: entry.id, revision: entry.revision }],
      source: (delegationId) => ({
        ...{ by: 'token', spiffeId, delegationId, issuer, subject, use },
        ...{ entryId: entry.id, entryRevision: entry.revision },
      }),
    };
  }

  /** What the record of a key states: the claims are those that the entry asks for. */
  detailOf({ token, entry, spiffeId }: TokenHolder): AuditEvent['detail'] {
    return {
      ...{ issuer: token.issuer, tokenSubject: token.subject, use: token.useId },
      ...{ entry: entry.id, spiffeId, selectors: entry.selectors.map(selectorText) },
    };
  }

  /** For the transaction that makes the key. */
  markOf({ token }: TokenHolder, { id }: EabKey, peer: string): TokenMark {
    const { issuer, subject, useId, jti, expiresAt, clockSkewSeconds } = token;
    const { clock } = this.#dependencies;
    return {
      use: {
        ...{ id: useId, issuer, subject, grantee: id, publicKeySha256: '' },
        ...{ usedAt: clock.now(), expiresAt: expiresAt + clockSkewSeconds },
      },
      event: {
        timeMs: clock.nowMs(),
        actor: this.issuerId(token),
        kind: 'identity-token.exchanged',
        subject: id,
        detail: {
          ...{ use: useId, issuer, tokenSubject: subject, eabKey: id, expiresAt, peer },
          ...(jti === undefined ? {} : { jti }),
        },
      },
    };
  }

  issuerId(token: VerifiedToken): string {
    return this.#admission.issuerId(token);
  }
}
