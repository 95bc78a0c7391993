import { PkiError, unwrap } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../common/runtime/index.ts';
import type { KeyType } from '../common/x509/index.ts';
import {
  finishingStates,
  hasEnded,
  type Authority,
  type AuditEvent,
  type AuditValue,
} from '../domain/index.ts';
import { signatureOf } from '../hsm/signature-of.ts';
import type { Signers } from '../hsm/signing-port.ts';
import type { LedgerQuotas } from '../ledger/index.ts';
import type { FinishOutcome, IssuanceStore, JwtSvidRecord } from '../store/ports/index.ts';
import { Batcher, commitLimit } from './group-commit.ts';
import { cutDetail, issuerEnded } from './issuer-end.ts';
import type { IssuedJwt, JwtRequest } from './issuer.ts';
import { admit, quotaUsed, type Admission, type IssuancePolicy } from './policy.ts';

export interface JwtIssuerDependencies {
  readonly issuancePolicy: IssuancePolicy;
  readonly store: Pick<IssuanceStore, 'recordJwtSvids' | 'raiseJwtExpiry'>;
  /** Of the policy: places that are taken. */
  readonly quotas: LedgerQuotas;
  readonly signers: Pick<Signers, 'sign'>;
  /** The active JWT authority, or undefined. */
  readonly authority: () => Authority | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** The `iss` claim. */
  readonly issuer: string;
}

/**
 * The durable highest expiry is raised in steps of this length, so that it costs one commit per
 * step and not one per token. The only effect is that a key stays in the bundle that much longer.
 */
const expiryStepSeconds = 300;

const algorithms: Readonly<Record<KeyType, string>> = {
  'ec-p256': 'ES256',
  'ec-p384': 'ES384',
  'rsa-2048': 'RS256',
  'rsa-3072': 'RS256',
  'rsa-4096': 'RS256',
};
export const joseAlgorithm = (keyType: KeyType): string => algorithms[keyType];

/**
 * Issues JWT-SVIDs (JWT-SVID specification, sections 2 and 3): allowed by the policy → expiry
 * recorded → signed → recorded with its audit event → released.
 */
export function createJwtIssuer(dependencies: JwtIssuerDependencies): {
  issue(request: JwtRequest): Promise<IssuedJwt>;
} {
  return new JwtIssuer(dependencies);
}

/** A token before its signature. */
interface Draft {
  readonly request: JwtRequest;
  readonly admission: Admission;
  readonly authority: Authority;
  readonly jti: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** Owner of the expiry levels that it has recorded for each authority. */
class JwtIssuer {
  readonly #dependencies: JwtIssuerDependencies;
  readonly #records: Batcher<JwtSvidRecord, FinishOutcome>;
  readonly #raised = new Map<string, number>();

  constructor(dependencies: JwtIssuerDependencies) {
    this.#dependencies = dependencies;
    this.#records = new Batcher((batch) => dependencies.store.recordJwtSvids(batch), commitLimit);
  }

  async issue(request: JwtRequest): Promise<IssuedJwt> {
    request.signal?.throwIfAborted();
    const draft = this.#draft(request);
    const { authority, jti, issuedAt, expiresAt } = draft;
    if (expiresAt > (this.#raised.get(authority.id) ?? 0)) await this.#raise(authority, expiresAt);
    request.signal?.throwIfAborted();
    const token = await this.#sign(draft);
    const [recorded] = await this.#records.run([recordOf(draft, this.#dependencies.clock.nowMs())]);
    if (recorded?.state === 'withheld')
      throw new PkiError(recorded.code, recorded.message, { detail: { jti, withheld: true } });
    if (recorded?.state !== 'issued')
      throw new PkiError('WITHHELD', 'the token was recorded but not released');
    return { token, jti, issuedAt, expiresAt };
  }

  #draft(request: JwtRequest): Draft {
    const { issuancePolicy, clock } = this.#dependencies;
    const { caller, spiffeId, audience, ttlSeconds, entryId } = request;
    const admission = unwrap(
      admit(issuancePolicy, { type: 'jwt', spiffeId, audience, ttlSeconds, entryId }, caller),
    );
    const used = quotaUsed(admission, this.#dependencies.quotas, clock.now());
    if (used !== undefined) unwrap(used);
    const authority = this.#dependencies.authority();
    if (authority === undefined) throw new PkiError('NO_ISSUER', 'no JWT authority is active');
    const issuedAt = clock.now();
    if (hasEnded(authority, issuedAt)) throw issuerEnded(authority);
    const expiresAt = Math.min(issuedAt + ttlSeconds, authority.notAfter);
    return { request, admission, authority, jti: uuidv7(clock.nowMs()), issuedAt, expiresAt };
  }

  async #raise({ id }: Authority, expiresAt: number): Promise<void> {
    const level = Math.ceil(expiresAt / expiryStepSeconds) * expiryStepSeconds;
    await this.#dependencies.store.raiseJwtExpiry(id, level);
    this.#raised.set(id, Math.max(level, this.#raised.get(id) ?? 0));
  }

  async #sign({ request, authority, jti, issuedAt, expiresAt }: Draft): Promise<string> {
    const { signers, issuer } = this.#dependencies;
    const header = { alg: joseAlgorithm(authority.keyType), kid: authority.ckaId, typ: 'JWT' };
    const claims = {
      sub: request.spiffeId.toString(),
      aud: request.audience,
      iss: issuer,
      iat: issuedAt,
      exp: expiresAt,
      jti,
    };
    const input = `${encode(header)}.${encode(claims)}`;
    const signature = await signatureOf(
      signers,
      { ckaId: authority.ckaId, bytes: Buffer.from(input, 'ascii'), format: 'jose' },
      request.signal,
    );
    return `${input}.${signature.toString('base64url')}`;
  }
}

const recordOf = (draft: Draft, timeMs: number): JwtSvidRecord => {
  const { request, admission, authority, jti, issuedAt, expiresAt } = draft;
  return {
    jti,
    subject: request.spiffeId.toString(),
    audience: request.audience,
    issuedAt,
    expiresAt,
    authorityId: authority.id,
    entryId: request.entryId,
    holder: request.holder,
    rights: [
      { kind: 'authority', id: authority.id, states: finishingStates },
      ...request.rights,
      ...admission.rights,
    ],
    event: issuedEvent(draft, timeMs),
  };
};

function issuedEvent(
  { request, admission, jti, authority, issuedAt, expiresAt }: Draft,
  timeMs: number,
): AuditEvent {
  const detail: Record<string, AuditValue> = {
    ...request.reason,
    ...cutDetail(request.ttlSeconds, expiresAt - issuedAt),
    jti,
    audience: request.audience,
    authority: authority.id,
    entry: request.entryId,
    expiresAt,
  };
  const subject = request.spiffeId.toString();
  const event = { timeMs, actor: request.holder, kind: 'jwt.issued', subject, detail };
  Object.assign(detail, admission.detailOf(event));
  return event;
}

const encode = (value: object): string =>
  Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
