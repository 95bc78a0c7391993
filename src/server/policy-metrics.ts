import { Counter, type Registry } from 'prom-client';

/** Names of rules as labels, since the start. Each version of a policy can have others. */
const maximumRules = 400;

/** What the policy of issuance denied, by rule. */
export class PolicyMetrics {
  readonly #denied: Counter;
  readonly #failed: Counter;
  readonly #rules = new Set<string>();

  constructor(registry: Registry) {
    this.#denied = new Counter({
      name: 'meshca_policy_denials_total',
      help: 'Decisions of the policy of issuance that denied a request, by rule ((none): no rule matched).',
      labelNames: ['rule'],
      registers: [registry],
    });
    this.#failed = new Counter({
      name: 'meshca_policy_failures_total',
      help: 'Of them those for which the expression of the rule could not be decided: alert on any.',
      labelNames: ['rule'],
      registers: [registry],
    });
  }

  denied(rule: string): void {
    this.#denied.inc({ rule: this.#label(rule) });
  }

  failed(rule: string): void {
    this.#failed.inc({ rule: this.#label(rule) });
  }

  #label(rule: string): string {
    if (this.#rules.size < maximumRules) this.#rules.add(rule);
    return this.#rules.has(rule) ? rule : '(other)';
  }
}
