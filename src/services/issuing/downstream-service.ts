import { PkiError } from '../../common/errors/index.ts';
import {
  errorFields,
  type Clock,
  type Logger,
  KeyedBuckets,
  TokenBucket,
} from '../../common/runtime/index.ts';
import type { Agent, CertificateRecord, RegistrationEntry, Proven } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { DownstreamAuthority, DownstreamRequest } from '../../issuance/sources/downstream.ts';
import type { LedgerRevocations, ObjectLedger } from '../../ledger/index.ts';
import type { AgentStore, CertificateStore, EntryStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import {
  requesterOf,
  type Caller,
  type DelegateCaller,
  type WorkloadCaller,
} from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import type { Downstream } from '../services.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { NodeSetIndex } from '../agents/node-set-index.ts';
import { holdingAgent } from '../agents/standing-agent.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { enforceRate, requestIdOrNew } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';

export interface DownstreamDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial' | 'list'>;
  readonly entries: Pick<EntryStore, 'byId'>;
  readonly agents: Pick<AgentStore, 'byId'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'announceAbsent'>;
  readonly nodeSets: Pick<NodeSetIndex, 'parents'>;
  readonly inventory: Pick<InventoryProof, 'require' | 'downstream'>;
  readonly revocations: Pick<LedgerRevocations, 'revokeAgain' | 'revoked'>;
  readonly authorities: Pick<Authorities, 'rootsDer'>;
  readonly sign: (request: DownstreamRequest) => Promise<DownstreamAuthority>;
  /** True while the database is not trusted. Nothing is decided from it then. */
  readonly held: () => boolean;
  /** By a clock that is not believed no entry has expired: nothing is revoked for it. */
  readonly clockBelieved: () => boolean;
  readonly onRevision: (listener: () => void) => () => void;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: ServiceSettings;
}

/**
 * What the right to be a downstream CA rests on: the entry of the SVID, the agent behind it, and
 * the ID that the entry must still give.
 */
interface Ground {
  readonly entryId: string;
  readonly holder: string;
  readonly spiffeId: string;
}

/**
 * One token works at a time and few requests wait for it. A refused caller has a CA certificate
 * with days left.
 */
const maximumWaiting = 8;
const afterRevisionMs = 200;
const lookEveryMs = 60_000;
/** Errors that mean that the right has ended, not that its lookup failed. */
const endings: ReadonlySet<string> = new Set([
  'DOWNSTREAM_NOT_ALLOWED',
  'AGENT_BANNED',
  'AGENT_EVICTED',
]);

/**
 * Issues CA certificates to workloads of downstream entries, for nested servers. Owner of the queue
 * before the root token, of the rates, and of the watch over issued certificates: when the entry or
 * the agent ends, the certificate is revoked on its parent's CRL.
 */
