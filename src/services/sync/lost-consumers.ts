import type { Clock } from '../../common/runtime/index.ts';
import type { ConsumerRecord } from '../../domain/index.ts';
import type { LedgerAgents } from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';

export interface LostConsumerDependencies {
  readonly agents: Pick<LedgerAgents, 'consumers'>;
  readonly certificates: Pick<CertificateStore, 'lastNotAfter'>;
  readonly clock: Pick<Clock, 'now'>;
}

const maximumLost = 10_000;

/**
 * Consumers that earlier sessions reported and a new session does not. The agent came back with an
 * empty, older or copied directory, while the workload may still run with its leaf. Each lost
 * consumer counts until the last leaf of its identity at this agent has ended. An identity that the
 * new session names, as a stream or as departed, is not lost.
 */
export async function lostConsumers(
  { agents, certificates, clock }: LostConsumerDependencies,
  agentId: string,
  reported: readonly ConsumerRecord[],
): Promise<readonly ConsumerRecord[]> {
  const named = new Set(reported.map(identityOf));
  const ids = new Set(reported.map(({ id }) => id));
  const lost: ConsumerRecord[] = [];
  const now = clock.now();
  for (const consumer of await agents.consumers(agentId)) {
    if (consumer.kind === 'agent' || ids.has(consumer.id) || lost.length >= maximumLost) continue;
    if (consumer.lostUntil === undefined && named.has(identityOf(consumer))) continue;
    const lostUntil =
      consumer.lostUntil ??
      (await certificates.lastNotAfter({ holder: agentId, spiffeId: consumer.spiffeId }, now));
    if (lostUntil > now) lost.push(asLost(consumer, lostUntil));
  }
  return lost;
}

const identityOf = ({ spiffeId, authoritySetDigest }: ConsumerRecord): string =>
  `${authoritySetDigest === '' ? 'jwt' : 'roots'} ${spiffeId}`;

/**
 * A confirmation that this process has not heard itself proves nothing, so that the consumer stays
 * unconfirmed.
 */
const asLost = ({ heardAt, ...consumer }: ConsumerRecord, lostUntil: number): ConsumerRecord => ({
  ...consumer,
  ...(heardAt === undefined ? { state: 'pending' as const } : {}),
  reason: 'the new session of its agent does not report it, and its certificate has not ended',
  lostUntil,
});
