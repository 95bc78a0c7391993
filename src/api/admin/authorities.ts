import { authorityKinds, authorityStates } from '../../domain/index.ts';
import { oneOf } from '../messages/common.ts';
import { rotationStatus } from '../messages/rotation.ts';
import { authorityMessage, bundleMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';
import { mapEach, newestOf } from '../streams.ts';
import { compromiseOperations } from './compromise.ts';
import { rotationOperations } from './rotation.ts';

export const authorityOperations: OperationsOf<'meshca.admin.v1.Authorities'> = {
  ...rotationOperations,
  ...compromiseOperations,
  ListAuthorities: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { kind, state }) => {
      const views = await services.authorities.list(caller, {
        ...(kind === '' ? {} : { kind: oneOf('kind', kind, authorityKinds, 'root') }),
        ...(state === '' ? {} : { state: oneOf('state', state, authorityStates, 'active') }),
      });
      return { authorities: views.map(authorityMessage), nextPageToken: '' };
    },
  },
  GetAuthority: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }, signal) =>
      authorityMessage(await services.authorities.get(caller, id, signal)),
  },
  GetBundle: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller) => bundleMessage(await services.authorities.bundle(caller)),
  },
  GetRotationStatus: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, _request, signal) =>
      rotationStatus(await services.rotation.status(caller, signal), services.crls),
  },
  WatchRotation: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, _request, signal) =>
      newestOf({
        subscribe: (push) =>
          services.rotation.watch(caller, (state) => push(rotationStatus(state, services.crls))),
        // a status that differs only in its time is not sent again
        contentOf: (status) => JSON.stringify({ ...status, at: 0 }),
        signal,
      }),
  },
  GetActivationEvidence: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, { id }) =>
      mapEach(await services.rotation.evidence(caller, id), (part) => {
        if (part.part === 'lines') return { lines: part.lines };
        const { sha256, statement, sequence } = part;
        return { statement: { sha256, statement, sequence } };
      }),
  },
};
