import { createHash, timingSafeEqual } from 'node:crypto';
import { parseCsr } from '../certs/index.ts';
import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock, Random } from '../common/runtime/index.ts';
import { SpiffeId, x509popAgentId } from '../common/spiffe/index.ts';
import { sha256Hex } from '../common/x509/index.ts';
import { attestationMessage } from '../common/wire/attestation-message.ts';
import { isAgentPath, type Agent, type BundleRevision, type JoinToken } from '../domain/index.ts';
import type { AgentStore, BundleStore, JoinTokenStore } from '../store/ports/index.ts';
import type { AgentCaller, AnonymousCaller } from './caller.ts';
import type {
  AgentSvid,
  AttestExchange,
  AttestPeer,
  AttestStart,
  AttestStep,
  NodeAttestation,
} from './contract.ts';
import type { AgentKey, Enrolment, ProvenNode } from './enrolment.ts';
import { AttestationLimits } from './attestation-limits.ts';
import { KeyedBuckets, TokenBucket } from './limits.ts';
import { refusing, type RefusalLog } from './refusals.ts';
import { checkRequestId, checkText, enforceRate, requireAgent } from './requests.ts';
import type { ServiceSettings } from './settings.ts';
import { checkProof, verifyNodeCertificate } from './x509pop.ts';

export interface AttestationDeps {
  readonly agents: Pick<AgentStore, 'byId'>;
  readonly tokens: Pick<JoinTokenStore, 'byHash' | 'bind'>;
  readonly bundles: Pick<BundleStore, 'since'>;
  readonly enrolment: Enrolment;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: ServiceSettings;
}

const operation = 'Attest';
const maximumTokenLength = 256;
const maximumCsrBytes = 16_384;
const renewalRate = { perSecond: 0.2, burst: 10 };

/**
 * Owner of the global limits on attestation: the rate of all, and the number of challenges that
 * wait for their answer.
 */
export class NodeAttestationService implements NodeAttestation {
  readonly #deps: AttestationDeps;
  readonly #limits: AttestationLimits;
  /** Apart from attestation, so that neither can be starved by way of the other. */
  readonly #steps: TokenBucket;
  readonly #renewals: KeyedBuckets;
  readonly #turns = new Map<string, Promise<unknown>>();
  #pending = 0;

  constructor(deps: AttestationDeps) {
    this.#deps = deps;
    this.#limits = new AttestationLimits(deps.settings.attestationRate, deps.clock);
    this.#steps = new TokenBucket(deps.settings.attestationRate, deps.clock);
    this.#renewals = new KeyedBuckets(renewalRate, deps.clock);
  }

  open(peer: AttestPeer): AttestExchange {
    try {
      this.#limits.admit(peer.peer);
    } catch (thrown) {
      // counted only: never a wait, and never an fsync
      void this.#deps.refusals.refused(
        { class: 'anonymous', peer: peer.peer },
        operation,
        PkiError.from(thrown),
      );
      throw thrown;
    }
    return new Exchange(this.#deps, peer, {
      claim: () => {
        if (this.#pending >= this.#deps.settings.maximumPendingChallenges)
          throw new PkiError('OVERLOADED', 'too many attestations wait for their answer');
        this.#pending += 1;
        let held = true;
        return () => {
          if (held) this.#pending -= 1;
          held = false;
        };
      },
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
      throw new PkiError('INVALID_REQUEST', 'the sequence is no whole number');
    return this.#deps.bundles.since(sequence);
  }

  renew(
    caller: AgentCaller,
    request: { readonly requestId: string; readonly csrDer: Buffer; readonly agentVersion: string },
  ): Promise<AgentSvid> {
    return refusing(this.#deps.refusals, caller, 'RenewAgent', caller.spiffeId, async () => {
      requireAgent(caller);
      checkRequestId(request.requestId);
      checkText('agent_version', request.agentVersion, 128);
      enforceRate(this.#renewals.take(caller.spiffeId), 'too many renewals');
      return this.#inTurn(caller.spiffeId, () =>
        this.#deps.enrolment.renew(caller, { ...request, peer: caller.peer }),
      );
    });
  }

  /**
   * Sessions of one agent begin and go on one after the other, so that two attestations at once end
   * with one that stands.
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

interface Limits {
  /** A slot for a pending challenge; returns its release. Throws OVERLOADED. */
  claim(): () => void;
  inTurn<T>(agentId: string, act: () => Promise<T>): Promise<T>;
  /** The exchange came to nothing. */
  failed(): void;
}

interface Challenge {
  readonly nonce: Buffer;
  readonly untilMs: number;
  /** Checks the answer; nothing about agents is said before it is good. */
  prove(signature: Buffer): Promise<ProvenNode>;
  readonly key: AgentKey;
  readonly release: () => void;
}

