import { Gauge, type Registry } from 'prom-client';
import type { TargetHold } from '../services/index.ts';

export interface TargetSources {
  /** Of agents with a session. */
  readonly targetsByState: () => Readonly<Record<string, number>>;
  /** Targets that failed and hold their group; a bounded number. */
  readonly targetHolds: () => readonly TargetHold[];
}

/** Gauges of the file targets of agents. */
export function watchTargets(registry: Registry, sources: TargetSources): void {
  new Gauge({
    name: 'meshca_targets',
    help: 'File targets of connected agents, by state.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [state, count] of Object.entries(sources.targetsByState()))
        this.set({ state }, count);
    },
  });
  new Gauge({
    name: 'meshca_target_rollout_held',
    help:
      '1 for each file target that had its turn first in its group and failed, so that the ' +
      'others wait: alert on any.',
    labelNames: ['group', 'agent', 'target', 'code'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { group, agentId, target, code } of sources.targetHolds())
        this.set({ group, agent: agentId, target, code }, 1);
    },
  });
}
