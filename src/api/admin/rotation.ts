import { canaryOf, kindOf, placeOf, rotationStatus, stopOf } from '../messages/rotation.ts';
import type { OperationsOf } from '../operation.ts';
import { authorityLines, proofText, scopeLines } from '../preview/authorities.ts';

/** Operations of rotation. Each records a goal, and the server then works towards it. */
export const rotationOperations: Pick<
  OperationsOf<'meshca.admin.v1.Authorities'>,
  'RotateAuthorities' | 'ContinueRotation' | 'WithdrawAuthority' | 'AcceptClock'
> = {
  RotateAuthorities: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { kind, stopAfter, force, shares, replica, region }) => {
      const publishing = stopAfter === 'prepared' ? ' not yet' : '';
      const activating =
        stopAfter === ''
          ? `activate it ${proofText(force, shares)}`
          : `stop when it is ${stopAfter}`;
      return [
        ...scopeLines(replica, region),
        `make a successor of the ${kind} authority (prepared), publish it${publishing}, and ` +
          `${activating}; what signs now is then trusted until its last leaf has expired`,
        ...(await authorityLines(dependencies, caller, (authority) => authority.kind === kind)),
      ];
    },
    run: async ({ services }, caller, request, signal) => {
      const input = {
        kind: kindOf(request.kind),
        reason: request.reason,
        force: request.force,
        ...stopOf(request.stopAfter),
        ...(request.shares === null ? {} : { shares: request.shares }),
        ...canaryOf(request),
        ...placeOf(request),
      };
      const state = await services.rotation.rotate(caller, input, signal);
      return rotationStatus(state, services.crls);
    },
  },
  ContinueRotation: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (
      dependencies,
      caller,
      { kind, id, force, shares, disregardedAgents: disregarded },
    ) => [
      ...disregarded.map((agent) => `the handshake reports of ${agent} no longer count`),
      `continue the rotation ${id || `of the ${kind} authority`}: activate its successor ${proofText(force, shares)}`,
      ...(await authorityLines(
        dependencies,
        caller,
        (operation) => operation.kind === kind || operation.id === id,
      )),
    ],
    run: async ({ services }, caller, request, signal) => {
      const input = {
        ...(request.id === '' ? { kind: kindOf(request.kind) } : { id: request.id }),
        reason: request.reason,
        force: request.force,
        ...stopOf(request.stopAfter),
        ...(request.shares === null ? {} : { shares: request.shares }),
        disregarded: request.disregardedAgents,
      };
      const state = await services.rotation.proceed(caller, input, signal);
      return rotationStatus(state, services.crls);
    },
  },
  WithdrawAuthority: {
    admits: 'operators',
    dualControl: 'always',
    preview: (dependencies, caller, { id }) =>
      authorityLines(dependencies, caller, (authority) => authority.id === id),
    run: async ({ services }, caller, { id, reason }, signal) =>
      rotationStatus(
        await services.rotation.withdraw(caller, { id, reason }, signal),
        services.crls,
      ),
  },
  AcceptClock: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { reason }, signal) =>
      rotationStatus(await services.rotation.acceptClock(caller, reason, signal), services.crls),
  },
};