class Exchange implements AttestExchange {
  readonly #deps: AttestationDeps;
  readonly #peer: AttestPeer;
  readonly #limits: Limits;
  readonly #caller: AnonymousCaller;
  #started = false;
  #closed = false;
  #succeeded = false;
  #challenge: Challenge | undefined;

  constructor(deps: AttestationDeps, peer: AttestPeer, limits: Limits) {
    this.#deps = deps;
    this.#peer = peer;
    this.#limits = limits;
    this.#caller = { class: 'anonymous', peer: peer.peer };
  }

  start(start: AttestStart): Promise<AttestStep> {
    return refusing(this.#deps.refusals, this.#caller, operation, undefined, async () => {
      if (this.#started || this.#closed)
        throw new PkiError('INVALID_REQUEST', 'an attestation has one start');
      this.#started = true;
      checkRequestId(start.requestId);
      checkText('agent_version', start.agentVersion, 128);
      if (start.protocolVersion < 1)
        throw new PkiError('INVALID_REQUEST', 'protocol_version is missing');
      if (start.csrDer.length > maximumCsrBytes)
        throw new PkiError('REQUEST_TOO_LARGE', `the CSR has more than ${maximumCsrBytes} bytes`);
      const { spkiDer } = unwrap(parseCsr(start.csrDer));
      const key = {
        requestId: start.requestId,
        csrDer: start.csrDer,
        agentVersion: start.agentVersion,
        peer: this.#peer.peer,
      };
      switch (start.method.type) {
        case 'join_token':
          return this.#done(await this.#joinToken(start.method.token, key, spkiDer));
        case 'x509pop':
          return this.#x509pop(start.method.chainDer, key, spkiDer);
        case 'expired_svid':
          return this.#expired(start.method.spiffeId, start.method.serial, key, spkiDer);
      }
    });
  }

