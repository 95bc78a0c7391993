import { Counter, Gauge, type Registry } from 'prom-client';
import type { FederationView } from '../services/index.ts';

export interface FederationSources {
  readonly relationships: () => Promise<readonly FederationView[]>;
}

/** Metrics of the bundles of foreign trust domains. */
export class FederationMetrics {
  readonly #registry: Registry;
  readonly #polls: Counter<'trust_domain' | 'outcome'>;

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#polls = new Counter({
      name: 'meshca_federation_polls_total',
      help: 'Polls of bundle endpoints of foreign trust domains, by outcome: ok, or the code.',
      labelNames: ['trust_domain', 'outcome'],
      registers: [registry],
    });
  }

  polled(trustDomain: string, outcome: string): void {
    this.#polls.inc({ trust_domain: trustDomain, outcome });
  }

  watch({ relationships }: FederationSources): void {
    const gauge = (
      name: string,
      help: string,
      value: (view: FederationView) => number | undefined,
    ): void => {
      new Gauge({
        name,
        help,
        labelNames: ['trust_domain'],
        registers: [this.#registry],
        async collect() {
          const views = await relationships();
          this.reset();
          for (const view of views) {
            const found = value(view);
            if (found !== undefined)
              this.set({ trust_domain: view.relationship.trustDomain }, found);
          }
        },
      });
    };
    gauge(
      'meshca_federation_bundle_refreshed_timestamp_seconds',
      'When the endpoint of a foreign trust domain last confirmed or replaced its bundle.',
      ({ polls }) => polls?.refreshedAt,
    );
    gauge(
      'meshca_federation_bundle_stale',
      '1 for a foreign bundle that its endpoint has not confirmed for several polls: alert on any.',
      ({ stale }) => (stale ? 1 : 0),
    );
    gauge(
      'meshca_federation_bundle_shrunk_timestamp_seconds',
      'When a foreign bundle last lacked keys of the one before; absent: never in this relationship.',
      ({ polls }) => polls?.shrunk?.at,
    );
  }
}
