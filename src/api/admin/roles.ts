import { PkiError } from '../../common/errors/index.ts';
import type { OperatorCaller } from '../../services/callers/caller.ts';
import { wholeList } from '../../store/pages.ts';
import { pageOf } from '../messages/common.ts';
import { roleMessage } from '../messages/views.ts';
import type { OperationDependencies, OperationsOf } from '../operation.ts';
import { diff, type Fields } from '../preview/diff.ts';
import { memberLines } from '../preview/members.ts';

export const roleOperations: OperationsOf<'meshca.admin.v1.Roles'> = {
  PutRole: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { role }) =>
      role === null
        ? []
        : [
            ...diff(
              `put role ${role.name}`,
              await presentRole(dependencies, caller, role.name),
              withoutTimes(role),
            ),
            ...(await memberLines(dependencies, caller, role.members)),
          ],
    run: async ({ services }, caller, { role }, signal) => {
      if (!role) throw new PkiError('INVALID_REQUEST', 'the role is missing');
      return roleMessage(await services.roles.put(caller, role, signal));
    },
  },
  ListRoles: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page }, signal) => {
      const { items, next } = await services.roles.list(caller, pageOf(page, signal));
      return { roles: items.map(roleMessage), nextPageToken: next ?? '' };
    },
  },
  DeleteRole: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { name }) =>
      diff(`delete role ${name}`, await presentRole(dependencies, caller, name), undefined),
    run: async ({ services }, caller, { name }, signal) =>
      roleMessage(await services.roles.delete(caller, name, signal)),
  },
};

async function presentRole(
  { services }: OperationDependencies,
  caller: OperatorCaller,
  name: string,
): Promise<Fields | undefined> {
  const roles = await wholeList((page) => services.roles.list(caller, page));
  const role = roles.find((item) => item.name === name);
  return role === undefined ? undefined : withoutTimes(roleMessage(role));
}

function withoutTimes(role: object): Fields {
  const { createdAt: _c, updatedAt: _u, ...stated } = role as Record<string, unknown>;
  return stated;
}