  answer(signature: Buffer): Promise<AttestStep> {
    return refusing(this.#deps.refusals, this.#caller, operation, undefined, async () => {
      const challenge = this.#challenge;
      // taken away before anything else: a nonce is good for one try
      this.#challenge = undefined;
      challenge?.release();
      if (challenge === undefined)
        throw new PkiError('INVALID_REQUEST', 'there is no challenge to answer');
      if (this.#deps.clock.monotonicMs() > challenge.untilMs)
        throw new PkiError('ATTESTATION_FAILED', 'the challenge was answered too late');
      const node = await challenge.prove(signature);
      return this.#asNode(node.agentId, async () =>
        this.#done(
          await this.#limits.inTurn(node.agentId, () =>
            this.#deps.enrolment.begin(node, challenge.key),
          ),
        ),
      );
    });
  }

  close(): void {
    if (!this.#closed && !this.#succeeded) this.#limits.failed();
    this.#closed = true;
    this.#challenge?.release();
    this.#challenge = undefined;
  }

  #done(svid: AgentSvid): AttestStep {
    this.#succeeded = true;
    return { kind: 'svid', svid };
  }

  async #joinToken(token: string, key: AgentKey, spkiDer: Buffer): Promise<AgentSvid> {
    const unknown = (): PkiError =>
      new PkiError(
        'JOIN_TOKEN_INVALID',
        'the join token is unknown, expired, or was used with another key',
      );
    if (token === '' || token.length > maximumTokenLength) throw unknown();
    const hash = createHash('sha256').update(token).digest();
    const found = await this.#deps.tokens.byHash(hash.toString('hex'));
    if (
      found === undefined ||
      !timingSafeEqual(Buffer.from(found.tokenSha256, 'hex'), hash) ||
      found.expiresAt <= this.#deps.clock.now()
    )
      throw unknown();
    return this.#asNode(found.agentId, () =>
      this.#limits.inTurn(found.agentId, () =>
        this.#redeem(found, key, sha256Hex(spkiDer), unknown),
      ),
    );
  }

  async #redeem(
    found: JoinToken,
    key: AgentKey,
    publicKeySha256: string,
    unknown: () => PkiError,
  ): Promise<AgentSvid> {
    const agent = await this.#deps.agents.byId(found.agentId);
    if (agent?.state === 'banned')
      throw new PkiError('AGENT_BANNED', `the agent ${found.agentId} is banned`);
    if (found.boundPublicKeySha256 !== null && found.boundPublicKeySha256 !== publicKeySha256)
      throw unknown();
    const bound = await this.#deps.tokens.bind(found.id, publicKeySha256, this.#deps.clock.now());
    if (bound.boundPublicKeySha256 !== publicKeySha256) throw unknown();
    const node: ProvenNode = {
      agentId: found.agentId,
      attestationType: 'join_token',
      selectors: found.nodeSelectors,
      act: 'attest',
      tokenId: found.id,
      detail: { method: 'join_token', token: found.id },
    };
    // the token itself is the request: whatever ID a repeated call has, the same token and key lead
    // to one certificate
    const once = { ...key, requestId: found.id };
    if (bound.resultSerial === null) return this.#deps.enrolment.begin(node, once);
    // used already: the same answer, as long as the session that began with it has not moved on or
    // been ended
    const stands =
      agent?.state === 'active' &&
      agent.serial === bound.resultSerial &&
      agent.svidNotAfter > this.#deps.clock.now();
    const repeated = stands
      ? await this.#deps.enrolment.repeat(node, once, bound.resultSerial)
      : undefined;
    if (repeated === undefined) throw unknown();
    return repeated;
  }

  #x509pop(chainDer: readonly Buffer[], key: AgentKey, newSpkiDer: Buffer): AttestStep {
    const node = unwrap(
      verifyNodeCertificate(chainDer, this.#deps.settings.x509popRootsDer, this.#deps.clock.now()),
    );
    const agentId = x509popAgentId(this.#deps.settings.trustDomain, node.fingerprint).toString();
    return this.#challengeFor(key, newSpkiDer, async (message, signature) => {
      checkProof(node.spkiDer, message, signature);
      return this.#asNode(agentId, async () => {
        if ((await this.#deps.agents.byId(agentId))?.state === 'banned')
          throw new PkiError('AGENT_BANNED', `the agent ${agentId} is banned`);
        return {
          agentId,
          attestationType: 'x509pop',
          selectors: node.selectors,
          act: 'attest',
          detail: { method: 'x509pop', fingerprint: node.fingerprint },
        };
      });
    });
  }

  /**
   * Any ID gets a challenge; whether there is such an agent, or what became of it, is said to its
   * key alone.
   */
  #expired(spiffeId: string, serial: string, key: AgentKey, newSpkiDer: Buffer): AttestStep {
    const id = SpiffeId.parse(spiffeId);
    if (
      !id.ok ||
      !isAgentPath(id.value) ||
      !id.value.trustDomain.equals(this.#deps.settings.trustDomain)
    )
      throw new PkiError('ATTESTATION_FAILED', 'the ID is not of an agent of this trust domain');
    return this.#challengeFor(key, newSpkiDer, async (message, signature) => {
      const agent = await this.#deps.agents.byId(spiffeId);
      if (agent === undefined || agent.serial !== serial)
        throw new PkiError(
          'ATTESTATION_FAILED',
          'no agent with this ID has this certificate as its newest',
        );
      checkProof(agent.spkiDer, message, signature);
      return this.#asNode(spiffeId, () => Promise.resolve(this.#recovering(agent)));
    });
  }

  #recovering(agent: Agent): ProvenNode {
    if (agent.state === 'banned')
      throw new PkiError('AGENT_BANNED', `the agent ${agent.spiffeId} is banned`);
    if (agent.state === 'evicted')
      throw new PkiError('AGENT_EVICTED', `the agent ${agent.spiffeId} was evicted`);
    if (this.#deps.clock.now() > agent.svidNotAfter + this.#deps.settings.recoveryGraceSeconds)
      throw new PkiError(
        'RENEWAL_GRACE_EXCEEDED',
        `the last SVID expired at ${new Date(agent.svidNotAfter * 1000).toISOString()}, longer ago than ${this.#deps.settings.recoveryGraceSeconds} s`,
      );
    return {
      agentId: agent.spiffeId,
      attestationType: agent.attestationType,
      selectors: agent.selectors,
      act: 'recover',
      generation: agent.generation,
      detail: { method: 'expired_svid', recovered: agent.serial },
    };
  }

  #challengeFor(
    key: AgentKey,
    newSpkiDer: Buffer,
    prove: (message: Buffer, signature: Buffer) => Promise<ProvenNode>,
  ): AttestStep {
    const free = this.#limits.claim();
    // whoever never answers keeps his stream, but not the slot
    const cancel = this.#deps.clock.after(this.#deps.settings.challengeTtlSeconds * 1000, free);
    const release = (): void => {
      cancel();
      free();
    };
    const nonce = this.#deps.random.bytes(32);
    const trustDomainName = this.#deps.settings.trustDomain.name;
    const { serverCertificateSha256 } = this.#peer;
    const message = attestationMessage({
      nonce,
      trustDomainName,
      serverCertificateSha256,
      newSpkiDer,
    });
    const untilMs = this.#deps.clock.monotonicMs() + this.#deps.settings.challengeTtlSeconds * 1000;
    this.#challenge = {
      nonce,
      untilMs,
      key,
      release,
      prove: (signature) => prove(message, signature),
    };
    return { kind: 'challenge', nonce, trustDomainName, serverCertificateSha256 };
  }

  /** From here on the node has proved who it is: what refuses it is on record under its name. */
  async #asNode<T>(agentId: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (thrown) {
      const error = PkiError.from(thrown);
      await this.#deps.refusals.refusedAs(agentId, operation, error, agentId);
      throw error;
    }
  }
}
