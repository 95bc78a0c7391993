import type { BundleRevision } from '../../domain/index.ts';
import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { AgentCaller } from '../callers/caller.ts';

export interface AttestPeer {
  /** Network address, for logs and records. */
  readonly peer: string;
  /** SHA-256 of the DER of the certificate that the server presented in this connection. */
  readonly serverCertificateSha256: Buffer;
}

export interface AttestStart {
  readonly protocolVersion: number;
  readonly agentVersion: string;
  readonly requestId: string;
  readonly csrDer: Buffer;
  readonly evidence: /** For the type of node attestation of that name, which alone understands the payload. */
    | { readonly kind: 'node'; readonly type: string; readonly payload: Buffer }
    /** The last SVID of an agent, whose key proves the agent. */
    | ({ readonly kind: 'expired-svid' } & PresentedSvid);
}

/** The SVID with whose key an agent recovers. */
export interface PresentedSvid {
  readonly spiffeId: string;
  readonly serial: string;
  /** Absent: an agent of an older release. */
  readonly certificateDer?: Buffer;
  /** The newest checkpoint of the audit log that the agent holds. */
  readonly logCheckpoint?: string;
}

export type AttestStep =
  | {
      readonly kind: 'challenge';
      readonly nonce: Buffer;
      readonly trustDomainName: string;
      readonly serverCertificateSha256: Buffer;
      /** The challenge of the type, beside the nonce. */
      readonly payload: Buffer;
    }
  | { readonly kind: 'svid'; readonly svid: AgentSvid };

export interface AgentSvid {
  readonly leaf: IssuedLeaf;
  readonly bundle: BundleRevision;
}

/**
 * One Attest stream: `start`, then `answer` if there was a challenge. Each is called once. The
 * nonce ends with the exchange.
 */
export interface AttestExchange {
  start(start: AttestStart): Promise<AttestStep>;
  /** The signature over the challenge, or another proof of possession that the type defines. */
  answer(answer: Buffer): Promise<AttestStep>;
  /** Called whenever the stream ends. Releases the slot of a pending challenge. */
  close(): void;
}

export interface NodeAttestation {
  /**
   * The bundle revisions after a sequence. They are public. RATE_LIMITED, with a limit for all
   * callers together.
   */
  bundleSteps(sequence: number): Promise<readonly BundleRevision[]>;
  /** @throws PkiError RATE_LIMITED or OVERLOADED, before any work */
  open(peer: AttestPeer): AttestExchange;
  renew(
    caller: AgentCaller,
    request: { readonly requestId: string; readonly csrDer: Buffer; readonly agentVersion: string },
    /**
     * Aborted when no caller waits for the answer. Without a durable intent, nothing is issued
     * then.
     */
    signal?: AbortSignal,
  ): Promise<AgentSvid>;
}
