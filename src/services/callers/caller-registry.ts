import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock } from '../../common/runtime/index.ts';
import {
  blockedKeyText,
  isTrusted,
  standingIn,
  type CertificateRecord,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type {
  LedgerAgents,
  LedgerBlockedKeys,
  LedgerDelegations,
  LedgerRevocations,
  ObjectLedger,
} from '../../ledger/index.ts';
import type { CertificateStore, EntryStore } from '../../store/ports/index.ts';
import { holdingAgent } from '../agents/standing-agent.ts';
import type { AnonymousCaller, CallerNode, CertificateCaller, LocalCaller } from './caller.ts';
import type { Callers, EndedCallers, PeerCertificate } from '../services.ts';
import type { InventoryProof } from './inventory-proof.ts';
import type { AgentDoubles } from '../agents/agent-doubles.ts';
import type { RefusalLog } from './refusal-log.ts';

export interface CallerDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly agents: Pick<LedgerAgents, 'byId' | 'lineOf'>;
  readonly delegations: Pick<LedgerDelegations, 'activeFor' | 'compareSoon'>;
  readonly entries: Pick<EntryStore, 'byId'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'announceAbsent'>;
  readonly inventory: Pick<InventoryProof, 'require' | 'missing' | 'altered'>;
  readonly authorities: Pick<Authorities, 'rootOf' | 'rootsDer' | 'all' | 'onChange'>;
  readonly onRevision: (listener: () => void) => () => void;
  readonly clock: Clock;
  readonly refusals: Pick<RefusalLog, 'refusedAs' | 'mark' | 'count'>;
  readonly doubles: Pick<AgentDoubles, 'olderCertificate'>;
  /** uids that the admin socket admits. */
  readonly localUids: ReadonlySet<number>;
}

interface Standing {
  readonly caller: CertificateCaller;
  readonly record: CertificateRecord;
  /** The counter of changes at the time of the check. */
  readonly asOf: number;
  /**
   * Unix seconds at which the delegation or entry behind the class expires. No change announces
   * that.
   */
  readonly validUntil: number;
}

const maximumStandings = 20_000;
const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** Holders of these certificates are no callers. A Linkerd proxy shows a token each time. */
const noCallers = {
  endpoint: 'an endpoint',
  linkerd: 'a Linkerd proxy',
  authority: 'an authority',
} as const;

/**
 * Identifies callers by the inventory record of the presented certificate. Owner of the cache of
 * standings.
 */
export class CallerRegistry implements Callers {
  readonly #dependencies: CallerDependencies;
  readonly #standings = new Map<string, Standing>();
  readonly #listeners = new Set<(ended: EndedCallers) => void>();
  readonly #changeListeners = new Set<() => void>();
  readonly #stop: (() => void)[];
  #changes = 0;
  #roots: string;

  constructor(dependencies: CallerDependencies) {
    this.#dependencies = dependencies;
    this.#roots = this.#rootsText();
    this.#stop = [
      dependencies.onRevision(() => this.invalidate()),
      dependencies.authorities.onChange(() => {
        this.invalidate();
        const roots = this.#rootsText();
        if (roots === this.#roots) return;
        this.#roots = roots;
        this.announce({ kind: 'recheck' });
      }),
    ];
  }

  anonymous(peer: string): AnonymousCaller {
    return { class: 'anonymous', peer };
  }

  local({
    uid,
    gid,
    pid,
  }: {
    readonly uid: number;
    readonly gid: number;
    readonly pid: number;
  }): LocalCaller {
    if (!this.#dependencies.localUids.has(uid))
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `the admin socket admits uid 0, the server's own uid and configured uids, not uid ${uid}`,
      );
    return { class: 'local', uid, gid, pid };
  }

