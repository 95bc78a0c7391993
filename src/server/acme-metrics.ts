import { Counter, type Registry } from 'prom-client';

/** Metrics of the ACME server. No name of anybody is a label, but places of the configuration. */
export class AcmeMetrics {
  readonly #requests: Counter;
  readonly #challenges: Counter;
  readonly #limited: Counter;
  readonly #ended: Counter;
  readonly #exchanges: Counter;
  readonly #perspectives: Counter;

  constructor(registry: Registry) {
    const counter = (name: string, help: string, labelNames: readonly string[]): Counter =>
      new Counter({ name, help, labelNames: [...labelNames], registers: [registry] });
    this.#requests = counter(
      'meshca_acme_requests_total',
      'Requests of ACME, by resource and result (ok, or the type of the problem).',
      ['resource', 'result'],
    );
    this.#ended = counter(
      'meshca_acme_orders_ended_total',
      'Orders of ACME that were finalized, by end (issued or failed).',
      ['end'],
    );
    this.#challenges = counter(
      'meshca_acme_challenges_total',
      'Validated challenges, by type and result (valid, or the type of the problem).',
      ['type', 'result'],
    );
    this.#exchanges = counter(
      'meshca_acme_exchanges_total',
      'Exchanges for an EAB key, by what was exchanged (svid or token) and result (ok or a code).',
      ['by', 'result'],
    );
    this.#perspectives = counter(
      'meshca_acme_perspectives_total',
      'Validations by vantage agents, by place and result (agreed, disagreed or absent).',
      ['perspective', 'result'],
    );
    this.#limited = counter(
      'meshca_acme_rate_limited_total',
      'Requests of ACME that a limit or quota refused, by its name.',
      ['limit'],
    );
  }

  answered(resource: string, result: string): void {
    this.#requests.inc({ resource, result });
  }

  ended(end: string): void {
    this.#ended.inc({ end });
  }

  judged(type: string, result: string): void {
    this.#challenges.inc({ type, result });
  }

  exchanged(by: string, result: string): void {
    this.#exchanges.inc({ by, result });
  }

  perspective(perspective: string, result: string): void {
    this.#perspectives.inc({ perspective, result });
  }

  limited(limit: string): void {
    this.#limited.inc({ limit });
  }
}
