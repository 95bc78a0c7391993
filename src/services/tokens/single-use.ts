import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { tokenIssuerId, type TrustDomain } from '../../common/spiffe/index.ts';
import type { AuditEvent, TokenUse } from '../../domain/index.ts';
import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { CertificateStore, IssuanceStore, TokenUseStore } from '../../store/ports/index.ts';
import type { VerifiedToken } from './token-verifier.ts';

export interface SingleUseDependencies {
  readonly tokenUses: Pick<TokenUseStore, 'byId' | 'bind' | 'settle'>;
  readonly objects: Pick<ObjectLedger, 'restores'>;
  readonly issuance: Pick<IssuanceStore, 'findRequests'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly clock: Pick<Clock, 'now' | 'nowMs'>;
  readonly trustDomain: TrustDomain;
}

export interface Redemption {
  /** The requester of the certificate in its records. */
  readonly requester: string;
  /** The ID of an entry, or the SPIFFE ID of an agent. */
  readonly grantee: string;
  readonly publicKeySha256: string;
  readonly peer: string;
}

/**
 * Lets a token lead to one certificate. The mark is durable before anything is signed, and the log
 * commits to it. The same token and key get the recorded certificate again while it is valid; any
 * other use is a replay.
 */
export class SingleUse {
  readonly #dependencies: SingleUseDependencies;

  constructor(dependencies: SingleUseDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * @param issue issues with this request ID, which the token itself gives: whatever a caller sends
   *   again, one token and key are one request; `repeated`: the serial of its recorded answer
   * @throws PkiError TOKEN_REPLAYED, also for a token from before a restore, and the errors of `issue`
   */
  async redeem(
    token: VerifiedToken,
    redemption: Redemption,
    issue: (requestId: string, repeated: string | undefined) => Promise<IssuedLeaf>,
  ): Promise<IssuedLeaf> {
    const { tokenUses, clock } = this.#dependencies;
    const { grantee, publicKeySha256 } = redemption;
    if ((await tokenUses.byId(token.useId)) === undefined)
      refuseLost(token, this.#dependencies.objects);
    const mark = await tokenUses.bind(
      {
        id: token.useId,
        issuer: token.issuer,
        subject: token.subject,
        grantee,
        publicKeySha256,
        usedAt: clock.now(),
        expiresAt: token.expiresAt + token.clockSkewSeconds,
      },
      this.#event('identity-token.bound', token, redemption),
    );
    if (mark.publicKeySha256 !== publicKeySha256 || mark.endedAt !== null) throw replayed(mark);
    if (mark.grantee !== grantee)
      throw new PkiError(
        'TOKEN_REPLAYED',
        `the token was used for ${mark.grantee} before, and counts once`,
      );
    const serial = mark.serial ?? (await this.#unsettled(token.useId, redemption));
    if (serial !== undefined && !(await this.#isValid(serial))) throw replayed(mark);
    const leaf = await issue(token.useId, serial);
    if (serial !== undefined && leaf.serial !== serial) throw replayed(mark);
    if (mark.serial === null)
      await tokenUses.settle(
        token.useId,
        leaf.serial,
        this.#event('identity-token.used', token, redemption, leaf.serial),
      );
    return leaf;
  }

  /** What was issued right before a crash: the mark does not know it yet. */
  async #unsettled(
    requestId: string,
    { requester, publicKeySha256 }: Redemption,
  ): Promise<string | undefined> {
    const [record] = await this.#dependencies.issuance.findRequests([
      { requester, requestId, publicKeySha256 },
    ]);
    return record?.state === 'issued' ? record.serial : undefined;
  }

  async #isValid(serial: string): Promise<boolean> {
    const record = await this.#dependencies.certificates.bySerial(serial);
    return record?.state === 'issued' && record.notAfter > this.#dependencies.clock.now();
  }

  #event(
    kind: 'identity-token.bound' | 'identity-token.used',
    { useId, issuer, subject, jti, expiresAt }: VerifiedToken,
    { grantee, publicKeySha256, peer }: Redemption,
    serial?: string,
  ): AuditEvent {
    return {
      timeMs: this.#dependencies.clock.nowMs(),
      actor: tokenIssuerId(this.#dependencies.trustDomain, issuer).toString(),
      kind,
      subject: grantee,
      detail: {
        use: useId,
        issuer,
        tokenSubject: subject,
        ...(jti === undefined ? {} : { jti }),
        expiresAt,
        publicKeySha256,
        peer,
        ...(serial === undefined ? {} : { serial }),
      },
    };
  }
}

/**
 * The marks of the time that an accepted restore gave up are lost.
 *
 * @throws PkiError TOKEN_REPLAYED for a token without a mark from before that time
 */
export function refuseLost(
  { issuedAt }: Pick<VerifiedToken, 'issuedAt'>,
  objects: Pick<ObjectLedger, 'restores'>,
): void {
  const [restored] = objects.restores();
  if (restored === undefined || issuedAt * 1000 > restored.acceptedMs) return;
  throw new PkiError(
    'TOKEN_REPLAYED',
    `the token was issued at ${utc(issuedAt)}, before the database was restored: nobody can tell whether it was used`,
    { next: 'Get a new token.' },
  );
}

const replayed = ({ usedAt, serial, endedAt }: TokenUse): PkiError =>
  new PkiError(
    'TOKEN_REPLAYED',
    'the token was used at ' +
      `${utc(usedAt)}${serial === null ? '' : `, and led to certificate ${serial}`}${endedAt === null ? '' : `, which was given back at ${utc(endedAt)}`}; ` +
      'it counts once',
  );

const utc = (seconds: number): string => new Date(seconds * 1000).toISOString();
