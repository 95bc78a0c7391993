import { createPrivateKey } from 'node:crypto';
import { PkiError } from '../../src/common/errors/index.ts';
import { uuidv7, type Clock, type Logger, type Random } from '../../src/common/runtime/index.ts';
import { isAgentId, SpiffeId, type TrustDomain } from '../../src/common/spiffe/index.ts';
import type { AgentSvid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import {
  createCsr,
  generateKeyPairAsync,
  pkcs8Of,
  spkiOf,
  verifyX509Svid,
} from '../../src/common/x509/index.ts';
import type { BundleStore } from '../bundle/index.ts';
import type { ClientIdentity, IssuerConnection } from '../issuer-client/index.ts';
import { pullForwardMs, renewAtMonotonicMs, SuspendWatch } from '../schedule/index.ts';
import type { AgentCredential, AgentState, PendingRequest } from '../state/index.ts';
import { attest, evidencePurpose, purposeOf, type NodeCredential } from './attest.ts';
import { supersededAdvice, unknownTo } from './advice.ts';
import { recoverable } from './refusals.ts';
import type { ConfiguredEvidence } from './configured-evidence.ts';

export interface AgentIdentityDependencies {
  readonly trustDomain: TrustDomain;
  readonly state: AgentState;
  readonly bundles: BundleStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly agentVersion: string;
  /** The newest checkpoint of the audit log that this agent holds; empty: none. */
  readonly logCheckpoint: () => string;
  /**
   * What the operator configured, read again at each attestation so that a new token needs no
   * restart. Throws NODE_CREDENTIAL_MISSING.
   */
  readonly configured: () => Promise<ConfiguredEvidence>;
  /** A connection without a client certificate, its server verified. */
  readonly connectAnonymously: (signal: AbortSignal) => Promise<IssuerConnection>;
}

type Rejection = 'attest-again' | 'expired' | 'unknown' | 'superseded';

interface Held {
  readonly credential: AgentCredential;
  readonly expiresAtMonotonicMs: number;
  readonly renewAtMonotonicMs: number;
}

/**
 * The agent's own SVID: joined, renewed, recovered, kept on disk. Owner of that state; calls to it
 * do not overlap.
 */
export class AgentIdentity {
  readonly #dependencies: AgentIdentityDependencies;
  readonly #watch: SuspendWatch;
  #held: Held | undefined;
  /**
   * The server no longer accepts what is held: `attest-again` needs a new proof of the node,
   * the others the old key. `unknown`: a server whose database was restored may have lost the SVID.
   */
  #rejected: Rejection | undefined;

  private constructor(dependencies: AgentIdentityDependencies) {
    this.#dependencies = dependencies;
    this.#watch = new SuspendWatch(dependencies.clock);
  }

  /** Throws STATE_CORRUPT or TRUST_DOMAIN_CHANGED. */
  static async load(dependencies: AgentIdentityDependencies): Promise<AgentIdentity> {
    const identity = new AgentIdentity(dependencies);
    const credential = await dependencies.state.credential();
    if (credential !== undefined)
      identity.#hold(
        credential,
        credential.notAfter - dependencies.clock.now(),
        dependencies.clock.monotonicMs(),
      );
    return identity;
  }

  get credential(): AgentCredential | undefined {
    return this.#held?.credential;
  }

  get spiffeId(): SpiffeId | undefined {
    return this.#held?.credential.spiffeId;
  }

  get renewAtMonotonicMs(): number {
    this.#adjust();
    return this.#held?.renewAtMonotonicMs ?? 0;
  }

  /** What to show the server; undefined when there is nothing valid. */
  clientIdentity(): ClientIdentity | undefined {
    return this.valid() ? this.#held?.credential : undefined;
  }

  valid(): boolean {
    this.#adjust();
    return (
      this.#held !== undefined &&
      this.#rejected === undefined &&
      this.#held.expiresAtMonotonicMs > this.#dependencies.clock.monotonicMs()
    );
  }

  /**
   * The server refused the SVID that is held. False: this is known already, so that asking at once
   * is of no use.
   */
  reject(why: Rejection): boolean {
    const known = this.#rejected === why;
    this.#rejected = why;
    return !known;
  }

  pullForward(windowSeconds: number): void {
    if (this.#held === undefined) return;
    const { clock, random } = this.#dependencies;
    this.#held = {
      ...this.#held,
      renewAtMonotonicMs: pullForwardMs(
        this.#held.renewAtMonotonicMs,
        clock.monotonicMs(),
        windowSeconds,
        random.uniform(),
      ),
    };
  }

  /** Returns with a valid SVID held, if need be after an attestation. Throws why there is none. */
  async ensure(signal: AbortSignal): Promise<void> {
    if (this.valid()) return;
    const held = this.#held?.credential;
    if (held !== undefined && this.#rejected !== 'attest-again') {
      try {
        await this.#attest(
          {
            kind: 'expired-svid',
            spiffeId: held.spiffeId.toString(),
            serial: held.serial,
            certificateDer: held.chainDer[0] as Buffer,
            logCheckpoint: this.#dependencies.logCheckpoint(),
            privateKey: keyOf(held),
          },
          { attestedAnew: held.attestedAnew, signal },
        );
        return;
      } catch (thrown) {
        if (!(thrown instanceof PkiError) || !recoverable.has(thrown.code)) throw thrown;
        this.#dependencies.logger.warn(
          { code: thrown.code, spiffeId: held.spiffeId.toString() },
          'the SVID on the disk can not be recovered; attesting the node again',
        );
        if (thrown.code === 'AGENT_SUPERSEDED') this.#rejected = 'superseded';
        if (this.#rejected === 'superseded') await this.#attestSuperseded(held, signal);
        else
          await this.#attest(
            await this.#fresh(
              held,
              this.#rejected === 'unknown' ? unknownTo(held, thrown) : thrown,
            ),
            {
              attestedAnew: held.attestedAnew,
              signal,
            },
          );
        return;
      }
    }
    await this.#attest(
      await this.#fresh(
        held,
        new PkiError('AGENT_EVICTED', 'the server no longer knows this agent'),
      ),
      // an operator has decided who may attest, so that nothing of before counts
      { attestedAnew: false, signal },
    );
  }

  /**
   * Renews over a connection made with the present SVID. The new one is durable before this
   * returns, or owed to the state directory.
   */
  async renew(connection: IssuerConnection): Promise<void> {
    const held = this.#held?.credential;
    if (held === undefined) throw new PkiError('UNAUTHENTICATED', 'there is no SVID to renew');
    const { clock, agentVersion } = this.#dependencies;
    const pending = await this.#pending(`renew:${held.serial}`, { durable: false });
    const key = keyOf(pending);
    const sentAt = clock.monotonicMs();
    const answer = await connection.renewAgent({
      requestId: pending.requestId,
      csrDer: createCsr(key),
      agentVersion,
    });
    await this.#accept(answer, pending, sentAt, held);
  }

  /**
   * Another agent uses this identity with a later SVID, and the one that is held counts no more. An
   * agent whose evidence can be shown again attests by itself once: two that go on doing so would
   * take turns for ever.
   */
  async #attestSuperseded(held: AgentCredential, signal: AbortSignal): Promise<void> {
    const id = held.spiffeId.toString();
    const superseded = new PkiError(
      'AGENT_SUPERSEDED',
      `${id} is in use with a later certificate than the one that this node ` +
        `has${held.attestedAnew ? ', and this node has attested by itself once already' : ''}`,
      { next: supersededAdvice(id) },
    );
    const credential = await this.#fresh(held, superseded);
    const repeatable = credential.kind === 'evidence' && !credential.evidence.once;
    if (repeatable && held.attestedAnew) throw superseded;
    await this.#attest(credential, { attestedAnew: repeatable, signal });
  }

  async #fresh(held: AgentCredential | undefined, refused: PkiError): Promise<NodeCredential> {
    const configured = await this.#dependencies.configured().catch((thrown: unknown) => {
      throw held === undefined ? thrown : refused;
    });
    if (configured.once && evidencePurpose(configured) === held?.usedEvidence) throw refused;
    return { kind: 'evidence', evidence: configured };
  }

  async #attest(
    credential: NodeCredential,
    { attestedAnew, signal }: { readonly attestedAnew: boolean; readonly signal: AbortSignal },
  ): Promise<void> {
    const { trustDomain, clock, agentVersion, connectAnonymously } = this.#dependencies;
    // durable before anything is sent: when the answer gets lost, the same key and ID ask again
    const once = credential.kind === 'evidence' && credential.evidence.once;
    const pending = await this.#pending(purposeOf(credential), {
      durable: once || (attestedAnew && this.#rejected === 'superseded'),
    });
    const key = keyOf(pending);
    const connection = await connectAnonymously(signal);
    try {
      const sentAt = clock.monotonicMs();
      const answer = await attest(connection, {
        credential,
        requestId: pending.requestId,
        csrDer: createCsr(key),
        newSpkiDer: spkiOf(key),
        trustDomain,
        agentVersion,
      });
      if (answer.bundle)
        await this.#takeBundle({ sequence: answer.bundle.sequence, jws: answer.bundle.jws });
      await this.#accept(answer, pending, sentAt, {
        usedEvidence:
          credential.kind === 'evidence' && once
            ? evidencePurpose(credential.evidence)
            : (this.#held?.credential.usedEvidence ?? ''),
        attestedAnew,
      });
      this.#dependencies.logger.info(
        { spiffeId: answer.spiffeId, method: methodOf(credential), serial: answer.serial },
        'the node is attested',
      );
    } finally {
      connection.close();
    }
  }

  async #takeBundle(step: { readonly sequence: number; readonly jws: string }): Promise<void> {
    const { bundles, logger } = this.#dependencies;
    try {
      await bundles.bootstrap(step);
    } catch (thrown) {
      // an agent that slept through several rotations gets the steps between from the sync stream
      if (!bundles.canVerifySteps()) throw thrown;
      logger.debug(
        { sequence: step.sequence },
        'the bundle of the answer is more than one step ahead',
      );
    }
  }

  async #accept(
    answer: AgentSvid__Output,
    pending: PendingRequest,
    sentAtMonotonicMs: number,
    { usedEvidence, attestedAnew }: Pick<AgentCredential, 'usedEvidence' | 'attestedAnew'>,
  ): Promise<void> {
    const { trustDomain, bundles, state } = this.#dependencies;
    const roots = bundles.roots();
    const verified = verifyX509Svid({
      chainDer: answer.chainDer,
      bundle: (name) => (name === trustDomain.name ? roots : undefined),
      now: answer.serverTime,
    });
    if (!verified.ok)
      throw new PkiError(
        'SVID_INVALID',
        `the SVID for this agent does not verify: ${verified.error.message}`,
        { cause: verified.error },
      );
    const { id, leaf } = verified.value;
    if (!isAgentId(id) || id.toString() !== answer.spiffeId)
      throw new PkiError('SVID_INVALID', `the SVID for this agent names ${id.toString()}`);
    if (!leaf.spkiDer.equals(spkiOf(keyOf(pending))))
      throw new PkiError('SVID_INVALID', 'the SVID for this agent has another key');
    const credential: AgentCredential = {
      spiffeId: id,
      serial: answer.serial,
      privateKeyPkcs8Der: pending.privateKeyPkcs8Der,
      chainDer: answer.chainDer,
      notBefore: answer.notBefore,
      notAfter: answer.notAfter,
      lifetimeSeconds: answer.lifetimeSeconds,
      usedEvidence,
      attestedAnew,
    };
    await state.saveCredential(credential);
    await state.clearPending();
    this.#rejected = undefined;
    this.#hold(credential, answer.notAfter - answer.serverTime, sentAtMonotonicMs);
  }

  /**
   * @param durable evidence that is good for one key, or that this agent shows by itself once, is not
   *   shown before that key is kept: it would be lost with this process, or shown again
   */
  async #pending(
    purpose: string,
    { durable }: { readonly durable: boolean },
  ): Promise<PendingRequest> {
    const { state, clock } = this.#dependencies;
    const known = await state.pending();
    if (known?.purpose === purpose) return known;
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const fresh = {
      purpose,
      requestId: uuidv7(clock.nowMs()),
      privateKeyPkcs8Der: pkcs8Of(privateKey),
    };
    if (!(await state.savePending(fresh)) && durable) {
      await state.clearPending();
      throw new PkiError(
        'STATE_UNUSABLE',
        `${state.directory} keeps nothing, and the key of this node must be kept before ` +
          'evidence that counts once is shown for it',
      );
    }
    return fresh;
  }

  /**
   * `remainingSeconds` as of `atMonotonicMs`: from the server's clock where there is an answer,
   * else from the wall clock.
   */
  #hold(credential: AgentCredential, remainingSeconds: number, atMonotonicMs: number): void {
    const received = atMonotonicMs - (credential.lifetimeSeconds - remainingSeconds) * 1000;
    this.#held = {
      credential,
      expiresAtMonotonicMs: atMonotonicMs + remainingSeconds * 1000,
      renewAtMonotonicMs: renewAtMonotonicMs(
        credential.lifetimeSeconds,
        received,
        this.#dependencies.random.uniform(),
      ),
    };
  }

  #adjust(): void {
    const slept = this.#watch.slept();
    if (slept === 0 || this.#held === undefined) return;
    this.#held = {
      ...this.#held,
      expiresAtMonotonicMs: this.#held.expiresAtMonotonicMs - slept,
      renewAtMonotonicMs: this.#held.renewAtMonotonicMs - slept,
    };
  }
}

const methodOf = (credential: NodeCredential): string =>
  credential.kind === 'evidence' ? credential.evidence.type : 'expired_svid';

const keyOf = (holder: {
  readonly privateKeyPkcs8Der: Buffer;
}): ReturnType<typeof createPrivateKey> =>
  createPrivateKey({ key: holder.privateKeyPkcs8Der, format: 'der', type: 'pkcs8' });
