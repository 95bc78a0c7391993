import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { Agent } from '../../domain/index.ts';
import type { AgentStore } from '../ports/index.ts';
import type { Engine } from './engine.ts';

type Sighting = Parameters<AgentStore['seen']>[1];

export interface Sightings {
  readonly seen: AgentStore['seen'];
  /** The agent with the times that are not written yet. */
  overlay(agent: Agent): Agent;
  /** Writes everything, inside the caller's transaction. */
  readonly flush: () => void;
}

const flushDelayMs = 800;

/**
 * The times when agents were last seen. They are kept in memory and written in one commit within a
 * second, so that a busy agent costs no fsync.
 */
export function createSightings(engine: Engine, clock: Clock, logger: Logger): Sightings {
  const { update } = sightingStatements(engine);
  const pending = new Map<string, Sighting>();
  let cancelTimer: (() => void) | undefined;

  const flush = (): void => {
    cancelTimer?.();
    cancelTimer = undefined;
    for (const [id, sighting] of pending) {
      update.run({
        id,
        at: sighting.at,
        version: sighting.version ?? null,
        outage: sighting.survivedOutageSeconds ?? null,
      });
    }
    pending.clear();
  };

  const flushLater = (): void => {
    cancelTimer = undefined;
    engine
      .write(flush)
      .catch((error: unknown) =>
        logger.warn(
          { ...errorFields(error) },
          'the times when agents were last seen could not be written',
        ),
      );
  };

  return {
    flush,
    seen: (spiffeId, sighting) => {
      const before = pending.get(spiffeId);
      pending.set(spiffeId, { ...before, ...sighting, at: Math.max(before?.at ?? 0, sighting.at) });
      cancelTimer ??= clock.after(flushDelayMs, flushLater);
    },
    overlay: (agent) => {
      const sighting = pending.get(agent.spiffeId);
      if (sighting === undefined) return agent;
      return {
        ...agent,
        lastSeenAt: Math.max(agent.lastSeenAt, sighting.at),
        version: sighting.version ?? agent.version,
        survivedOutageSeconds: sighting.survivedOutageSeconds ?? agent.survivedOutageSeconds,
      };
    },
  };
}

function sightingStatements(engine: Engine) {
  return {
    update: engine.statement<{
      id: string;
      at: number;
      version: string | null;
      outage: number | null;
    }>()((query, slot) =>
      query
        .updateTable('agents')
        .set((eb) => ({
          last_seen_at: eb.fn<number>('max', ['last_seen_at', slot('at')]),
          version: eb.fn.coalesce(slot('version'), eb.ref('version')) as never,
          survived_outage_seconds: eb.fn.coalesce(
            slot('outage'),
            eb.ref('survived_outage_seconds'),
          ) as never,
        }))
        .where('spiffe_id', '=', slot('id')),
    ),
  };
}
