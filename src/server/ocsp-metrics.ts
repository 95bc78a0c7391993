import { Counter, Gauge, type Registry } from 'prom-client';

export interface OcspSources {
  standing(): {
    readonly answers: number;
    readonly nextUpdate: number;
    readonly waiting: number;
  };
  signed(): number;
}

/** Metrics of the OCSP responder. */
export class OcspMetrics {
  readonly #registry: Registry;
  readonly #requests: Counter;

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#requests = new Counter({
      name: 'meshca_ocsp_requests_total',
      help:
        'OCSP requests, by result (good, revoked, or the error: unauthorized, malformedRequest, ' +
        'tryLater).',
      labelNames: ['result'],
      registers: [registry],
    });
  }

  asked(result: string): void {
    this.#requests.inc({ result });
  }

  /** The gauges ask their owner when they are scraped. */
  watch(ocsp: OcspSources): void {
    const gauges: readonly (readonly [string, string, () => number])[] = [
      [
        'meshca_ocsp_answers',
        'OCSP answers that are signed in advance, as counted in the last minutes.',
        () => ocsp.standing().answers,
      ],
      [
        'meshca_ocsp_next_update_timestamp_seconds',
        'When the OCSP answer that is due first ends (Unix seconds); 0: there is none.',
        () => ocsp.standing().nextUpdate,
      ],
      [
        'meshca_ocsp_waiting',
        'Leaves that were issued or revoked, and whose OCSP answer is not signed yet.',
        () => ocsp.standing().waiting,
      ],
      ['meshca_ocsp_signed', 'OCSP answers signed since start.', () => ocsp.signed()],
    ];
    for (const [name, help, value] of gauges)
      new Gauge({
        name,
        help,
        registers: [this.#registry],
        collect() {
          this.set(value());
        },
      });
  }
}
