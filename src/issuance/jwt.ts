import { PkiError } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../common/runtime/index.ts';
import type { KeyType } from '../common/x509/index.ts';
import { finishingStates, type Authority, type AuditEvent } from '../domain/index.ts';
import type { Signers } from '../hsm/signing-port.ts';
import type { FinishOutcome, IssuanceStore, JwtSvidRecord } from '../store/ports/index.ts';
import { Batcher } from './batcher.ts';
import type { IssuedJwt, JwtRequest } from './contract.ts';

export interface JwtIssuerDependencies {
  readonly store: Pick<IssuanceStore, 'recordJwtSvids' | 'raiseJwtExpiry'>;
  readonly signers: Pick<Signers, 'sign'>;
  /** The active JWT authority, or undefined. */
  readonly authority: () => Authority | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /** The `iss` claim. */
  readonly issuer: string;
}

/**
 * The durable highest expiry is raised in steps this far ahead, so that it costs one commit per
 * step and not one per token; it only ever makes a key stay in the bundle that much longer.
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
 * JWT-SVIDs (JWT-SVID specification sections 2 and 3): expiry on record → signed → recorded with
 * its audit event → released.
 */
export function createJwtIssuer(dependencies: JwtIssuerDependencies): {
  issue(request: JwtRequest): Promise<IssuedJwt>;
} {
  const { store, signers, clock } = dependencies;
  const records = new Batcher<JwtSvidRecord, FinishOutcome>(
    (batch) => store.recordJwtSvids(batch),
    200,
  );
  const raised = new Map<string, number>();

  async function issue(request: JwtRequest): Promise<IssuedJwt> {
    const authority = dependencies.authority();
    if (authority === undefined) throw new PkiError('NO_ISSUER', 'no JWT authority is active');
    const issuedAt = clock.now();
    const expiresAt = issuedAt + request.ttlSeconds;
    if (expiresAt > authority.notAfter)
      throw new PkiError(
        'ISSUER_LIFETIME',
        `a lifetime of ${request.ttlSeconds} s ends after the JWT authority`,
      );
    if (expiresAt > (raised.get(authority.id) ?? 0)) {
      const level = Math.ceil(expiresAt / expiryStepSeconds) * expiryStepSeconds;
      await store.raiseJwtExpiry(authority.id, level);
      raised.set(authority.id, Math.max(level, raised.get(authority.id) ?? 0));
    }
    const jti = uuidv7(clock.nowMs());
    const header = { alg: joseAlgorithm(authority.keyType), kid: authority.ckaId, typ: 'JWT' };
    const claims = {
      sub: request.spiffeId.toString(),
      aud: request.audience,
      iss: dependencies.issuer,
      iat: issuedAt,
      exp: expiresAt,
      jti,
    };
    const signingInput = `${encode(header)}.${encode(claims)}`;
    const [outcome] = await signers.sign([
      { ckaId: authority.ckaId, bytes: Buffer.from(signingInput, 'ascii'), format: 'jose' },
    ]);
    if (outcome === undefined || !outcome.ok)
      throw new PkiError(
        outcome?.code ?? 'HSM_UNAVAILABLE',
        outcome?.message ?? 'the signer gave no answer',
      );
    const [recorded] = await records.run([
      {
        jti,
        subject: claims.sub,
        audience: request.audience,
        issuedAt,
        expiresAt,
        authorityId: authority.id,
        entryId: request.entryId,
        holder: request.holder,
        rights: [
          { kind: 'authority', id: authority.id, states: finishingStates },
          ...request.rights,
        ],
        event: event(request, jti, authority, expiresAt, clock.nowMs()),
      },
    ]);
    if (recorded?.state === 'withheld')
      throw new PkiError(recorded.code, recorded.message, { detail: { jti, withheld: true } });
    if (recorded?.state !== 'issued') throw new PkiError('WITHHELD', 'the token was not released');
    return {
      token: `${signingInput}.${outcome.signature.toString('base64url')}`,
      jti,
      issuedAt,
      expiresAt,
    };
  }

  return { issue };
}

function event(
  request: JwtRequest,
  jti: string,
  authority: Authority,
  expiresAt: number,
  timeMs: number,
): AuditEvent {
  return {
    timeMs,
    actor: request.holder,
    kind: 'jwt.issued',
    subject: request.spiffeId.toString(),
    detail: {
      ...request.reason,
      jti,
      audience: request.audience,
      authority: authority.id,
      entry: request.entryId,
      expiresAt,
    },
  };
}

const encode = (value: object): string =>
  Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');
