import type { ConsumerRecord } from '../../domain/index.ts';

/** The fields of a consumer row that are compared with what its agent reported. */
export type ConsumerDigests = Pick<
  ConsumerRecord,
  'agentId' | 'id' | 'state' | 'authoritySetDigest' | 'jwtSetDigest' | 'issuerSetDigest'
>;

/**
 * Consumers as agents reported them, for display. Others can write these rows, so that they confirm
 * nothing. NOT_FOUND for an unknown agent.
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
  /** The rows of all agents, in no order. */
  digests(): Promise<readonly ConsumerDigests[]>;
}
