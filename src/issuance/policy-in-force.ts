import type { PkiError } from '../common/errors/index.ts';
import { factsSha256, type Policy } from '../common/policy/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import type { Requester } from '../domain/index.ts';
import { builtInPolicy, policyOf, type IssuancePolicy, type PolicyDecision } from './policy.ts';
import { factsOf, type PolicyRequest } from './policy-request.ts';

/** Hears of each request that the policy denies. It throws nothing. */
export interface PolicyObserver {
  /** By a rule; `(none)`: no rule matched; `(unreadable)`: the policy can not be read. */
  denied(rule: string): void;
  /** The expression of a rule could not be decided, which denied the request as well. */
  failed(failed: {
    readonly version: number;
    readonly rule: string;
    readonly failure: string;
  }): void;
}

/**
 * The policy that decides now. Owner of it: it is read at start, and replaced at an activation. A
 * decision between the commit of a new version and its arrival here is withheld by the transaction
 * that releases.
 */
export class PolicyInForce implements IssuancePolicy {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #observer: PolicyObserver;
  #decider: IssuancePolicy;
  #unreadable = false;

  constructor(clock: Pick<Clock, 'now'>, observer: PolicyObserver) {
    this.#clock = clock;
    this.#decider = builtInPolicy(clock);
    this.#observer = observer;
  }

  decide(request: PolicyRequest, caller: Requester): PolicyDecision {
    const decision = this.#decider.decide(request, caller);
    if (!decision.allowed) this.#tell(decision);
    return decision;
  }

  /** Decides for somebody who only wants to know. Nobody hears of a denial. */
  preview(request: PolicyRequest, caller: Requester): PolicyDecision {
    return this.#decider.decide(request, caller);
  }

  #tell({ version, basis, failure }: Extract<PolicyDecision, { readonly allowed: false }>): void {
    const rule = this.#unreadable ? '(unreadable)' : (basis?.rule ?? '(none)');
    this.#observer.denied(rule);
    if (failure !== undefined) this.#observer.failed({ version, rule, failure });
  }

  put(version: number, policy: Policy): void {
    this.#decider = policyOf({ version, policy }, this.#clock);
    this.#unreadable = false;
  }

  /**
   * The file of the version in force can not be read. What is subject to a policy is denied until
   * another one is activated. The rest goes on, so that a server is there to activate it.
   */
  broken(version: number, error: PkiError): void {
    const reason = `the policy in force can not be read: ${error.message} (${error.code})`;
    this.#unreadable = true;
    this.#decider = {
      decide: (request, caller) => {
        const facts = factsOf(request, caller, this.#clock.now());
        if (facts === undefined) return { allowed: true, version };
        const basis = { facts, factsSha256: factsSha256(facts) };
        return { allowed: false, version, basis, reason };
      },
    };
  }
}
