import { Gauge, type Registry } from 'prom-client';

export interface AgentSources {
  readonly agentsConnected: () => number;
  readonly agentsRefusingBundle: () => number;
}

export function watchAgents(registry: Registry, sources: AgentSources): void {
  new Gauge({
    name: 'meshca_agents_connected',
    help: 'Agents with a sync stream.',
    registers: [registry],
    collect() {
      this.set(sources.agentsConnected());
    },
  });
  new Gauge({
    name: 'meshca_agents_refusing_bundle',
    help: 'Connected agents that refuse the newest trust bundle: alert on any.',
    registers: [registry],
    collect() {
      this.set(sources.agentsRefusingBundle());
    },
  });
}
