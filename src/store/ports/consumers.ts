import type { ConsumerRecord } from '../../domain/index.ts';

/** What stands in a row of a consumer and decides whether it is as it was told. */
export type ConsumerDigests = Pick<
  ConsumerRecord,
  'agentId' | 'id' | 'state' | 'authoritySetDigest' | 'jwtSetDigest' | 'issuerSetDigest'
>;

/**
 * Consumers as agents reported them, for display: others can write these rows, so what they say
 * confirms nothing. NOT_FOUND for an agent that is not on record.
 */
export interface ConsumerStore {
  replace(agentId: string, consumers: readonly ConsumerRecord[]): Promise<void>;
  update(
    agentId: string,
    changed: readonly ConsumerRecord[],
    removedIds: readonly string[],
  ): Promise<void>;
  /** In the order of their IDs. */
  list(agentId: string): Promise<readonly ConsumerRecord[]>;
  /** The agents that have rows. */
  agents(): Promise<readonly string[]>;
  /** Of all agents, in no order. */
  digests(): Promise<readonly ConsumerDigests[]>;
}