  async resolve(certificate: PeerCertificate, peer: string): Promise<CertificateCaller> {
    const record = await this.#dependencies.certificates.bySerial(certificate.serial);
    // a foreign certificate with one of our serials: another issuer or content
    if (
      record === undefined ||
      record.sha256 === null ||
      record.sha256 !== certificate.sha256 ||
      record.state !== 'issued'
    ) {
      await this.#dependencies.inventory.missing(certificate, record);
      throw new PkiError(
        'CERTIFICATE_UNKNOWN',
        `no issued certificate with the serial ${certificate.serial.slice(0, 64)} and this digest is in the inventory`,
      );
    }
    return (await this.#admitted(record, peer)).caller;
  }

  async stillStands(caller: CertificateCaller): Promise<CertificateCaller> {
    const cached = this.#standings.get(caller.serial);
    const now = this.#dependencies.clock.now();
    if (cached !== undefined) this.#refuseExpired(cached.record, now);
    if (cached?.asOf === this.#changes && now < cached.validUntil)
      return cached.caller.peer === caller.peer
        ? cached.caller
        : { ...cached.caller, peer: caller.peer };
    // read the record again: a renewal may have recorded its successor
    const record = await this.#dependencies.certificates.bySerial(caller.serial);
    if (record === undefined || record.state !== 'issued') {
      this.#dependencies.inventory.altered(caller.serial, record);
      throw new PkiError(
        'CERTIFICATE_UNKNOWN',
        `the certificate ${caller.serial} has no record in the inventory`,
      );
    }
    return (await this.#admitted(record, caller.peer)).caller;
  }

  onEnded(listener: (ended: EndedCallers) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Called after a change that standings may rest on. Each standing is checked again at its next
   * call.
   */
  invalidate(): void {
    this.#changes += 1;
    for (const listener of this.#changeListeners) listener();
  }

  /** Called after each change that standings may rest on. */
  onInvalidated(listener: () => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  announce(ended: EndedCallers): void {
    this.invalidate();
    for (const listener of [...this.#listeners]) listener(ended);
  }

  close(): void {
    for (const stop of this.#stop) stop();
    this.#listeners.clear();
    this.#changeListeners.clear();
  }

  /**
   * The caller proved the key of a certificate of ours, so that its identity is known. Therefore
   * the refusal of a banned or cloned agent is recorded.
   */
  async #admitted(record: CertificateRecord, peer: string): Promise<Standing> {
    try {
      return await this.#check(record, peer);
    } catch (thrown) {
      const error = PkiError.from(thrown);
      const { doubles, refusals, clock } = this.#dependencies;
      if (error.code === 'AGENT_SUPERSEDED') {
        const sight = { serial: record.serial, peer };
        const how = await doubles.olderCertificate(record.spiffeId, sight);
        // an agent that goes on with its next SVID is refused nothing; a copy that tries on is on
        // record already, and its refusals are counted
        if (how !== 'new') refusals.mark(error, uuidv7(clock.nowMs()));
        if (how === 'told') refusals.count('Connect', error.code);
      }
      await refusals.refusedAs(record.spiffeId, 'Connect', error, record.serial);
      throw error;
    }
  }

  async #check(record: CertificateRecord, peer: string): Promise<Standing> {
    // read before the queries: a change during them makes the answer stale at once
    const asOf = this.#changes;
    const now = this.#dependencies.clock.now();
    // what was revoked is known from the log, whatever became of the row
    if (this.#dependencies.revocations.revoked(record.serial))
      throw new PkiError('CERTIFICATE_REVOKED', `the certificate ${record.serial} was revoked`);
    // whoever has a blocked key may have stolen it
    if (this.#dependencies.blockedKeys.get(record.publicKeySha256) !== undefined)
      throw new PkiError('KEY_BLOCKED', blockedKeyText(record.publicKeySha256));
    // then at once: a refusal that rests on an altered row would say nothing of the alteration
    await this.#dependencies.inventory.require(record);
    this.#refuseExpired(record, now);
    this.#refuseUntrusted(record);
    const { caller, validUntil } = await this.#classify(record, peer, now);
    const standing = { caller, record, asOf, validUntil };
    this.#standings.delete(record.serial);
    if (this.#standings.size >= maximumStandings)
      this.#standings.delete(this.#standings.keys().next().value as string);
    this.#standings.set(record.serial, standing);
    return standing;
  }

  async #classify(
    record: CertificateRecord,
    peer: string,
    now: number,
  ): Promise<{ readonly caller: CertificateCaller; readonly validUntil: number }> {
    const { spiffeId, serial, notAfter, authorityId, entryId, holder } = record;
    const identity = { spiffeId, serial, notAfter, authorityId, entryId, peer };
    switch (record.kind) {
      case 'agent':
        return {
          caller: {
            ...identity,
            class: 'agent',
            kind: 'agent',
            generation: await this.#agentGeneration(record),
          },
          validUntil: Infinity,
        };
      case 'admin':
        return {
          caller: { ...identity, class: 'admin', kind: 'admin', node: await this.#nodeOf(record) },
          validUntil: await this.#adminUntil(record, now),
        };
      case 'workload': {
        const delegations = await this.#dependencies.delegations.activeFor(spiffeId, now);
        const ends = delegations.map(({ expiresAt }) => expiresAt).filter((at) => at > 0);
        if (delegations.length === 0) {
          this.#dependencies.delegations.compareSoon();
          return {
            caller: { ...identity, holder, class: 'workload', kind: 'workload' },
            validUntil: Infinity,
          };
        }
        return {
          caller: {
            ...identity,
            class: 'delegate',
            kind: 'workload',
            node: await this.#nodeOf(record),
          },
          validUntil: Math.min(Infinity, ...ends),
        };
      }
      case 'delegated':
      case 'token':
      case 'server':
        // A certificate that a delegate signed, or that a token led to, is always a workload,
        // whatever its name says or is delegated to.
        return {
          caller: { ...identity, holder, class: 'workload', kind: record.kind },
          validUntil: Infinity,
        };
      default:
        throw new PkiError(
          'CALLER_NOT_ADMITTED',
          `the certificate of ${noCallers[record.kind]} can not be used to call this server`,
        );
    }
  }

  async #agentGeneration(record: CertificateRecord): Promise<number> {
    const row = await this.#dependencies.agents.byId(record.spiffeId);
    if (row === undefined) {
      this.#dependencies.objects.announceAbsent('agent', record.spiffeId);
      throw new PkiError(
        'CERTIFICATE_UNKNOWN',
        `there is no record of an agent ${record.spiffeId}`,
      );
    }
    const agent = this.#dependencies.objects.require('agent', row);
    if (agent.state === 'banned')
      throw new PkiError('AGENT_BANNED', `the agent ${record.spiffeId} is banned`);
    if (agent.state === 'evicted')
      throw new PkiError('AGENT_EVICTED', `the agent ${record.spiffeId} was evicted`);
    const standing = standingIn(await this.#dependencies.agents.lineOf(agent), record.serial);
    if (standing !== 'full')
      throw new PkiError(
        'AGENT_SUPERSEDED',
        standing === 'recover'
          ? `a newer certificate of ${record.spiffeId} than ${record.serial} is in use: this ` +
              'one can only be used to recover'
          : `the certificate ${record.serial} of ${record.spiffeId} is superseded: a newer ` +
              'one is in use, or another session began',
      );
    return agent.generation;
  }

  /**
   * The rights of a caller end with its node: a ban of a stolen machine would else not end what it
   * can have signed with the certificates on it.
   */
  async #nodeOf({ entryId, holder }: CertificateRecord): Promise<CallerNode | undefined> {
    if (entryId === null) return undefined;
    const { spiffeId, generation } = await holdingAgent(this.#dependencies, holder);
    return { spiffeId, generation };
  }

  /**
   * Unix seconds until which the caller is an admin: with an entry, as long as the entry says so;
   * with a minted certificate, until it ends.
   */
  async #adminUntil(record: CertificateRecord, now: number): Promise<number> {
    if (record.entryId === null) return Infinity;
    const row = await this.#dependencies.entries.byId(record.entryId);
    const { objects } = this.#dependencies;
    if (row === undefined) objects.announceAbsent('entry', record.entryId);
    const entry = row === undefined ? undefined : objects.require('entry', row);
    const stands =
      entry !== undefined &&
      entry.admin &&
      entry.spiffeId === record.spiffeId &&
      (entry.expiresAt === 0 || entry.expiresAt > now);
    if (!stands)
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `the entry ${record.entryId} no longer makes ${record.spiffeId} an admin`,
      );
    return entry.expiresAt === 0 ? Infinity : entry.expiresAt;
  }

  #refuseExpired(record: CertificateRecord, now: number): void {
    if (now > record.notAfter)
      throw new PkiError(
        'CERTIFICATE_EXPIRED',
        `the certificate ${record.serial} expired at ${iso(record.notAfter)}, and the clock ` +
          `of this server says ${iso(now)}`,
      );
    if (now < record.notBefore)
      throw new PkiError(
        'CERTIFICATE_NOT_YET_VALID',
        `the certificate ${record.serial} is not valid before ${iso(record.notBefore)}, and ` +
          `the clock of this server says ${iso(now)}`,
      );
  }

  #refuseUntrusted(record: CertificateRecord): void {
    const issuer = this.#dependencies.authorities.all().find(({ id }) => id === record.authorityId);
    const root = this.#dependencies.authorities.rootOf(record.authorityId);
    const trusted =
      issuer !== undefined &&
      isTrusted(issuer.state) &&
      root?.kind === 'root' &&
      isTrusted(root.state);
    if (!trusted)
      throw new PkiError(
        'CHAIN_UNTRUSTED',
        `the authority ${record.authorityId} that signed the certificate, or its root, is no longer trusted`,
      );
  }

  #rootsText(): string {
    return this.#dependencies.authorities
      .rootsDer()
      .map((der) => der.toString('base64'))
      .sort()
      .join('\n');
  }
}

/** Whether the end of an identity ends this caller. */
export const concerns = (
  { beforeGeneration, exceptSerials }: Extract<EndedCallers, { readonly kind: 'identity' }>,
  caller: CertificateCaller,
): boolean =>
  exceptSerials?.has(caller.serial) !== true &&
  (beforeGeneration === undefined ||
    caller.class !== 'agent' ||
    caller.generation < beforeGeneration);
