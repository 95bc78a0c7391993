import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import {
  standingIn,
  type Agent,
  type AgentNames,
  type LineStanding,
  type Proven,
} from '../../domain/index.ts';
import {
  requireUnblocked,
  type LedgerAgents,
  type LedgerBlockedKeys,
  type LedgerRevocations,
  type ObjectLedger,
} from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { ServiceSettings } from '../settings.ts';
import type { ProvenNode } from './enrolment.ts';
import type { LostSvids } from './lost-svids.ts';
import type { PresentedSvid } from './node-attestation.ts';
import { checkKeyProof } from './key-proof.ts';
import type { ServerAbsences } from './server-absence.ts';

export interface RecoveryDependencies {
  readonly agents: Pick<LedgerAgents, 'byId' | 'lineOf'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'announceAbsent'>;
  readonly inventory: Pick<InventoryProof, 'require' | 'altered'>;
  readonly lostSvids: Pick<LostSvids, 'find'>;
  readonly attestors: AgentNames;
  readonly absences: Pick<ServerAbsences, 'secondsSince'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly settings: Pick<ServiceSettings, 'trustDomain' | 'recoveryGraceSeconds'>;
}

/**
 * An agent whose SVID expired, or that lost a newer SVID before it was stored, recovers with the
 * key of the SVID on its disk, within the grace. Every ID gets a challenge. Only the holder of the
 * key learns whether such an agent exists, and its state.
 */
export class Recovery {
  readonly #dependencies: RecoveryDependencies;

  constructor(dependencies: RecoveryDependencies) {
    this.#dependencies = dependencies;
  }

