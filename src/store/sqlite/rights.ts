import {
  builtInPolicyVersion,
  firstEnded,
  lineFrom,
  wantRows,
  type AgentState,
  type AuthorityState,
  type RightEnded,
  type RightNoun,
  type RightRows,
  type Rights,
} from '../../domain/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { LogGuard } from '../ports/index.ts';
import type { AgentLineRows } from './agent-lines.ts';
import { fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';

/**
 * Judges the rights of a batch inside its transaction, in the order of the items: undefined where
 * all stand at `now` (Unix seconds). Every row that a right names is read once, before anything is
 * judged: the items of a batch share authority, agent and caller.
 */
export type RightsCheck = (
  batch: readonly Rights[],
  now: number,
) => readonly (RightEnded | undefined)[];

type Readers = { readonly [N in RightNoun]: (key: string) => RightRows[N] | undefined };

export function createRightsCheck(
  engine: Engine,
  guard: LogGuard,
  lines: AgentLineRows,
): RightsCheck {
  const readers: Readers = {
    authority: authorityReader(engine),
    entry: entryReader(engine),
    agent: agentReader(engine),
    'agent-line': lineReader(engine, lines),
    delegation: delegationReader(engine),
    certificate: certificateReader(engine, guard),
    // no policy is kept in the database: the one that is built in is in force
    policy: () => ({ version: builtInPolicyVersion }),
  };
  return (batch, now) => {
    const rows = readRows(batch, readers);
    return batch.map((rights) => firstEnded(rights, rows, now));
  };
}

function readRows(
  batch: readonly Rights[],
  readers: Readers,
): <N extends RightNoun>(noun: N, key: string) => RightRows[N] | undefined {
  const rows = new Map<RightNoun, Map<string, RightRows[RightNoun] | undefined>>();
  const want = (noun: RightNoun, key: string): void => {
    let ofNoun = rows.get(noun);
    if (ofNoun === undefined) rows.set(noun, (ofNoun = new Map()));
    if (!ofNoun.has(key)) ofNoun.set(key, readers[noun](key));
  };
  for (const rights of batch) wantRows(rights, want);
  return <N extends RightNoun>(noun: N, key: string) => {
    const ofNoun = rows.get(noun);
    if (ofNoun?.has(key) !== true)
      throw new PkiError('INTERNAL', `a right reads the ${noun} ${key} and does not name it`);
    return ofNoun.get(key) as RightRows[N] | undefined;
  };
}

function authorityReader(engine: Engine): Readers['authority'] {
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('authorities').select('state').where('id', '=', slot('id')),
  );
  return (id) => {
    const row = byId.get({ id });
    return row && { state: row.state as AuthorityState };
  };
}

function entryReader(engine: Engine): Readers['entry'] {
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('entries').select(['revision', 'expires_at']).where('id', '=', slot('id')),
  );
  return (id) => {
    const row = byId.get({ id });
    return row && { revision: row.revision, expiresAt: row.expires_at };
  };
}

function agentReader(engine: Engine): Readers['agent'] {
  const byId = engine.statement<{ spiffe_id: string }>()((query, slot) =>
    query
      .selectFrom('agents')
      .select(['state', 'generation'])
      .where('spiffe_id', '=', slot('spiffe_id')),
  );
  return (spiffeId) => {
    const row = byId.get({ spiffe_id: spiffeId });
    return row && { state: row.state as AgentState, generation: row.generation };
  };
}

function lineReader(engine: Engine, lines: AgentLineRows): Readers['agent-line'] {
  const newest = engine.statement<{ spiffe_id: string }>()((query, slot) =>
    query.selectFrom('agents').select('serial').where('spiffe_id', '=', slot('spiffe_id')),
  );
  return (spiffeId) => {
    const row = newest.get({ spiffe_id: spiffeId });
    if (row === undefined) return undefined;
    const line = lines.read(spiffeId);
    if (!lines.holds(spiffeId, line)) return { line: 'unproven' };
    return { line: line ?? lineFrom({ spiffeId, serial: hex(row.serial) }) };
  };
}

function delegationReader(engine: Engine): Readers['delegation'] {
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query
      .selectFrom('delegations')
      .select(['revoked_at', 'expires_at'])
      .where('id', '=', slot('id')),
  );
  return (id) => {
    const row = byId.get({ id });
    return row && { revokedAt: row.revoked_at, expiresAt: row.expires_at };
  };
}

function certificateReader(engine: Engine, guard: LogGuard): Readers['certificate'] {
  const bySerial = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query
      .selectFrom('certificates')
      .select(['state', 'not_before', 'not_after'])
      .where('serial', '=', slot('serial')),
  );
  const revocation = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query.selectFrom('revocations').select('revoked_at').where('serial', '=', slot('serial')),
  );
  return (text) => {
    const serial = fromHexOrUndefined(text);
    const row = serial === undefined ? undefined : bySerial.get({ serial });
    if (row === undefined || serial === undefined) return undefined;
    return {
      state: row.state,
      notBefore: row.not_before,
      notAfter: row.not_after,
      // By the log, whatever became of the row. A row that the log does not know yet may be of this
      // very transaction.
      revoked: guard.revocation(text) !== undefined || revocation.get({ serial }) !== undefined,
    };
  };
}
