import type { Result } from '../../src/common/errors/index.ts';
import type { ProvenListener, Shown } from './listener.ts';

export interface ProofDemand {
  readonly listeners: readonly ProvenListener[];
  /** SHA-256 of the leaf that each listener must show, in lower-case hex; serials can be forged. */
  readonly leafSha256: string;
  /** Its serial, for messages; lower-case hex. */
  readonly serial: string;
  /**
   * SHA-256 of the leaf that the listeners showed before, which they may show until they have the
   * new one; lower-case hex. Undefined: they may show anything until then.
   */
  readonly leafSha256Before: string | undefined;
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
   * PROOF_MISSING, which names each listener and what it showed last: when the time is over, or as
   * soon as one goes on to show neither the new leaf nor the one before.
   */
  prove(demand: ProofDemand, signal: AbortSignal): Promise<Result<Proof>>;
}
