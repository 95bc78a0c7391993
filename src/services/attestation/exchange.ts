import { parseCsr } from '../../certs/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock, Random } from '../../common/runtime/index.ts';
import { attestationMessage } from '../../common/wire/attestation-message.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { Agent } from '../../domain/index.ts';
import { requireUnblocked } from '../../ledger/index.ts';
import type { JoinTokenStore } from '../../store/ports/index.ts';
import type { AnonymousCaller } from '../callers/caller.ts';
import type { AgentDoubles } from '../agents/agent-doubles.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkRequestId, checkText } from '../requests.ts';
import type { Checkpoints } from '../sync/checkpoints.ts';
import type { ServiceSettings } from '../settings.ts';
import type { SingleUse } from '../tokens/single-use.ts';
import type { AgentKey, Enrolment, ProvenNode } from './enrolment.ts';
import { EvidenceMarks } from './evidence-marks.ts';
import type {
  AgentSvid,
  AttestExchange,
  AttestPeer,
  AttestStart,
  AttestStep,
} from './node-attestation.ts';
import type { NodeProof } from './node-attestor.ts';
import type { NodeAttestors } from './node-attestors.ts';
import { Recovery, type RecoveryDependencies, type RecoveryProof } from './recovery.ts';

export interface ExchangeDependencies
  extends Pick<
    RecoveryDependencies,
    | 'agents'
    | 'certificates'
    | 'revocations'
    | 'blockedKeys'
    | 'objects'
    | 'inventory'
    | 'absences'
    | 'lostSvids'
  > {
  readonly tokens: Pick<JoinTokenStore, 'bind'>;
  readonly attestors: NodeAttestors;
  readonly enrolment: Enrolment;
  readonly singleUse: SingleUse;
  readonly doubles: Pick<AgentDoubles, 'held' | 'olderCertificate' | 'recovered' | 'secondKey'>;
  readonly checkpoints: Pick<Checkpoints, 'seen'>;
  /** The refusal while the database is not trusted. Undefined: it is. */
  readonly untrusted: () => PkiError | undefined;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: ServiceSettings;
}

/** What all exchanges share. */
export interface ExchangeLimits {
  /**
   * Takes a slot for a pending challenge. Returns the function that releases it.
   *
   * @throws PkiError OVERLOADED
   */
  claim(): () => void;
  inTurn<T>(agentId: string, act: () => Promise<T>): Promise<T>;
  /** Called when the exchange failed. */
  failed(): void;
}

interface PendingChallenge {
  readonly untilMs: number;
  /**
   * Checks the answer and enrols the node. Tells nothing about agents before the answer is
   * verified.
   */
  settle(answer: Buffer): Promise<AgentSvid>;
  readonly release: () => void;
}

/** The new key of the agent, from its CSR. */
interface NewKey extends AgentKey {
  readonly spkiDer: Buffer;
}

export const attestOperation = 'Attest';
const maximumCsrBytes = 16_384;
const maximumPayloadBytes = 128 * 1024;
const maximumCheckpointBytes = 8 * 1024;

/** One attestation or recovery. Owner of its challenge, which may be answered once. */
export class Exchange implements AttestExchange {
  readonly #dependencies: ExchangeDependencies;
  readonly #peer: AttestPeer;
  readonly #limits: ExchangeLimits;
  readonly #caller: AnonymousCaller;
  readonly #marks: EvidenceMarks;
  readonly #recovery: Recovery;
  #started = false;
  #closed = false;
  #succeeded = false;
  #challenge: PendingChallenge | undefined;

  constructor(dependencies: ExchangeDependencies, peer: AttestPeer, limits: ExchangeLimits) {
    this.#dependencies = dependencies;
    this.#peer = peer;
    this.#limits = limits;
    this.#caller = { class: 'anonymous', peer: peer.peer };
    this.#marks = new EvidenceMarks(dependencies);
    this.#recovery = new Recovery(dependencies);
  }

