import { Counter, type Registry } from 'prom-client';

/** Metrics of the ACME server. No name of anybody is a label. */
export class AcmeMetrics {
  readonly #refusals: Counter;
  readonly #challenges: Counter;
  readonly #limited: Counter;

  constructor(registry: Registry) {
    const counter = (name: string, help: string, labelNames: readonly string[]): Counter =>
      new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
    this.#refusals = counter(
      'meshca_acme_refusals_total',
      'Refused requests of ACME, by resource and type of problem.',
      ['resource', 'problem'],
    );
    this.#challenges = counter(
      'meshca_acme_challenges_total',
      'Validated challenges, by type and result (valid, or the type of the problem).',
      ['type', 'result'],
    );
    this.#limited = counter(
      'meshca_acme_rate_limited_total',
      'Requests of ACME that a limit or quota refused, by its name.',
      ['limit'],
    );
  }

  refused(resource: string, problem: string): void {
    this.#refusals.inc({ resource, problem });
  }

  judged(type: string, result: string): void {
    this.#challenges.inc({ type, result });
  }

  limited(limit: string): void {
    this.#limited.inc({ limit });
  }
}
