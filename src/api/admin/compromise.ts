import { compromisePlan, rotationStatus } from '../messages/rotation.ts';
import type { OperationsOf } from '../operation.ts';
import { authorityLines, proofText } from '../preview/authorities.ts';
import { isoTime } from '../preview/entries.ts';

/** Operations that end trust in an authority. */
export const compromiseOperations: Pick<
  OperationsOf<'meshca.admin.v1.Authorities'>,
  'TaintAuthority' | 'RevokeAuthority' | 'ListUnreplaced' | 'PlanCompromise' | 'CompromiseAuthority'
> = {
  TaintAuthority: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { id, force }) => [
      `have all leaves under ${id} replaced; where it is the last that signs, a successor ` +
        `first, ${proofText(force, null)}`,
      ...(await authorityLines(dependencies, caller, (authority) => authority.id === id)),
    ],
    run: async ({ services }, caller, { id, windowSeconds, reason, force }) =>
      rotationStatus(
        await services.rotation.taint(caller, { id, windowSeconds, reason, force }),
        services.crls,
      ),
  },
  RevokeAuthority: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { id, force }) => [
      `revoke ${id}${force ? ' even while its leaves are live (force)' : ', if none of its leaves is live'}`,
      ...(await authorityLines(dependencies, caller, (authority) => authority.id === id)),
    ],
    run: async ({ services }, caller, { id, reason, force }) =>
      rotationStatus(await services.rotation.revoke(caller, { id, reason, force }), services.crls),
  },
  ListUnreplaced: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }, signal) => {
      const { owners, ...counts } = await services.rotation.unreplaced(caller, id, signal);
      return { owners: [...owners], ...counts };
    },
  },
  PlanCompromise: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }, signal) =>
      compromisePlan(await services.rotation.planCompromise(caller, id, signal), services.crls),
  },
  CompromiseAuthority: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { id }) => {
      const plan = await dependencies.services.rotation.planCompromise(caller, id);
      const exposedUntil = plan.exposedUntil === 0 ? 'then' : isoTime(plan.exposedUntil);
      return [
        'taint ' +
          `${plan.tainted.join(', ')}${plan.replacesRoot ? '; the root is replaced as well and leaves the bundle' : ''}`,
        `${plan.consumersEnforcingCrl} of ${plan.consumers} consumers enforce CRLs`,
        `${plan.live} live leaves, ${plan.liveUnreported} of them with holders that can not ` +
          `report; exposed until ${exposedUntil}`,
        ...(await authorityLines(dependencies, caller, (authority) =>
          plan.tainted.includes(authority.id),
        )),
      ];
    },
    run: async ({ services }, caller, { id, windowSeconds, reason, force }) =>
      compromisePlan(
        await services.rotation.compromise(caller, { id, windowSeconds, reason, force }),
        services.crls,
      ),
  },
};
