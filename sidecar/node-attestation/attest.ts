import { createHash, sign, type KeyObject } from 'node:crypto';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import { attestationMessage, protocolVersion } from '../../src/common/wire/index.ts';
import type { AgentSvid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import type { AttestChallenge__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AttestChallenge.ts';
import type { AttestStart } from '../../src/common/wire/generated/meshca/issuer/v1/AttestStart.ts';
import { keyTypeOfSpki, signatureAlgorithmFor, spkiOf } from '../../src/common/x509/index.ts';
import type { IssuerConnection } from '../issuer-client/index.ts';

/** How the node proves who it is. */
export type NodeCredential =
  | { readonly kind: 'join-token'; readonly token: string }
  /** The node's own certificate, leaf first, and its key. */
  | {
      readonly kind: 'x509pop';
      readonly chainDer: readonly Buffer[];
      readonly privateKey: KeyObject;
    }
  /** The last SVID of this agent, expired within the server's grace. */
  | {
      readonly kind: 'expired-svid';
      readonly spiffeId: string;
      readonly serial: string;
      readonly privateKey: KeyObject;
    };

export interface AttestationRequest {
  readonly credential: NodeCredential;
  readonly requestId: string;
  /** PKCS#10 for the agent's new key, and that key's SPKI. */
  readonly csrDer: Buffer;
  readonly newSpkiDer: Buffer;
  readonly trustDomain: TrustDomain;
  readonly agentVersion: string;
}

/** What is told apart for the reuse of an unanswered request: another token is another request. */
export const purposeOf = (credential: NodeCredential): string =>
  credential.kind === 'join-token'
    ? `join-token:${tokenSha256(credential.token)}`
    : credential.kind === 'expired-svid'
      ? `expired-svid:${credential.serial}`
      : 'x509pop';

export const tokenSha256 = (token: string): string =>
  createHash('sha256').update(token).digest('hex');

/**
 * One attestation over a connection whose server has been verified. Throws the server's refusal, or
 * SERVER_UNTRUSTED.
 */
export function attest(
  connection: IssuerConnection,
  request: AttestationRequest,
): Promise<AgentSvid__Output> {
  return new Promise((resolve, reject) => {
    const call = connection.attest();
    let settled = false;
    const settle = (act: () => void): void => {
      if (settled) return;
      settled = true;
      act();
      call.cancel();
    };
    call.on('error', (error) => settle(() => reject(connection.explain(error))));
    call.on('end', () =>
      settle(() =>
        reject(
          new PkiError('ATTESTATION_FAILED', 'the server ended the attestation without an answer'),
        ),
      ),
    );
    call.on('data', (response) => {
      if (response.svid) {
        const { svid } = response;
        settle(() => resolve(svid));
        return;
      }
      try {
        if (!response.challenge)
          throw new PkiError(
            'ATTESTATION_FAILED',
            'the server sent neither a challenge nor an SVID',
          );
        call.write({ answer: { signature: answerTo(response.challenge, connection, request) } });
      } catch (thrown) {
        settle(() => reject(thrown as Error));
      }
    });
    call.write({ start: startOf(request) });
  });
}

function startOf({ credential, requestId, csrDer, agentVersion }: AttestationRequest): AttestStart {
  const common = { protocolVersion, agentVersion, requestId, csrDer };
  switch (credential.kind) {
    case 'join-token':
      return { ...common, joinToken: { token: credential.token } };
    case 'x509pop':
      return { ...common, x509pop: { chainDer: [...credential.chainDer] } };
    case 'expired-svid':
      return {
        ...common,
        expiredSvid: { spiffeId: credential.spiffeId, serial: credential.serial },
      };
  }
}

function answerTo(
  challenge: AttestChallenge__Output,
  connection: IssuerConnection,
  { credential, newSpkiDer, trustDomain }: AttestationRequest,
): Buffer {
  if (credential.kind === 'join-token')
    throw new PkiError(
      'ATTESTATION_FAILED',
      'the server asks for a signature although a join token was sent',
    );
  if (challenge.nonce.length < 16)
    throw new PkiError('SERVER_UNTRUSTED', 'the nonce of the server is too short');
  // signed is what this end sees, never what it is told: a relayed challenge names another
  // certificate
  const { leafSha256 } = connection.server;
  if (!challenge.serverCertificateSha256.equals(leafSha256))
    throw new PkiError('SERVER_UNTRUSTED', 'the challenge was made for another connection');
  if (challenge.trustDomain !== trustDomain.name)
    throw new PkiError(
      'SERVER_UNTRUSTED',
      `the challenge is for the trust domain ${JSON.stringify(challenge.trustDomain)}`,
    );
  const message = attestationMessage({
    nonce: challenge.nonce,
    trustDomainName: trustDomain.name,
    serverCertificateSha256: leafSha256,
    newSpkiDer,
  });
  const { hash } = signatureAlgorithmFor(unwrap(keyTypeOfSpki(spkiOf(credential.privateKey))));
  return sign(hash, message, credential.privateKey);
}