export class DownstreamService implements Downstream {
  readonly #dependencies: DownstreamDependencies;
  readonly #buckets: KeyedBuckets;
  readonly #total: TokenBucket;
  readonly #stop: () => void;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #cancel: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(dependencies: DownstreamDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.downstreamRate, dependencies.clock);
    this.#total = new TokenBucket(dependencies.settings.downstreamTotalRate, dependencies.clock);
    this.#stop = dependencies.onRevision(() => this.#soon(afterRevisionMs));
    this.#soon(afterRevisionMs);
  }

  sign(
    caller: WorkloadCaller | DelegateCaller,
    input: { readonly requestId: string; readonly csrDer: Buffer; readonly ttlSeconds: number },
    signal?: AbortSignal,
  ): ReturnType<Downstream['sign']> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'SignDownstreamAuthority', subject: caller.entryId?.slice(0, 64) },
      async () => {
        const { sign, authorities, settings, clock, revocations } = this.#dependencies;
        requireWorkload(caller);
        const requestId = requestIdOrNew(input.requestId, clock.nowMs());
        const { record, ground } = await this.#groundOf(caller);
        const { entry, agent } = await this.#standing(ground, clock.now());
        enforceRate(this.#buckets.take(entry.id), 'too many CA certificates for this entry');
        enforceRate(this.#total.take(), 'too many CA certificates');
        const signed = await this.#inTurn(signal, () =>
          sign({
            caller: requesterOf(caller),
            requestId,
            csrDer: input.csrDer,
            signal,
            ...(input.ttlSeconds === 0 ? {} : { lifeSeconds: input.ttlSeconds }),
            grant: {
              entryId: entry.id,
              spiffeId: entry.spiffeId,
              holder: agent.spiffeId,
              maximumLifeSeconds: settings.downstreamTtlSeconds,
              ownKeySha256: record.publicKeySha256,
              repeatable: (serial) => !revocations.revoked(serial),
              rights: [
                { kind: 'entry', id: entry.id, revision: entry.revision },
                { kind: 'agent', spiffeId: agent.spiffeId, generation: agent.generation },
                ...callerRights(caller),
              ],
              reason: {
                workload: caller.spiffeId,
                entry: entry.id,
                agent: agent.spiffeId,
                svid: caller.serial,
              },
            },
          }),
        );
        return { ...signed, rootsDer: authorities.rootsDer() };
      },
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    this.#cancel?.();
    await this.#looking;
  }

  /** The ground from the record, which is compared with the log. Nothing comes from the caller. */
  async #groundOf(
    caller: WorkloadCaller | DelegateCaller,
  ): Promise<{ readonly record: CertificateRecord; readonly ground: Ground }> {
    const record = await this.#dependencies.certificates.bySerial(caller.serial);
    if (record === undefined)
      throw new PkiError(
        'CERTIFICATE_UNKNOWN',
        `the certificate ${caller.serial} is not in the inventory`,
      );
    await this.#dependencies.inventory.require(record);
    if (record.entryId === null)
      throw new PkiError(
        'DOWNSTREAM_NOT_ALLOWED',
        'the certificate was minted and belongs to no entry',
      );
    return {
      record,
      ground: { entryId: record.entryId, holder: record.holder, spiffeId: record.spiffeId },
    };
  }

  /**
   * The present entry and agent, as the log vouches for them.
   *
   * @throws PkiError DOWNSTREAM_NOT_ALLOWED, AGENT_BANNED, AGENT_EVICTED, OBJECT_NOT_IN_LOG
   */
  async #standing(
    { entryId, holder, spiffeId }: Ground,
    now: number,
  ): Promise<{
    readonly entry: Proven<RegistrationEntry>;
    readonly agent: Proven<Agent>;
  }> {
    const { entries, agents, objects, nodeSets } = this.#dependencies;
    const entryRow = await entries.byId(entryId);
    if (entryRow === undefined)
      throw new PkiError('DOWNSTREAM_NOT_ALLOWED', `the entry ${entryId} does not exist any more`);
    const entry = objects.require('entry', entryRow);
    if (!entry.downstream)
      throw new PkiError(
        'DOWNSTREAM_NOT_ALLOWED',
        `the entry ${entryId} does not allow a downstream CA`,
      );
    if (entry.expiresAt !== 0 && entry.expiresAt <= now)
      throw new PkiError('DOWNSTREAM_NOT_ALLOWED', `the entry ${entryId} has expired`);
    if (entry.spiffeId !== spiffeId)
      throw new PkiError('DOWNSTREAM_NOT_ALLOWED', `the entry ${entryId} now has another identity`);
    const agent = await holdingAgent({ agents, objects }, holder);
    if (!(await nodeSets.parents(agent, now)).includes(entry.parentId))
      throw new PkiError(
        'DOWNSTREAM_NOT_ALLOWED',
        `the entry ${entryId} no longer belongs to the agent ${holder}`,
      );
    return { entry, agent };
  }

  async #inTurn<T>(signal: AbortSignal | undefined, act: () => Promise<T>): Promise<T> {
    if (this.#waiting >= maximumWaiting)
      throw new PkiError(
        'OVERLOADED',
        `${maximumWaiting} other requests already wait for a CA certificate`,
      );
    this.#waiting += 1;
    const mine = this.#tail.then(() => {
      signal?.throwIfAborted();
      return act();
    });
    this.#tail = mine.catch(() => {});
    try {
      return await mine;
    } finally {
      this.#waiting -= 1;
    }
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#looking !== undefined) {
      this.#again = true;
      return;
    }
    this.#cancel?.();
    this.#cancel = this.#dependencies.clock.after(delayMs, () => {
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
        this.#soon(this.#again ? afterRevisionMs : lookEveryMs);
        this.#again = false;
      });
    });
  }

  /** A revocation can not be taken back: it never rests on a clock that is not believed. */
  #believedNow(): number {
    const { clock, clockBelieved } = this.#dependencies;
    return clockBelieved() ? clock.now() : 0;
  }

  async #look(): Promise<void> {
    const { certificates, revocations, logger, settings, held } = this.#dependencies;
    if (held()) return;
    try {
      for await (const records of pagesOf((page) =>
        certificates.list(
          {
            spiffeId: settings.trustDomain.id,
            kind: 'authority',
            state: 'issued',
            expiresAfter: this.#believedNow(),
          },
          'created',
          page,
        ),
      )) {
        for (const record of records)
          if (record.entryId !== null && !revocations.revoked(record.serial) && !this.#closed)
            await this.#keepOrRevoke(record);
      }
    } catch (thrown) {
      const { code } = PkiError.from(thrown);
      if (code !== 'SHUTTING_DOWN')
        logger.error(
          { ...errorFields(thrown) },
          'the rights of downstream CAs could not be checked; trying again',
        );
    }
  }

  async #keepOrRevoke({ serial, spiffeId, createdAtMs }: CertificateRecord): Promise<void> {
    const { revocations, inventory, clock, logger } = this.#dependencies;
    const issued = await inventory.downstream({ serial, spiffeId, createdAtMs });
    if (issued === undefined) return;
    const { workload, entryId, agentId, authorityId, notAfter } = issued;
    try {
      await this.#standing({ entryId, holder: agentId, spiffeId: workload }, this.#believedNow());
    } catch (thrown) {
      const { code, message } = PkiError.from(thrown);
      // a row that was changed past the log neither gives nor ends a right
      if (!endings.has(code)) return;
      // the CRL for the revocation also comes from the log
      await revocations.revokeAgain(
        {
          serial,
          reason: 'privilegeWithdrawn',
          revokedAt: clock.now(),
          revokedBy: 'server',
          shard: 0,
          authorityId,
          notAfter,
        },
        {
          timeMs: clock.nowMs(),
          actor: 'server',
          kind: 'certificate.revoked',
          subject: spiffeId,
          detail: { holder: agentId, workload, entry: entryId, code, why: message },
        },
      );
      logger.warn(
        {
          serial,
          workload,
          entry: entryId,
          ...errorFields(thrown),
          validUntil: notAfter,
          alert: true,
        },
        'a downstream CA was revoked: consumers that check CRLs refuse it, others accept it ' +
          'until it expires or its root is replaced',
      );
    }
  }
}

/**
 * The second check behind the front's table: a certificate that a delegate had signed is no
 * workload of an agent.
 */
function requireWorkload(caller: Caller): void {
  if ((caller.class !== 'workload' && caller.class !== 'delegate') || caller.kind !== 'workload')
    throw new PkiError(
      'CALLER_NOT_ADMITTED',
      'only workloads with an SVID from an agent may do this',
    );
}
