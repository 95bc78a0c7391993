import { PkiError } from '../../common/errors/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import { loggedObject, type Agent, type AgentState } from '../../domain/index.ts';
import type {
  AgentAttestation,
  AgentStore,
  ConsumerStore,
  LogGuard,
  Page,
  PageRequest,
  SvidUse,
} from '../ports/index.ts';
import type { AgentTable } from '../schema.ts';
import type { AgentLineRows } from './agent-lines.ts';
import { continueLine, useSvid } from './agent-sessions.ts';
import type { AuditWriter } from './audit.ts';
import { bytes, fromHex, fromJson, hex } from './codec.ts';
import { createConsumers } from './consumers.ts';
import type { Engine } from './engine.ts';
import type { BindTokenResult, TokenUse } from './join-tokens.ts';
import type { Revisions } from './meta.ts';
import { pageSize, toPage } from './paging.ts';
import { createSightings } from './sightings.ts';
import { builder } from './statement.ts';

export interface AgentDependencies {
  readonly guard: LogGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly audit: AuditWriter;
  readonly revisions: Revisions;
  readonly bindTokenResult: BindTokenResult;
  readonly lines: AgentLineRows;
}

type Row = { [Column in keyof AgentTable]: AgentTable[Column] };

/**
 * `flushSeen` writes the times that are still in memory, inside the caller's transaction. The store
 * calls it when it closes.
 */
export function createAgents(
  engine: Engine,
  dependencies: AgentDependencies,
): {
  readonly store: AgentStore;
  readonly consumers: ConsumerStore;
  readonly flushSeen: () => void;
} {
  const { put, byId, setState } = agentStatements(engine);
  const { audit, revisions, guard, lines } = dependencies;
  const sightings = createSightings(engine, dependencies.clock, dependencies.logger);

  const existing = (id: string): AgentTable => required(byId.get({ id }), id);
  const shown = (row: AgentTable): Agent => sightings.overlay(toAgent(row));
  const stored = (id: string) => loggedObject('agent', toAgent(existing(id)));

  const record = (attestation: AgentAttestation): Agent => {
    const { agent, act, generation, tokenId, event } = attestation;
    const row = byId.get({ id: agent.spiffeId });
    const before = guard.requireRow('agent', agent.spiffeId, row && toAgent(row));
    refuseUnlessStanding(before, { spiffeId: agent.spiffeId, act, generation });
    refuseOtherType(before, agent);
    put.run(attestedRow(attestation, before));
    if (tokenId !== undefined) dependencies.bindTokenResult(tokenId, tokenUse(agent), event);
    audit(event, stored(agent.spiffeId));
    continueLine(lines, before, attestation);
    return shown(existing(agent.spiffeId));
  };

  return {
    flushSeen: sightings.flush,
    consumers: createConsumers(engine, existing),
    store: {
      record: (attestation) => engine.write(() => record(attestation)),
      use: (use) => engine.write(() => recordUse(dependencies, existing(use.spiffeId), use)),
      line: (spiffeId) =>
        engine.read(() => engine.once(`agent-line ${spiffeId}`, () => lines.read(spiffeId))),
      byId: (id, signal) =>
        engine.read(() => {
          const agent = engine.once(`agent ${id}`, () => read(byId.get({ id })));
          return agent && sightings.overlay(agent);
        }, signal),
      list: (filter, page) => engine.read(() => listed(engine, filter, page, shown), page.signal),
      setState: (spiffeId, state, reason, event) =>
        engine.write(() => {
          const before = read(byId.get({ id: spiffeId }));
          if (state === 'banned') guard.sameRow('agent', spiffeId, before);
          else guard.requireRow('agent', spiffeId, before);
          existing(spiffeId);
          setState.run({ id: spiffeId, state, reason });
          revisions.advance();
          audit(event, stored(spiffeId));
          return shown(existing(spiffeId));
        }),
      seen: sightings.seen,
    },
  };
}

function recordUse(
  { guard, lines }: Pick<AgentDependencies, 'guard' | 'lines'>,
  row: AgentTable,
  use: SvidUse,
): ReturnType<typeof useSvid> {
  const agent = guard.requireRow('agent', use.spiffeId, toAgent(row));
  refuseUnlessStanding(agent, { ...use, act: 'renew' });
  return useSvid(lines, agent, use);
}

const read = (row: AgentTable | undefined): Agent | undefined => row && toAgent(row);

function required(row: AgentTable | undefined, id: string): AgentTable {
  if (row === undefined) throw new PkiError('NOT_FOUND', `there is no agent ${id}`);
  return row;
}

const tokenUse = (agent: AgentAttestation['agent']): TokenUse => ({
  agentId: agent.spiffeId,
  publicKeySha256: sha256Hex(agent.spkiDer),
  serial: agent.serial,
  now: agent.attestedAt,
});