  start(start: AttestStart): Promise<AttestStep> {
    return refusing(
      this.#dependencies.refusals,
      { caller: this.#caller, operation: attestOperation },
      () => {
        if (this.#started || this.#closed)
          throw new PkiError('INVALID_REQUEST', 'the start of an attestation was sent twice');
        this.#started = true;
        const key = this.#newKey(start);
        return start.evidence.kind === 'node'
          ? this.#attest(start.evidence, key)
          : this.#recover(start.evidence, key);
      },
    );
  }

  answer(answer: Buffer): Promise<AttestStep> {
    return refusing(
      this.#dependencies.refusals,
      { caller: this.#caller, operation: attestOperation },
      async () => {
        const challenge = this.#challenge;
        // remove the challenge first: a nonce may be tried once
        this.#challenge = undefined;
        challenge?.release();
        if (challenge === undefined)
          throw new PkiError('INVALID_REQUEST', 'there is no challenge to answer');
        if (this.#dependencies.clock.monotonicMs() > challenge.untilMs)
          throw new PkiError('ATTESTATION_FAILED', 'the answer to the challenge came too late');
        return this.#done(await challenge.settle(answer));
      },
    );
  }

  close(): void {
    if (!this.#closed && !this.#succeeded) this.#limits.failed();
    this.#closed = true;
    this.#challenge?.release();
    this.#challenge = undefined;
  }

  #newKey(start: AttestStart): NewKey {
    checkRequestId(start.requestId);
    checkText('agent_version', start.agentVersion, 128);
    if (start.protocolVersion < 1)
      throw new PkiError('INVALID_REQUEST', 'protocol_version is missing');
    if (start.csrDer.length > maximumCsrBytes)
      throw new PkiError('REQUEST_TOO_LARGE', `the CSR has more than ${maximumCsrBytes} bytes`);
    const { spkiDer } = unwrap(parseCsr(start.csrDer));
    // before evidence that counts once is used for this key
    requireUnblocked(this.#dependencies.blockedKeys, spkiDer);
    return {
      requestId: start.requestId,
      csrDer: start.csrDer,
      agentVersion: start.agentVersion,
      peer: this.#peer.peer,
      spkiDer,
    };
  }

  async #attest(
    { type, payload }: Extract<AttestStart['evidence'], { kind: 'node' }>,
    key: NewKey,
  ): Promise<AttestStep> {
    if (payload.length > maximumPayloadBytes)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `the evidence has more than ${maximumPayloadBytes} bytes`,
      );
    const attestor = this.#dependencies.attestors.attestor(type);
    const step = await attestor.start(payload, this.#peer.peer);
    if (step.kind === 'proven') return this.#done(await this.#enrol(type, step, key));
    return this.#challengeFor(key, step.payload, async (message, answer) =>
      this.#enrol(type, await step.prove(answer, message), key),
    );
  }

  #recover(
    presented: Extract<AttestStart['evidence'], { kind: 'expired-svid' }>,
    key: NewKey,
  ): Promise<AttestStep> {
    const { spiffeId, logCheckpoint = '' } = presented;
    this.#recovery.checkId(spiffeId);
    return Promise.resolve(
      this.#challengeFor(key, Buffer.alloc(0), async (message, answer) => {
        // an SVID that this database does not know may be the first sign that it is older
        if (logCheckpoint !== '' && logCheckpoint.length <= maximumCheckpointBytes)
          await this.#dependencies.checkpoints.seen(logCheckpoint, spiffeId);
        const untrusted = this.#dependencies.untrusted();
        if (untrusted !== undefined) throw untrusted;
        const proof = await this.#recovery.prove(presented, message, answer);
        return this.#asNode(spiffeId, () => this.#recovered(proof, key));
      }),
    );
  }

