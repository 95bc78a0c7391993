import { PkiError, unwrap } from '../../common/errors/index.ts';
import { readPolicy } from '../../common/policy/file.ts';
import { policySha256, type Policy } from '../../common/policy/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { IssuancePolicyVersion, StoredIssuancePolicy } from '../../domain/index.ts';
import type { LedgerIssuancePolicies } from '../../ledger/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import type { Policies } from '../services.ts';
import { checkPage, checkText } from '../requests.ts';

export interface PolicyDependencies {
  readonly policies: LedgerIssuancePolicies;
  /** The policy that decides in this process. */
  readonly inForce: { put(version: number, policy: Policy): void };
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

const maximumReason = 200;

/**
 * The policy of issuance. Whoever changes it takes certificates from everybody, or takes a limit
 * away that others rely on. Therefore an activation requires every right.
 */
export class PolicyService implements Policies {
  readonly #dependencies: PolicyDependencies;

  constructor(dependencies: PolicyDependencies) {
    this.#dependencies = dependencies;
  }

  presentVersion(): number {
    return this.#dependencies.policies.presentVersion();
  }

  get(caller: OperatorCaller, version: number): Promise<StoredIssuancePolicy | undefined> {
    const { refusals, policies } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'GetPolicy' }, async () => {
      await this.#requireRead(caller);
      return version === 0 ? policies.present() : policies.byVersion(version);
    });
  }

  list(caller: OperatorCaller, page: PageRequest): Promise<Page<IssuancePolicyVersion>> {
    const { refusals, policies } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'ListPolicies' }, async () => {
      await this.#requireRead(caller);
      return policies.list(checkPage(page));
    });
  }

  activate(
    caller: OperatorCaller,
    { text, version, reason }: Parameters<Policies['activate']>[1],
    signal?: AbortSignal,
  ): Promise<StoredIssuancePolicy> {
    const { refusals, access, policies, inForce, clock } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'ActivatePolicy' }, async () => {
      (await access.of(caller)).requireEverything('activating a policy of issuance');
      const policy = unwrap(readPolicy(text));
      if (reason === '' || reason.length > maximumReason)
        throw new PkiError('INVALID_REQUEST', `the reason has 1 to ${maximumReason} characters`);
      checkText('reason', reason, maximumReason);
      const present = policies.presentVersion();
      if (version !== present)
        throw new PkiError('CONFLICT', `the policy is at version ${present}, not ${version}`);
      const sha256 = policySha256(text);
      const stated = { sha256, reason, activatedAt: clock.now(), activatedBy: actorOf(caller) };
      const activated = await policies.activate(
        { ...stated, text },
        version,
        {
          timeMs: clock.nowMs(),
          actor: stated.activatedBy,
          kind: 'issuance-policy.activated',
          subject: String(version + 1),
          detail: { version: version + 1, sha256, reason, rules: policy.rules.length },
        },
        signal,
      );
      inForce.put(activated.version, policy);
      return { ...activated, text };
    });
  }

  async #requireRead(caller: OperatorCaller): Promise<void> {
    const { access } = this.#dependencies;
    (await access.of(caller)).require('policy.read', access.all);
  }
}
