import type { Clock } from '../../common/runtime/index.ts';
import type { ConsumerRecord } from '../../domain/index.ts';
import type { ConsumerTable } from '../schema.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { HeardConsumers } from './heard.ts';
import type { Ledger } from './ledger.ts';
import { builder } from './statement.ts';

/**
 * The writing ones run inside the caller's transaction. Reading gives what was heard, and what the
 * database has of agents that have not spoken yet.
 */
export interface Consumers {
  replace(agentId: string, consumers: readonly ConsumerRecord[]): void;
  update(agentId: string, changed: readonly ConsumerRecord[], removedIds: readonly string[]): void;
  list(agentId: string): readonly ConsumerRecord[];
  all(): readonly ConsumerRecord[];
}

/** Every row is read for it. */
const compareEveryMs = 2_000;

export function createConsumers(engine: Engine, ledger: Ledger, clock: Clock): Consumers {
  const heard = new HeardConsumers(engine, clock);
  const put = engine.statement<{ [Column in keyof ConsumerTable]: ConsumerTable[Column] }>()(
    (query, slot) => {
      const reported = {
        kind: slot('kind'),
        spiffe_id: slot('spiffe_id'),
        authority_set_digest: slot('authority_set_digest'),
        state: slot('state'),
        reason: slot('reason'),
        since: slot('since'),
        description: slot('description'),
        jwt_set_digest: slot('jwt_set_digest'),
        issuer_set_digest: slot('issuer_set_digest'),
        capabilities: slot('capabilities'),
      };
      return query
        .insertInto('consumers')
        .values({ agent_id: slot('agent_id'), id: slot('id'), ...reported })
        .onConflict((conflict) => conflict.columns(['agent_id', 'id']).doUpdateSet(reported));
    },
  );
  const clear = engine.statement<{ agent_id: string }>()((query, slot) =>
    query.deleteFrom('consumers').where('agent_id', '=', slot('agent_id')),
  );
  const remove = engine.statement<{ agent_id: string; id: string }>()((query, slot) =>
    query
      .deleteFrom('consumers')
      .where('agent_id', '=', slot('agent_id'))
      .where('id', '=', slot('id')),
  );
  const list = engine.statement<{ agent_id: string }>()((query, slot) =>
    query
      .selectFrom('consumers')
      .selectAll()
      .where('agent_id', '=', slot('agent_id'))
      .orderBy('id'),
  );

  let comparedMs = -Infinity;
  /**
   * A row counts for nothing where its agent has spoken; that somebody else has written it is to be
   * known all the same.
   */
  const compare = (): void => {
    if (clock.monotonicMs() - comparedMs < compareEveryMs) return;
    comparedMs = clock.monotonicMs();
    for (const row of engine.rows(
      builder
        .selectFrom('consumers')
        .select([
          'agent_id',
          'id',
          'state',
          'authority_set_digest',
          'jwt_set_digest',
          'issuer_set_digest',
        ]),
    )) {
      if (!heard.has(row.agent_id)) continue;
      const told = heard.get(row.agent_id, row.id);
      if (told === undefined || !isAsTold(row, told))
        ledger.announce({
          kind: 'consumer',
          id: `${row.agent_id} ${row.id}`,
          found: told === undefined ? 'absent' : 'differs',
        });
    }
  };

  const putAll = (agentId: string, consumers: readonly ConsumerRecord[]): void => {
    // The agent that reports is the one that is written, whatever the records say.
    for (const consumer of consumers) put.run(toRow(agentId, consumer));
  };

  return {
    replace: (agentId, consumers) => {
      clear.run({ agent_id: agentId });
      putAll(agentId, consumers);
      heard.replace(agentId, consumers);
    },
    update: (agentId, changed, removedIds) => {
      for (const id of removedIds) remove.run({ agent_id: agentId, id });
      putAll(agentId, changed);
      heard.update(agentId, changed, removedIds);
    },
    list: (agentId) => heard.of(agentId) ?? list.all({ agent_id: agentId }).map(toConsumer),
    all: () => {
      compare();
      const silent = engine
        .rows(builder.selectFrom('consumers').select('agent_id').distinct())
        .filter(({ agent_id: id }) => !heard.has(id));
      return [
        ...silent.flatMap(({ agent_id: id }) => list.all({ agent_id: id }).map(toConsumer)),
        ...heard.all(),
      ];
    },
  };
}

const toRow = (agentId: string, consumer: ConsumerRecord): ConsumerTable => ({
  agent_id: agentId,
  id: consumer.id,
  kind: consumer.kind,
  spiffe_id: consumer.spiffeId,
  authority_set_digest: consumer.authoritySetDigest,
  state: consumer.state,
  reason: consumer.reason,
  since: consumer.since,
  description: consumer.description,
  jwt_set_digest: consumer.jwtSetDigest,
  issuer_set_digest: consumer.issuerSetDigest,
  capabilities: JSON.stringify(consumer.capabilities),
});

export const toConsumer = (row: ConsumerTable): ConsumerRecord => ({
  agentId: row.agent_id,
  id: row.id,
  kind: row.kind,
  spiffeId: row.spiffe_id,
  authoritySetDigest: row.authority_set_digest,
  state: row.state as ConsumerRecord['state'],
  reason: row.reason,
  since: row.since,
  description: row.description,
  jwtSetDigest: row.jwt_set_digest,
  issuerSetDigest: row.issuer_set_digest,
  capabilities: fromJson<readonly string[]>('consumers', row.capabilities),
});

const isAsTold = (
  row: Pick<
    ConsumerTable,
    'state' | 'authority_set_digest' | 'jwt_set_digest' | 'issuer_set_digest'
  >,
  told: ConsumerRecord,
): boolean =>
  told.state === row.state &&
  told.authoritySetDigest === row.authority_set_digest &&
  told.jwtSetDigest === row.jwt_set_digest &&
  told.issuerSetDigest === row.issuer_set_digest;
