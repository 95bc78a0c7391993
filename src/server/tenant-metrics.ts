import { Histogram, type Registry } from 'prom-client';

/** Each tenant adds one series for each bucket. */
const maximumTenants = 100;

/** How long certificates of tenants take. The first tenants have a series of their own. */
export class TenantMetrics {
  readonly #duration: Histogram<'tenant'>;
  readonly #tenants = new Set<string>();

  constructor(registry: Registry) {
    this.#duration = new Histogram({
      name: 'meshca_tenant_issuance_duration_seconds',
      help: `From request to recorded and released, by tenant; (others) after the first ${maximumTenants}.`,
      labelNames: ['tenant'],
      registers: [registry],
      buckets: [0.01, 0.05, 0.25, 1, 5, 30],
    });
  }

  issued(tenant: string, seconds: number): void {
    if (this.#tenants.size < maximumTenants) this.#tenants.add(tenant);
    this.#duration.observe({ tenant: this.#tenants.has(tenant) ? tenant : '(others)' }, seconds);
  }
}
