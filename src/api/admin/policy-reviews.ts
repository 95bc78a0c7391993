import type { PolicyFacts } from '../../common/policy/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { ListRenewalLossesResponse } from '../../common/wire/generated/meshca/admin/v1/ListRenewalLossesResponse.ts';
import type { PolicyRequestFacts } from '../../common/wire/generated/meshca/admin/v1/PolicyRequestFacts.ts';
import type { ReplayPolicyResponse } from '../../common/wire/generated/meshca/admin/v1/ReplayPolicyResponse.ts';
import type { OperatorCaller } from '../../services/callers/caller.ts';
import type { RenewalReview, RenewalStep, ReplayStep } from '../../services/services.ts';
import type { OperationDependencies, OperationsOf } from '../operation.ts';

type Reviews = Pick<
  OperationsOf<'meshca.admin.v1.Policies'>,
  'ListRenewalLosses' | 'ReplayPolicy' | 'GetPolicyDecision'
>;

const defaultLimit = 1000;
/** Of one message. */
const itemsAMessage = 500;
/** How many identities approvers see by name. */
const namedLosses = 20;

export const policyReviewOperations: Reviews = {
  ListRenewalLosses: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, { text, version, limit }, signal) =>
      messagesOf(
        await services.policyReviews.renewalLosses(
          caller,
          { text, version, limit: limit === 0 ? defaultLimit : limit },
          signal,
        ),
        lossMessages,
      ),
  },
  ReplayPolicy: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, { text, sinceMs, untilMs, limit }, signal) =>
      messagesOf(
        await services.policyReviews.replay(
          caller,
          {
            text,
            sinceMs: sinceMs === 0 ? undefined : sinceMs,
            untilMs: untilMs === 0 ? undefined : untilMs,
            limit: limit === 0 ? defaultLimit : limit,
          },
          signal,
        ),
        replayMessages,
      ),
  },
  GetPolicyDecision: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }) => {
      const decision = await services.policyReviews.decision(caller, id);
      const { record, facts, allowed, version, rule = '' } = decision;
      return {
        record: record.sequence,
        recordKind: record.kind,
        timeMs: record.timeMs,
        facts: factsMessage(facts),
        allowed,
        version,
        rule,
      };
    },
  },
};

/** The answers of a stream: how far it is, and then its end, in parts. */
async function* messagesOf<Step, Message>(
  steps: AsyncIterable<Step>,
  messages: (step: Step) => readonly Message[],
): AsyncGenerator<Message> {
  for await (const step of steps) yield* messages(step);
}

function lossMessages(step: RenewalStep): readonly ListRenewalLossesResponse[] {
  if (step.type === 'progress') return [step.progress];
  const parts = partsOf(step.losses);
  return parts.map((losses, index) =>
    index === parts.length - 1 ? { losses, totals: step.totals } : { losses },
  );
}

function replayMessages(step: ReplayStep): readonly ReplayPolicyResponse[] {
  if (step.type === 'progress') return [step.progress];
  const parts = partsOf(step.groups);
  return parts.map((groups, index) =>
    index === parts.length - 1 ? { groups, totals: step.totals } : { groups },
  );
}

/** At least one part, since the totals go with the last one. */
function partsOf<Item>(items: readonly Item[]): readonly Item[][] {
  const parts: Item[][] = [];
  for (let from = 0; from === 0 || from < items.length; from += itemsAMessage)
    parts.push(items.slice(from, from + itemsAMessage));
  return parts;
}

const factsMessage = (facts: PolicyFacts): PolicyRequestFacts => ({
  at: facts.at,
  kind: facts.kind,
  caller: facts.caller,
  callerName: facts.callerName,
  spiffeId: facts.spiffeId?.toString() ?? '',
  dnsNames: [...(facts.dnsNames ?? [])],
  ips: [...(facts.ips ?? [])],
  audiences: [...(facts.audiences ?? [])],
  profile: facts.profile ?? '',
  keyType: facts.keyType ?? '',
  ttlSeconds: facts.ttlSeconds ?? 0,
  entry: facts.entryId ?? '',
  delegation: facts.delegationId ?? '',
  tenant: facts.tenant ?? '',
  eabKey: facts.eabKeyId ?? '',
  exchangedBy: facts.exchangedBy ?? '',
  exchangedDelegation: facts.exchangedDelegation ?? '',
  tokenIssuer: facts.tokenIssuer ?? '',
  tokenSubject: facts.tokenSubject ?? '',
});

/** An approver waits for the whole operation: its bounds are narrower. */
const previewRecords = 100_000;
const previewMs = 10_000;

/** What approvers of a policy see of the identities that would lose their renewal. */
export async function lossLines(
  { services }: OperationDependencies,
  caller: OperatorCaller,
  asked: { readonly text: string; readonly version: number },
): Promise<readonly string[]> {
  const signal = AbortSignal.timeout(previewMs);
  const bounds = { limit: namedLosses, maximumRecords: previewRecords };
  try {
    const steps = services.policyReviews.renewalLosses(caller, { ...asked, ...bounds }, signal);
    for await (const step of await steps) if (step.type === 'end') return linesOf(step);
    return [];
  } catch (thrown) {
    // an operation over a version that is over can only be rejected, and is shown all the same
    const { code, message } = PkiError.from(thrown);
    const why = signal.aborted
      ? `it takes more than ${previewMs / 1000} s; "meshca policy activate --dry-run" tells them`
      : `${message} (${code})`;
    return [`the identities that would lose their renewal are not known: ${why}`];
  }
}

function linesOf({ losses, totals }: RenewalReview): readonly string[] {
  const { identities, certificates, live, unknown, complete } = totals;
  const more = identities - losses.length;
  return [
    `${identities} live identities with ${certificates} of ${live} live certificates would lose their renewal`,
    ...(unknown === 0
      ? []
      : [`${unknown} live certificates are not known: their records have no facts`]),
    ...(complete ? [] : ['only the newest records were read: there can be more']),
    ...losses.map(
      ({ identity, kind, rule, certificates: count }) =>
        `  ${identity} (${kind}, ${count}): ${rule === '' ? 'no rule allows it' : `rule ${rule} denies it`}`,
    ),
    ...(more > 0 ? [`  and ${more} more`] : []),
  ];
}
