import { PkiError } from '../../common/errors/index.ts';
import {
  lineAfterLoss,
  lineAfterRecovery,
  lineAfterRenewal,
  lineAfterUse,
  lineFrom,
  sameLine,
  type Agent,
  type AgentLine,
  type AuditEvent,
} from '../../domain/index.ts';
import type { AgentAttestation, SvidUse } from '../ports/index.ts';
import type { AgentLineRows } from './agent-lines.ts';

/**
 * The line after a recorded act. `before`: the agent before the act; undefined for a new one.
 *
 * @throws PkiError AGENT_SUPERSEDED, OBJECT_NOT_IN_LOG
 */
export function continueLine(
  lines: AgentLineRows,
  before: Agent | undefined,
  { agent, act, renewed = '', recovered = '', lost = false, event }: AgentAttestation,
): void {
  const { spiffeId, serial } = agent;
  const line = lines.require(spiffeId);
  const present = line ?? lineFrom(before ?? agent);
  const next = {
    attest: () => lineFrom(agent),
    renew: () => lineAfterRenewal(present, { renewed, serial }),
    recover: () => (lost ? lineAfterLoss : lineAfterRecovery)(present, { recovered, serial }),
  }[act]();
  if (next === undefined)
    throw new PkiError(
      'AGENT_SUPERSEDED',
      `the SVID ${renewed || recovered} of agent ${spiffeId} is superseded`,
    );
  if (line !== undefined && sameLine(line, next)) return;
  lines.put(next, {
    timeMs: event.timeMs,
    actor: event.actor,
    kind: 'agent.line',
    subject: spiffeId,
    detail: { act, serial, ...(act === 'attest' ? {} : { from: renewed || recovered }) },
  });
}

/**
 * Records a use that is not recorded yet.
 *
 * @throws PkiError AGENT_SUPERSEDED, OBJECT_NOT_IN_LOG
 */
export function useSvid(
  lines: AgentLineRows,
  agent: Agent,
  { spiffeId, serial, kept, timeMs }: SvidUse,
): { readonly before: AgentLine; readonly line: AgentLine } {
  const before = lines.require(spiffeId) ?? lineFrom(agent);
  const line = lineAfterUse(before, { serial, kept });
  if (line === undefined)
    throw new PkiError(
      'AGENT_SUPERSEDED',
      `the SVID ${serial} of agent ${spiffeId} is superseded: a newer one is in use`,
    );
  if (!sameLine(before, line)) lines.put(line, useEvent(before, line, timeMs));
  return { before, line };
}

const useEvent = (before: AgentLine, line: AgentLine, timeMs: number): AuditEvent => ({
  timeMs,
  actor: line.spiffeId,
  kind: before.inUse === line.inUse ? 'agent.kept' : 'agent.first-use',
  subject: line.spiffeId,
  detail: {
    serial: line.inUse ?? '',
    ...(before.inUse === null || before.inUse === line.inUse ? {} : { before: before.inUse }),
    kept: line.kept ?? '',
  },
});
