import type { BundleRevision } from '../../domain/index.ts';
import type { IssuedLeaf } from '../../issuance/contract.ts';
import type { AgentCaller } from '../caller.ts';

export interface AttestPeer {
  /** Network address, for logs and the record. */
  readonly peer: string;
  /** SHA-256 of the DER of the certificate that the server presented in this very connection. */
  readonly serverCertificateSha256: Buffer;
}

export interface AttestStart {
  readonly protocolVersion: number;
  readonly agentVersion: string;
  readonly requestId: string;
  readonly csrDer: Buffer;
  readonly method:
    | { readonly type: 'join_token'; readonly token: string }
    | { readonly type: 'x509pop'; readonly chainDer: readonly Buffer[] }
    | { readonly type: 'expired_svid'; readonly spiffeId: string; readonly serial: string };
}

export type AttestStep =
  | {
      readonly kind: 'challenge';
      readonly nonce: Buffer;
      readonly trustDomainName: string;
      readonly serverCertificateSha256: Buffer;
    }
  | { readonly kind: 'svid'; readonly svid: AgentSvid };

export interface AgentSvid {
  readonly leaf: IssuedLeaf;
  readonly bundle: BundleRevision;
}

/**
 * One Attest stream: `start`, then `answer` if it gave a challenge. Each once; the nonce dies with
 * the exchange.
 */
export interface AttestExchange {
  start(start: AttestStart): Promise<AttestStep>;
  answer(signature: Buffer): Promise<AttestStep>;
  /** The stream ended; always called, frees the slot of a pending challenge. */
  close(): void;
}

export interface NodeAttestation {
  /**
   * The bundle revisions after a sequence; RATE_LIMITED, together with attestation. They are
   * public.
   */
  bundleSteps(sequence: number): Promise<readonly BundleRevision[]>;
  /** Throws RATE_LIMITED or OVERLOADED before any work. */
  open(peer: AttestPeer): AttestExchange;
  renew(
    caller: AgentCaller,
    request: { readonly requestId: string; readonly csrDer: Buffer; readonly agentVersion: string },
  ): Promise<AgentSvid>;
}