  /**
   * Called for a proven node: checks its ID and whether its evidence still counts, and issues its
   * SVID.
   */
  #enrol(type: string, proof: NodeProof, key: NewKey): Promise<AgentSvid> {
    const { agents, attestors } = this.#dependencies;
    const agentId = attestors.agentIdOf(type, proof);
    const node: ProvenNode = {
      agentId,
      attestationType: type,
      selectors: proof.selectors,
      act: 'attest',
      recorded: proof.recorded,
      detail: { ...proof.detail, method: type },
    };
    return this.#asNode(agentId, () =>
      this.#limits.inTurn(agentId, async () => {
        if (proof.refusal !== undefined)
          throw this.#withStanding(proof.refusal, await agents.byId(agentId));
        const before = proof.use.kind === 'repeatable' ? await agents.byId(agentId) : undefined;
        const newKey = { ...key, sha256: sha256Hex(key.spkiDer) };
        const svid = await this.#marks.redeem(node, proof.use, newKey);
        if (before?.state === 'active') await this.#alertSecondKey(before, key);
        return svid;
      }),
    );
  }

  async #recovered(proof: RecoveryProof, key: NewKey): Promise<AgentSvid> {
    const { doubles, enrolment } = this.#dependencies;
    const { spiffeId } = proof.agent;
    const { serial, standing, superseded } = proof.svid;
    const sight = { serial, peer: this.#peer.peer };
    if (standing === 'none') await doubles.olderCertificate(spiffeId, sight);
    const node = await this.#recovery.recovering(proof, doubles.held(spiffeId));
    const svid = await this.#limits.inTurn(spiffeId, () => enrolment.begin(node, key));
    if (superseded !== undefined)
      await doubles.recovered(spiffeId, { ...sight, endedInUse: superseded });
    return svid;
  }

  /** The refusal of evidence ends no agent that it let in before. */
  #withStanding(refusal: PkiError, agent: Agent | undefined): PkiError {
    if (agent?.state !== 'active' || agent.svidNotAfter < this.#dependencies.clock.now())
      return refusal;
    const { spiffeId, svidNotAfter } = agent;
    return new PkiError(
      refusal.code,
      `${refusal.message}; the agent ${spiffeId} stands all the same, with an SVID until ` +
        `${new Date(svidNotAfter * 1000).toISOString()}`,
      { next: `To end it as well: meshca agent ban ${spiffeId}`, cause: refusal },
    );
  }

  /** An active agent whose SVID is valid needs no attestation. */
  async #alertSecondKey(before: Agent, { spkiDer, peer }: NewKey): Promise<void> {
    const { doubles, clock } = this.#dependencies;
    const { spiffeId, svidNotAfter, serial } = before;
    if (svidNotAfter < clock.now() || before.spkiDer.equals(spkiDer)) return;
    await doubles.secondKey(spiffeId, { serial: '', peer, before: serial });
  }

  #done(svid: AgentSvid): AttestStep {
    this.#succeeded = true;
    return { kind: 'svid', svid };
  }

  #challengeFor(
    key: NewKey,
    payload: Buffer,
    settle: (message: Buffer, answer: Buffer) => Promise<AgentSvid>,
  ): AttestStep {
    const free = this.#limits.claim();
    const ttlMs = this.#dependencies.settings.challengeTtlSeconds * 1000;
    // a peer that never answers keeps its stream, but not its slot
    const cancel = this.#dependencies.clock.after(ttlMs, free);
    const release = (): void => {
      cancel();
      free();
    };
    const nonce = this.#dependencies.random.bytes(32);
    const trustDomainName = this.#dependencies.settings.trustDomain.name;
    const { serverCertificateSha256 } = this.#peer;
    const message = attestationMessage({
      nonce,
      trustDomainName,
      serverCertificateSha256,
      newSpkiDer: key.spkiDer,
    });
    this.#challenge = {
      untilMs: this.#dependencies.clock.monotonicMs() + ttlMs,
      release,
      settle: (answer) => settle(message, answer),
    };
    return { kind: 'challenge', nonce, trustDomainName, serverCertificateSha256, payload };
  }

  /** From here on the node has proved its identity. Its refusals are recorded under its name. */
  async #asNode<T>(agentId: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (thrown) {
      const error = PkiError.from(thrown);
      await this.#dependencies.refusals.refusedAs(agentId, attestOperation, error, agentId);
      throw error;
    }
  }
}