  /** @throws PkiError ATTESTATION_FAILED */
  checkId(spiffeId: string): void {
    const id = SpiffeId.parse(spiffeId);
    if (!id.ok || !this.#dependencies.attestors.isAgent(id.value))
      throw new PkiError(
        'ATTESTATION_FAILED',
        'the ID is not that of an agent of this trust domain',
      );
  }

  /**
   * The agent and the SVID whose key signed the message.
   *
   * @throws PkiError ATTESTATION_FAILED, OBJECT_NOT_IN_LOG
   */
  async prove(
    presented: PresentedSvid,
    message: Buffer,
    signature: Buffer,
  ): Promise<RecoveryProof> {
    const { agents, objects } = this.#dependencies;
    const agentRow = await agents.byId(presented.spiffeId);
    if (agentRow === undefined) objects.announceAbsent('agent', presented.spiffeId);
    const agent = agentRow === undefined ? undefined : objects.require('agent', agentRow);
    const svid = agent === undefined ? undefined : await this.#svid(agent, presented);
    if (agent === undefined || svid === undefined)
      throw new PkiError(
        'ATTESTATION_FAILED',
        'no agent with this ID may recover with this certificate',
      );
    checkKeyProof(svid.spkiDer, message, signature);
    return { agent, svid };
  }

  /**
   * @param held a living process has the session of this agent
   * @throws PkiError AGENT_BANNED, AGENT_EVICTED, AGENT_SUPERSEDED, AGENT_DOUBLED,
   *   CERTIFICATE_REVOKED, KEY_BLOCKED, RENEWAL_GRACE_EXCEEDED
   */
  async recovering({ agent, svid }: RecoveryProof, held: boolean): Promise<ProvenNode> {
    if (agent.state === 'banned')
      throw new PkiError('AGENT_BANNED', `the agent ${agent.spiffeId} is banned`);
    if (agent.state === 'evicted')
      throw new PkiError('AGENT_EVICTED', `the agent ${agent.spiffeId} was evicted`);
    if (svid.standing === 'none')
      throw new PkiError(
        'AGENT_SUPERSEDED',
        `the certificate ${svid.serial} of ${agent.spiffeId} counts no more: a later one is ` +
          'in use, or another session began',
      );
    const superseded = svid.lost && held ? svid.inUse : svid.superseded;
    // who holds a valid SVID that is in use has a session and needs no other
    if (held && svid.standing === 'full' && this.#dependencies.clock.now() <= svid.notAfter)
      throw new PkiError(
        'AGENT_DOUBLED',
        `another living process uses the certificate ${svid.serial} of ${agent.spiffeId}`,
      );
    if (this.#dependencies.revocations.revoked(svid.serial))
      throw new PkiError('CERTIFICATE_REVOKED', `the certificate ${svid.serial} was revoked`);
    requireUnblocked(this.#dependencies.blockedKeys, svid.spkiDer);
    await this.#checkGrace(svid);
    return {
      agentId: agent.spiffeId,
      attestationType: agent.attestationType,
      selectors: agent.selectors,
      act: 'recover',
      generation: agent.generation,
      recovered: svid.serial,
      ...(svid.lost ? { lost: true } : {}),
      detail: {
        method: 'expired_svid',
        recovered: svid.serial,
        ...(svid.lost ? { lostByRestore: true } : {}),
        ...(superseded === undefined ? {} : { endedInUse: superseded }),
      },
    };
  }

  /** The grace does not run while the server is away. */
  async #checkGrace({ notAfter }: Pick<RecoverySvid, 'notAfter'>): Promise<void> {
    const { recoveryGraceSeconds } = this.#dependencies.settings;
    const expiredFor = this.#dependencies.clock.now() - notAfter;
    if (expiredFor <= recoveryGraceSeconds) return;
    const away = await this.#dependencies.absences.secondsSince(notAfter);
    if (expiredFor <= recoveryGraceSeconds + away) return;
    throw new PkiError(
      'RENEWAL_GRACE_EXCEEDED',
      `the SVID expired at ${new Date(notAfter * 1000).toISOString()}, longer ago than ` +
        `${recoveryGraceSeconds} ` +
        `s${away === 0 ? '' : ` and the ${away} s in which the server was away since`}`,
    );
  }

  /** The SVID of this serial. Undefined: this agent has none. */
  async #svid(agent: Proven<Agent>, presented: PresentedSvid): Promise<RecoverySvid | undefined> {
    const { serial } = presented;
    const line = await this.#dependencies.agents.lineOf(agent);
    const standing = standingIn(line, serial);
    const inUse = line.inUse ?? undefined;
    const superseded = standing === 'recover' ? inUse : undefined;
    const known = { serial, standing, superseded, inUse, lost: false };
    if (serial === agent.serial)
      return { ...known, spkiDer: agent.spkiDer, notAfter: agent.svidNotAfter };
    const record = await this.#dependencies.certificates.bySerial(serial);
    if (
      record?.kind !== 'agent' ||
      record.spiffeId !== agent.spiffeId ||
      record.certificateDer === null ||
      sha256Hex(record.certificateDer) !== record.sha256
    ) {
      const lost =
        record === undefined
          ? await this.#dependencies.lostSvids.find(agent, line, presented)
          : undefined;
      if (lost !== undefined)
        return { ...known, ...lost, standing: lost.counts ? 'recover' : 'none', lost: true };
      // anybody may name a serial: only one of the line must be in the inventory
      if (standing !== 'none') this.#dependencies.inventory.altered(serial, record);
      return undefined;
    }
    // the key of one that counts no more is told so, and given nothing
    if (standing !== 'none') await this.#dependencies.inventory.require(record);
    const { spkiDer } = unwrap(parseCertificate(record.certificateDer));
    return { ...known, spkiDer, notAfter: record.notAfter };
  }
}

/** An SVID of the agent. */
interface RecoverySvid {
  readonly serial: string;
  readonly standing: LineStanding;
  readonly spkiDer: Buffer;
  readonly notAfter: number;
  /** Serial of the newer SVID that is in use. The recovery ends it. */
  readonly superseded: string | undefined;
  /** Serial of the SVID in use. */
  readonly inUse: string | undefined;
  /** Its record was lost with a restored database. */
  readonly lost: boolean;
}

export interface RecoveryProof {
  readonly agent: Proven<Agent>;
  readonly svid: RecoverySvid;
}
