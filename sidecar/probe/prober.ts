import type { Result } from '../../src/common/errors/index.ts';
import type { ProvenListener, Shown } from './listener.ts';

export interface ProofDemand {
  readonly listeners: readonly ProvenListener[];
  /** SHA-256 of the leaf that each listener must show, in lower-case hex; serials can be forged. */
  readonly leafSha256: string;
  /** Its serial, for messages; lower-case hex. */
  readonly serial: string;
  /** Subject names (DER) of the roots that belong to the set. */
  readonly rootNamesDer: readonly Buffer[];
  /** Handshakes in a row, over new connections, at each listener. */
  readonly handshakes: number;
  readonly timeoutMs: number;
}

export interface Proof {
  /**
   * `shown`: each listener asked for client certificates of exactly these roots. `unknown`: at least
   * one did not say whom it trusts.
   */
  readonly trust: 'shown' | 'unknown';
}

export interface Prober {
  /** One handshake. Fails with PROBE_FAILED: address, step and reason. */
  look(listener: ProvenListener, signal: AbortSignal): Promise<Result<Shown>>;
  /**
   * Asks until every listener showed the leaf as often as demanded, in a row. Fails with
   * PROOF_MISSING, which names each listener and what it showed last.
   */
  prove(demand: ProofDemand, signal: AbortSignal): Promise<Result<Proof>>;
}
