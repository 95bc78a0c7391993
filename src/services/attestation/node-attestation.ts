import type { BundleRevision } from '../../domain/index.ts';
import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { AgentCaller } from '../callers/caller.ts';

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
  readonly evidence: /** For the type of node attestation of that name, which alone understands the payload. */
    | { readonly kind: 'node'; readonly type: string; readonly payload: Buffer }
    /** The last SVID of an agent, which proves its key. */
    | { readonly kind: 'expired-svid'; readonly spiffeId: string; readonly serial: string };
}

export type AttestStep =
  | {
      readonly kind: 'challenge';
      readonly nonce: Buffer;
      readonly trustDomainName: string;
      readonly serverCertificateSha256: Buffer;
      /** Of the type, beside the nonce. */
      readonly payload: Buffer;
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
  /** The signature over the challenge, or whatever the type proves possession with. */
  answer(answer: Buffer): Promise<AttestStep>;
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
    /** Aborted when nobody waits for the answer: without a durable intent nothing is issued. */
    signal?: AbortSignal,
  ): Promise<AgentSvid>;
}
