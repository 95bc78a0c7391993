import { PkiError } from '../../common/errors/index.ts';
import type { BundleRevision } from '../../domain/index.ts';
import type { BundleStore } from '../../store/ports/index.ts';
import type { AgentCaller } from '../callers/caller.ts';
import { KeyedBuckets, TokenBucket } from '../../common/runtime/index.ts';
import { refusing } from '../callers/refusal-log.ts';
import { checkRequestId, checkText, enforceRate, requireAgent } from '../requests.ts';
import { attestOperation, Exchange, type ExchangeDependencies } from './exchange.ts';
import { AttestationLimits } from './limits.ts';
import type { AgentSvid, AttestExchange, AttestPeer, NodeAttestation } from './node-attestation.ts';

export interface AttestationDependencies extends ExchangeDependencies {
  readonly bundles: Pick<BundleStore, 'since'>;
}

const renewalRate = { perSecond: 0.2, burst: 10 };

/**
 * Owner of the global limits on attestation: the total rate, and the number of challenges that wait
 * for their answer.
 */
export class NodeAttestationService implements NodeAttestation {
  readonly #dependencies: AttestationDependencies;
  readonly #limits: AttestationLimits;
  /** Separate from the limit on attestation, so that neither can be used up through the other. */
  readonly #steps: TokenBucket;
  readonly #renewals: KeyedBuckets;
  readonly #turns = new Map<string, Promise<unknown>>();
  #pending = 0;

  constructor(dependencies: AttestationDependencies) {
    this.#dependencies = dependencies;
    this.#limits = new AttestationLimits(dependencies.settings.attestationRate, dependencies.clock);
    this.#steps = new TokenBucket(dependencies.settings.attestationRate, dependencies.clock);
    this.#renewals = new KeyedBuckets(renewalRate, dependencies.clock);
  }

  open(peer: AttestPeer): AttestExchange {
    try {
      this.#limits.admit(peer.peer);
    } catch (thrown) {
      // only counted: this neither waits nor costs an fsync
      void this.#dependencies.refusals.refused(
        { class: 'anonymous', peer: peer.peer },
        attestOperation,
        PkiError.from(thrown),
      );
      throw thrown;
    }
    return new Exchange(this.#dependencies, peer, {
      claim: () => this.#claim(),
      inTurn: (agentId, act) => this.#inTurn(agentId, act),
      failed: () => this.#limits.failed(peer.peer),
    });
  }

  async bundleSteps(sequence: number): Promise<readonly BundleRevision[]> {
    const waitMs = this.#steps.take();
    if (waitMs > 0)
      throw new PkiError(
        'RATE_LIMITED',
        `too many requests for bundle steps: try again in ${waitMs} ms`,
        { detail: { waitMs } },
      );
    if (!Number.isSafeInteger(sequence) || sequence < 0)
      throw new PkiError('INVALID_REQUEST', 'the sequence is not a whole number');
    return this.#dependencies.bundles.since(sequence);
  }

  renew(
    caller: AgentCaller,
    request: { readonly requestId: string; readonly csrDer: Buffer; readonly agentVersion: string },
    signal?: AbortSignal,
  ): Promise<AgentSvid> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'RenewAgent', subject: caller.spiffeId },
      async () => {
        requireAgent(caller);
        checkRequestId(request.requestId);
        checkText('agent_version', request.agentVersion, 128);
        enforceRate(this.#renewals.take(caller.spiffeId), 'too many renewals');
        return this.#inTurn(caller.spiffeId, () =>
          this.#dependencies.enrolment.renew(caller, { ...request, peer: caller.peer, signal }),
        );
      },
    );
  }

  /**
   * Takes a slot for a pending challenge. Returns the function that releases it.
   *
   * @throws PkiError OVERLOADED
   */
  #claim(): () => void {
    if (this.#pending >= this.#dependencies.settings.maximumPendingChallenges)
      throw new PkiError(
        'OVERLOADED',
        'too many attestations wait for the answer to their challenge',
      );
    this.#pending += 1;
    let taken = true;
    return () => {
      if (taken) this.#pending -= 1;
      taken = false;
    };
  }

  /**
   * Runs the acts on one agent's sessions one after the other, so that of two attestations at once
   * exactly one session remains.
   */
  async #inTurn<T>(agentId: string, act: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(agentId);
    const turn = (async () => {
      await before?.catch(() => {});
      return act();
    })();
    this.#turns.set(agentId, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(agentId) === turn) this.#turns.delete(agentId);
    }
  }
}
