import { unwrap } from '../../common/errors/index.ts';
import { readPolicy } from '../../common/policy/file.ts';
import type { IssuancePolicy } from '../../common/wire/generated/meshca/admin/v1/IssuancePolicy.ts';
import type { IssuancePolicyVersion, StoredIssuancePolicy } from '../../domain/index.ts';
import { pageOf } from '../messages/common.ts';
import type { OperationDependencies, OperationsOf } from '../operation.ts';
import { diff, type Fields } from '../preview/diff.ts';
import type { OperatorCaller } from '../../services/callers/caller.ts';
import { lossLines, policyReviewOperations } from './policy-reviews.ts';

export const policyOperations: OperationsOf<'meshca.admin.v1.Policies'> = {
  GetPolicy: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { version }) => {
      const policy = await services.policies.get(caller, version);
      return policy === undefined
        ? { version: 0, reason: 'built in', inForce: true }
        : policyMessage(policy, services.policies.presentVersion());
    },
  },
  ListPolicies: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page }, signal) => {
      const { items, next } = await services.policies.list(caller, pageOf(page, signal));
      const present = services.policies.presentVersion();
      return {
        policies: items.map((policy) => policyMessage(policy, present)),
        nextPageToken: next ?? '',
      };
    },
  },
  ActivatePolicy: {
    admits: 'operators',
    dualControl: 'always',
    // the rules come last: a preview that is too long loses its end
    preview: async (dependencies, caller, { text, version, reason }) => {
      const [title = '', ...changes] = diff(
        `activate a policy of issuance over version ${version}: ${reason}`,
        await rulesInForce(dependencies, caller),
        rulesOf(text),
      );
      return [title, ...(await lossLines(dependencies, caller, { text, version })), ...changes];
    },
    run: async ({ services }, caller, { text, version, reason }, signal) => {
      const policy = await services.policies.activate(caller, { text, version, reason }, signal);
      return policyMessage(policy, policy.version);
    },
  },
  ...policyReviewOperations,
};

const policyMessage = (
  policy: IssuancePolicyVersion & Partial<StoredIssuancePolicy>,
  present: number,
): IssuancePolicy => ({
  version: policy.version,
  sha256: policy.sha256,
  reason: policy.reason,
  activatedAt: policy.activatedAt,
  activatedBy: policy.activatedBy,
  text: policy.text ?? '',
  inForce: policy.version === present,
});

async function rulesInForce(
  { services }: OperationDependencies,
  caller: OperatorCaller,
): Promise<Fields> {
  const present = await services.policies.get(caller, 0);
  return present === undefined ? {} : rulesOf(present.text);
}

/** One field for each rule, as it stands in the file, so that a changed rule is shown by name. */
const rulesOf = (text: string): Fields =>
  Object.fromEntries(
    unwrap(readPolicy(text)).rules.map((rule) => [
      `rule ${rule.name}`,
      JSON.parse(rule.source) as unknown,
    ]),
  );
