import type { KeyObject } from 'node:crypto';
import { PkiError } from '../../src/common/errors/index.ts';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import { attestationMessage, protocolVersion } from '../../src/common/wire/index.ts';
import type { AgentSvid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import type { AttestChallenge__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AttestChallenge.ts';
import type { AttestStart } from '../../src/common/wire/generated/meshca/issuer/v1/AttestStart.ts';
import type { IssuerConnection } from '../issuer-client/index.ts';
import type { ConfiguredEvidence } from './configured-evidence.ts';
import { signedBy } from './key-proof.ts';

const minimumNonceBytes = 16;

/** How the node proves who it is: by configured evidence, or by the SVID that it had. */
export type NodeCredential =
  | { readonly kind: 'evidence'; readonly evidence: ConfiguredEvidence }
  /** The last SVID of this agent: expired within the server's grace, or lost by the server. */
  | {
      readonly kind: 'expired-svid';
      readonly spiffeId: string;
      readonly serial: string;
      readonly certificateDer: Buffer;
      /** The newest checkpoint of the audit log that this agent holds; empty: none. */
      readonly logCheckpoint: string;
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

/** What is told apart for the reuse of an unanswered request: other evidence is another request. */
export const purposeOf = (credential: NodeCredential): string =>
  credential.kind === 'expired-svid'
    ? `expired-svid:${credential.serial}`
    : evidencePurpose(credential.evidence);

export const evidencePurpose = ({ type, name }: ConfiguredEvidence): string => `${type}:${name}`;

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
      answerTo(response.challenge, connection, request).then(
        (payload) => void (settled || call.write({ answer: { payload } })),
        (thrown: unknown) => settle(() => reject(PkiError.from(thrown))),
      );
    });
    call.write({ start: startOf(request) });
  });
}

function startOf({ credential, requestId, csrDer, agentVersion }: AttestationRequest): AttestStart {
  const common = { protocolVersion, agentVersion, requestId, csrDer };
  if (credential.kind === 'expired-svid') {
    const { spiffeId, serial, certificateDer, logCheckpoint } = credential;
    return { ...common, expiredSvid: { spiffeId, serial, certificateDer, logCheckpoint } };
  }
  const { type, payload } = credential.evidence;
  return { ...common, node: { type, payload } };
}

async function answerTo(
  challenge: AttestChallenge__Output | null | undefined,
  connection: IssuerConnection,
  request: AttestationRequest,
): Promise<Buffer> {
  if (!challenge)
    throw new PkiError('ATTESTATION_FAILED', 'the server sent neither a challenge nor an SVID');
  const { credential } = request;
  if (credential.kind === 'expired-svid')
    return signedBy(credential.privateKey, messageFor(challenge, connection, request));
  const { evidence } = credential;
  if (evidence.answer === undefined)
    throw new PkiError(
      'ATTESTATION_FAILED',
      `the server sends a challenge, and ${evidence.type} knows none`,
    );
  return evidence.answer({
    message: messageFor(challenge, connection, request),
    payload: challenge.payload,
  });
}

/**
 * What the answer proves possession over. It is made of what this end sees, never of what it is
 * told: a relayed challenge names another certificate. Throws SERVER_UNTRUSTED.
 */
function messageFor(
  challenge: AttestChallenge__Output,
  connection: IssuerConnection,
  { newSpkiDer, trustDomain }: AttestationRequest,
): Buffer {
  if (challenge.nonce.length < minimumNonceBytes)
    throw new PkiError('SERVER_UNTRUSTED', 'the nonce of the server is too short');
  const { leafSha256 } = connection.server;
  if (!challenge.serverCertificateSha256.equals(leafSha256))
    throw new PkiError('SERVER_UNTRUSTED', 'the challenge was made for another connection');
  if (challenge.trustDomain !== trustDomain.name)
    throw new PkiError(
      'SERVER_UNTRUSTED',
      `the challenge is for the trust domain ${JSON.stringify(challenge.trustDomain)}`,
    );
  return attestationMessage({
    nonce: challenge.nonce,
    trustDomainName: trustDomain.name,
    serverCertificateSha256: leafSha256,
    newSpkiDer,
  });
}
