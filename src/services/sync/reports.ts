import { PkiError, unwrap } from '../../common/errors/index.ts';
import { type Clock, TokenBucket } from '../../common/runtime/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import type { ConsumerRecord } from '../../domain/index.ts';
import type { LedgerAgents } from '../../ledger/index.ts';
import type { CertificateStore, IssuanceStore } from '../../store/ports/index.ts';
import type { ConsumerState, HandshakeReport, SyncConnection } from '../services.ts';
import type { HandshakeLedger } from './handshakes.ts';
import { lostConsumers } from './lost-consumers.ts';
import { checkText, enforceRate } from '../requests.ts';

const maximumConsumers = 10_000;
const maximumSerials = 10_000;
const maximumHandshakeReports = 1_000;
const maximumReasons = 50;
const digestPattern = /^([0-9a-f]{64})?$/;
/** Each report costs a commit. */
const reportRate = { perSecond: 10, burst: 100 };
const states: readonly string[] = ['pending', 'confirmed', 'refused'];

export interface ReportDependencies {
  readonly agents: Pick<LedgerAgents, 'consumers' | 'replaceConsumers' | 'updateConsumers'>;
  readonly certificates: Pick<CertificateStore, 'lastNotAfter'>;
  readonly issuance: Pick<IssuanceStore, 'confirmReplaced'>;
  readonly handshakes: Pick<HandshakeLedger, 'record' | 'consumers'>;
  readonly clock: Clock;
}

/**
 * The reports of one agent: which consumers hold which authorities, and which certificates were
 * replaced. An agent reports only for itself.
 */
export class UpwardReports {
  readonly #agentId: string;
  readonly #dependencies: ReportDependencies;
  readonly #bucket: TokenBucket;
  /**
   * Undefined until the snapshot at the start of a session. The recorded consumers are so limited
   * to what one session reports.
   */
  #known: Set<string> | undefined;

  constructor(agentId: string, dependencies: ReportDependencies) {
    this.#agentId = agentId;
    this.#dependencies = dependencies;
    this.#bucket = new TokenBucket(reportRate, dependencies.clock);
  }

  async consumers(report: Parameters<SyncConnection['consumers']>[0]): Promise<void> {
    enforceRate(this.#bucket.take(), 'too many consumer reports');
    if (!report.snapshot && this.#known === undefined)
      throw new PkiError('INVALID_REQUEST', 'the first consumer report of a session is a snapshot');
    const records = report.consumers.map((consumer) => this.#record(consumer));
    const removed = report.removedIds.slice(0, maximumConsumers).filter((id) => id.length <= 200);
    const consumerIds = report.snapshot ? new Set<string>() : new Set(this.#known);
    for (const id of removed) consumerIds.delete(id);
    for (const { id } of records) consumerIds.add(id);
    if (consumerIds.size > maximumConsumers)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `an agent reports at most ${maximumConsumers} consumers`,
      );
    if (report.snapshot)
      await this.#dependencies.agents.replaceConsumers(this.#agentId, [
        ...records,
        ...(await lostConsumers(this.#dependencies, this.#agentId, records)),
      ]);
    else if (records.length > 0 || removed.length > 0)
      await this.#dependencies.agents.updateConsumers(this.#agentId, records, removed);
    this.#known = consumerIds;
    this.#dependencies.handshakes.consumers(this.#agentId, consumerIds);
  }

  async replaced(serials: readonly string[]): Promise<void> {
    enforceRate(this.#bucket.take(), 'too many replacement reports');
    if (serials.length > maximumSerials)
      throw new PkiError('REQUEST_TOO_LARGE', `a report names at most ${maximumSerials} serials`);
    const bad = serials.find((serial) => !/^[0-9a-f]{2,40}$/.test(serial));
    if (bad !== undefined)
      throw new PkiError(
        'INVALID_REQUEST',
        `${JSON.stringify(bad.slice(0, 64))} is not a serial in lower-case hex`,
      );
    // the store confirms only certificates of this agent
    if (serials.length > 0)
      await this.#dependencies.issuance.confirmReplaced(
        this.#agentId,
        [...new Set(serials)],
        this.#dependencies.clock.now(),
      );
  }

  /** Takes the counters of the agent's own consumers. They cost no commit. */
  async handshakes(reports: readonly HandshakeReport[]): Promise<void> {
    enforceRate(this.#bucket.take(), 'too many handshake reports');
    if (reports.length > maximumHandshakeReports)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `a message carries at most ${maximumHandshakeReports} handshake reports`,
      );
    for (const report of reports) {
      if (report.spiffeId !== '') unwrap(SpiffeId.parse(report.spiffeId));
      checkText('consumer id', report.consumerId, 200);
      if (!/^([0-9a-f]{2}){0,64}$/.test(report.issuerKeyId))
        throw new PkiError('INVALID_REQUEST', 'the issuer key ID is invalid');
      if (
        ![report.succeeded, report.failed, report.since, ...Object.values(report.reasons)].every(
          (number) => Number.isSafeInteger(number) && number >= 0,
        )
      )
        throw new PkiError('INVALID_REQUEST', 'a count is not a whole number');
      if (Object.keys(report.reasons).length > maximumReasons)
        throw new PkiError(
          'REQUEST_TOO_LARGE',
          `a handshake report names at most ${maximumReasons} reasons`,
        );
      for (const reason of Object.keys(report.reasons)) checkText('handshake reason', reason, 100);
    }
    this.#dependencies.handshakes.record(this.#agentId, reports);
  }

  #record(consumer: ConsumerState): ConsumerRecord {
    if (consumer.id === '') throw new PkiError('INVALID_REQUEST', 'a consumer has no ID');
    if (!states.includes(consumer.state))
      throw new PkiError(
        'INVALID_REQUEST',
        `the consumer state ${JSON.stringify(consumer.state.slice(0, 40))} is not one of ${states.join(', ')}`,
      );
    if (
      ![consumer.authoritySetDigest, consumer.jwtSetDigest, consumer.issuerSetDigest].every(
        (digest) => digestPattern.test(digest),
      )
    )
      throw new PkiError('INVALID_REQUEST', 'the digest of an authority set is not a SHA-256');
    if (consumer.capabilities.length > 20)
      throw new PkiError('INVALID_REQUEST', 'a consumer states at most 20 capabilities');
    if (consumer.spiffeId !== '') unwrap(SpiffeId.parse(consumer.spiffeId));
    return {
      agentId: this.#agentId,
      id: checkText('consumer id', consumer.id, 200),
      kind: checkText('consumer kind', consumer.kind, 64),
      spiffeId: consumer.spiffeId,
      authoritySetDigest: consumer.authoritySetDigest,
      jwtSetDigest: consumer.jwtSetDigest,
      issuerSetDigest: consumer.issuerSetDigest,
      capabilities: consumer.capabilities.map((capability) =>
        checkText('consumer capability', capability, 64),
      ),
      state: consumer.state as ConsumerRecord['state'],
      reason: checkText('consumer reason', consumer.reason, 500),
      since: Number.isSafeInteger(consumer.since) && consumer.since >= 0 ? consumer.since : 0,
      description: checkText('consumer description', consumer.description, 500),
      ...(Number.isSafeInteger(consumer.departedUntil) && consumer.departedUntil > 0
        ? { departedUntil: consumer.departedUntil }
        : {}),
    };
  }
}