function refuseOtherType(before: Agent | undefined, agent: AgentAttestation['agent']): void {
  if (before !== undefined && before.attestationType !== agent.attestationType)
    throw new PkiError(
      'ATTESTATION_FAILED',
      `agent ${agent.spiffeId} attested with the type ${before.attestationType}, not ` +
        `${agent.attestationType}: an agent never changes its type`,
    );
}

function listed(
  engine: Engine,
  filter: { readonly state?: AgentState },
  page: PageRequest,
  shown: (row: AgentTable) => Agent,
): Page<Agent> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('agents')
    .selectAll()
    .where('spiffe_id', '>', page.after ?? '')
    .orderBy('spiffe_id')
    .limit(size + 1);
  if (filter.state !== undefined) query = query.where('state', '=', filter.state);
  return toPage(engine.rows(query), size, shown, (row) => row.spiffe_id);
}

/** `renew` keeps the session. `attest` and `recover` begin a new one. */
const attestedRow = ({ agent, act }: AgentAttestation, before: Agent | undefined): Row => ({
  spiffe_id: agent.spiffeId,
  attestation_type: agent.attestationType,
  selectors: JSON.stringify(agent.selectors),
  state: 'active',
  state_reason: '',
  generation: (before?.generation ?? 0) + (act === 'renew' ? 0 : 1),
  serial: fromHex(agent.serial, 'the serial'),
  spki_der: agent.spkiDer,
  attested_at: agent.attestedAt,
  renewed_at: agent.renewedAt,
  svid_not_after: agent.svidNotAfter,
  last_seen_at: Math.max(before?.lastSeenAt ?? 0, agent.renewedAt),
  version: agent.version,
  survived_outage_seconds: 0,
});

function agentStatements(engine: Engine) {
  return {
    put: engine.statement<Row>()((query, slot) =>
      query
        .insertInto('agents')
        .values({
          spiffe_id: slot('spiffe_id'),
          attestation_type: slot('attestation_type'),
          selectors: slot('selectors'),
          state: slot('state'),
          state_reason: slot('state_reason'),
          generation: slot('generation'),
          serial: slot('serial'),
          spki_der: slot('spki_der'),
          attested_at: slot('attested_at'),
          renewed_at: slot('renewed_at'),
          svid_not_after: slot('svid_not_after'),
          last_seen_at: slot('last_seen_at'),
          version: slot('version'),
          survived_outage_seconds: slot('survived_outage_seconds'),
        })
        .onConflict((conflict) =>
          conflict.column('spiffe_id').doUpdateSet({
            attestation_type: slot('attestation_type'),
            selectors: slot('selectors'),
            state: slot('state'),
            state_reason: slot('state_reason'),
            generation: slot('generation'),
            serial: slot('serial'),
            spki_der: slot('spki_der'),
            attested_at: slot('attested_at'),
            renewed_at: slot('renewed_at'),
            svid_not_after: slot('svid_not_after'),
            last_seen_at: slot('last_seen_at'),
            version: slot('version'),
          }),
        ),
    ),
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('agents').selectAll().where('spiffe_id', '=', slot('id')),
    ),
    setState: engine.statement<{ id: string; state: string; reason: string }>()((query, slot) =>
      query
        .updateTable('agents')
        .set((eb) => ({
          state: slot('state'),
          state_reason: slot('reason'),
          generation: eb('generation', '+', 1),
        }))
        .where('spiffe_id', '=', slot('id')),
    ),
  };
}

/**
 * A ban ends everything. An eviction ends the session and its recovery; the agent may attest again.
 */
function refuseUnlessStanding(
  before: Agent | undefined,
  {
    spiffeId: id,
    act,
    generation,
  }: { readonly spiffeId: string } & Pick<AgentAttestation, 'act'> & {
      readonly generation: number | undefined;
    },
): void {
  if (before?.state === 'banned')
    throw new PkiError('AGENT_BANNED', `agent ${id} is banned: ${before.stateReason}`);
  if (act === 'attest') return;
  if (before === undefined) throw new PkiError('NOT_FOUND', `there is no agent ${id}`);
  if (before.state !== 'active')
    throw new PkiError('AGENT_EVICTED', `agent ${id} was evicted: ${before.stateReason}`);
  if (before.generation !== generation)
    throw new PkiError(
      'AGENT_SUPERSEDED',
      `agent ${id} is in session ${before.generation}, not ${generation}`,
    );
}

export const toAgent = (row: AgentTable): Agent => ({
  spiffeId: row.spiffe_id,
  attestationType: row.attestation_type,
  selectors: fromJson<readonly Selector[]>('agents', row.selectors),
  state: row.state as AgentState,
  stateReason: row.state_reason,
  generation: row.generation,
  serial: hex(row.serial),
  spkiDer: bytes(row.spki_der),
  attestedAt: row.attested_at,
  renewedAt: row.renewed_at,
  svidNotAfter: row.svid_not_after,
  lastSeenAt: row.last_seen_at,
  version: row.version,
  survivedOutageSeconds: row.survived_outage_seconds,
});
