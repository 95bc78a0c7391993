import { Counter, Gauge, type Registry } from 'prom-client';
import type { TargetState } from './ports/file-targets.ts';

/** One file target at a scrape. */
export interface TargetGauge {
  readonly name: string;
  readonly state: TargetState;
  /** Of the certificate that is served, Unix seconds. Undefined: none is. */
  readonly notBefore: number | undefined;
  readonly notAfter: number | undefined;
}

export interface TargetMetrics {
  delivered(target: string, outcome: 'proven' | 'applied' | 'rolled-back'): void;
  failed(target: string, code: string): void;
}

/** The names of targets are those of the configuration, so that there is a bounded number. */
export function targetMetrics(registry: Registry): TargetMetrics {
  const registers = [registry];
  const deliveries = new Counter({
    name: 'meshca_agent_target_deliveries_total',
    help: 'Sets of file targets that came to rest, by outcome: proven, applied or rolled-back',
    labelNames: ['target', 'outcome'],
    registers,
  });
  const failures = new Counter({
    name: 'meshca_agent_target_failures_total',
    help: 'Steps of file targets that did not succeed, by code',
    labelNames: ['target', 'code'],
    registers,
  });
  return {
    delivered: (target, outcome) => deliveries.inc({ target, outcome }),
    failed: (target, code) => failures.inc({ target, code }),
  };
}

const states: readonly TargetState[] = [
  'waiting',
  'staged',
  'applying',
  'proving',
  'proven',
  'applied',
  'rolling-back',
  'rolled-back',
  'failed',
];

export function targetGauges(registry: Registry, read: () => readonly TargetGauge[]): void {
  const registers = [registry];
  new Gauge({
    name: 'meshca_agent_target_state',
    help: '1 for the state that a file target is in',
    labelNames: ['target', 'state'],
    registers,
    collect() {
      for (const target of read())
        for (const state of states)
          this.set({ target: target.name, state }, Number(target.state === state));
    },
  });
  const instants = [
    ['not_before', 'Start'],
    ['not_after', 'End'],
  ] as const;
  for (const [which, what] of instants)
    new Gauge({
      name: `meshca_agent_target_${which}_timestamp_seconds`,
      help: `${what} of the certificate that a file target serves`,
      labelNames: ['target'],
      registers,
      collect() {
        this.reset();
        for (const { name, notBefore, notAfter } of read()) {
          const at = which === 'not_before' ? notBefore : notAfter;
          if (at !== undefined) this.set({ target: name }, at);
        }
      },
    });
}
