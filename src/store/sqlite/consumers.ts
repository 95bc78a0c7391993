import type { ConsumerRecord } from '../../domain/index.ts';
import type { ConsumerStore } from '../ports/index.ts';
import type { ConsumerTable } from '../schema.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import { builder } from './statement.ts';

/** `existing` throws NOT_FOUND for an unknown agent. */
export function createConsumers(
  engine: Engine,
  existing: (agentId: string) => { readonly spiffe_id: string },
): ConsumerStore {
  const { put, clear, remove, list } = consumerStatements(engine);
  const putAll = (agentId: string, consumers: readonly ConsumerRecord[]): void => {
    // The agent of the rows is the reporting agent, whatever the records say.
    for (const consumer of consumers) put.run(toRow(agentId, consumer));
  };

  return {
    replace: (agentId, consumers) =>
      engine.write(() => {
        const { spiffe_id: agent } = existing(agentId);
        clear.run({ agent_id: agent });
        putAll(agent, consumers);
      }),
    update: (agentId, changed, removedIds) =>
      engine.write(() => {
        const { spiffe_id: agent } = existing(agentId);
        for (const id of removedIds) remove.run({ agent_id: agent, id });
        putAll(agent, changed);
      }),
    list: (agentId) => engine.read(() => list.all({ agent_id: agentId }).map(toConsumer)),
    agents: () =>
      engine.read(() =>
        engine
          .rows(builder.selectFrom('consumers').select('agent_id').distinct())
          .map((row) => row.agent_id),
      ),
    digests: () =>
      engine.read(() =>
        engine.rows(builder.selectFrom('consumers').select(digestColumns)).map((row) => ({
          agentId: row.agent_id,
          id: row.id,
          state: row.state as ConsumerRecord['state'],
          authoritySetDigest: row.authority_set_digest,
          jwtSetDigest: row.jwt_set_digest,
          issuerSetDigest: row.issuer_set_digest,
        })),
      ),
  };
}

function consumerStatements(engine: Engine) {
  return {
    put: engine.statement<{ [Column in keyof ConsumerTable]: ConsumerTable[Column] }>()(
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
    ),
    clear: engine.statement<{ agent_id: string }>()((query, slot) =>
      query.deleteFrom('consumers').where('agent_id', '=', slot('agent_id')),
    ),
    remove: engine.statement<{ agent_id: string; id: string }>()((query, slot) =>
      query
        .deleteFrom('consumers')
        .where('agent_id', '=', slot('agent_id'))
        .where('id', '=', slot('id')),
    ),
    list: engine.statement<{ agent_id: string }>()((query, slot) =>
      query
        .selectFrom('consumers')
        .selectAll()
        .where('agent_id', '=', slot('agent_id'))
        .orderBy('id'),
    ),
  };
}

const digestColumns = [
  'agent_id',
  'id',
  'state',
  'authority_set_digest',
  'jwt_set_digest',
  'issuer_set_digest',
] as const;

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

const toConsumer = (row: ConsumerTable): ConsumerRecord => ({
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
