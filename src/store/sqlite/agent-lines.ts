import {
  loggedObject,
  type AgentLine,
  type AuditEvent,
  type LineSvid,
} from '../../domain/index.ts';
import type { LogGuard } from '../ports/index.ts';
import type { AgentLineTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';

/** Lines of agents, inside the caller's transaction. */
export interface AgentLineRows {
  /** The row, unproven; undefined if there is none. */
  read(spiffeId: string): AgentLine | undefined;
  /**
   * The row as the log vouches for it.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  require(spiffeId: string): AgentLine | undefined;
  put(line: AgentLine, event: AuditEvent): void;
}

export function createAgentLines(
  engine: Engine,
  audit: AuditWriter,
  guard: LogGuard,
): AgentLineRows {
  const { byId, put } = lineStatements(engine);
  const read = (spiffeId: string): AgentLine | undefined => {
    const row = byId.get({ spiffe_id: spiffeId });
    return row === undefined ? undefined : toLine(row);
  };
  return {
    read,
    require: (spiffeId) => guard.requireRow('agent-line', spiffeId, read(spiffeId)),
    put: (line, event) => {
      put.run({
        spiffe_id: line.spiffeId,
        svids: JSON.stringify(line.svids),
        in_use: line.inUse,
        kept: line.kept,
      });
      audit(event, loggedObject('agent-line', line));
    },
  };
}

function lineStatements(engine: Engine) {
  return {
    byId: engine.statement<{ spiffe_id: string }>()((query, slot) =>
      query.selectFrom('agent_lines').selectAll().where('spiffe_id', '=', slot('spiffe_id')),
    ),
    put: engine.statement<{ [Column in keyof AgentLineTable]: AgentLineTable[Column] }>()(
      (query, slot) => {
        const line = { svids: slot('svids'), in_use: slot('in_use'), kept: slot('kept') };
        return query
          .insertInto('agent_lines')
          .values({ spiffe_id: slot('spiffe_id'), ...line })
          .onConflict((conflict) => conflict.column('spiffe_id').doUpdateSet(line));
      },
    ),
  };
}

const toLine = (row: AgentLineTable): AgentLine => ({
  spiffeId: row.spiffe_id,
  svids: fromJson<readonly LineSvid[]>('agent_lines', row.svids),
  inUse: row.in_use,
  kept: row.kept,
});
