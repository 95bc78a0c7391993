import type { TenantDraft__Output } from '../../common/wire/generated/meshca/admin/v1/TenantDraft.ts';
import type { OperatorCaller } from '../../services/callers/caller.ts';
import type { TenantChange, TenantEnd } from '../../services/services.ts';
import { pageOf } from '../messages/common.ts';
import {
  tenantChangeMessage,
  tenantEndMessage,
  tenantInput,
  tenantMessage,
  tenantReportMessage,
  tenantViewMessage,
} from '../messages/tenants.ts';
import type { OperationDependencies, OperationsOf } from '../operation.ts';
import { diff, type Fields } from '../preview/diff.ts';

const unlessDryRun = {
  when: 'it is not a dry run',
  matters: ({ dryRun }: { readonly dryRun: boolean }) => !dryRun,
};

export const tenantOperations: OperationsOf<'meshca.admin.v1.Tenants'> = {
  CreateTenant: {
    admits: 'operators',
    dualControl: unlessDryRun,
    preview: async ({ services }, caller, { tenant }) =>
      tenant === null
        ? []
        : [
            ...diff(`create tenant ${tenant.name}`, undefined, fieldsOf(tenant)),
            ...collisionLines(
              await services.tenants.create(caller, tenantInput(tenant), { dryRun: true }),
            ),
          ],
    run: async ({ services }, caller, { tenant, dryRun }, signal) =>
      tenantChangeMessage(
        await services.tenants.create(caller, tenantInput(tenant), { dryRun, signal }),
        dryRun,
      ),
  },
  ListTenants: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, includeEnded }, signal) => {
      const { items, next } = await services.tenants.list(
        caller,
        { includeEnded },
        pageOf(page, signal),
      );
      return { tenants: items.map(tenantViewMessage), nextPageToken: next ?? '' };
    },
  },
  GetTenant: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services, clock }, caller, { name }) =>
      tenantReportMessage(await services.tenants.get(caller, name), clock.now()),
  },
  UpdateTenant: {
    admits: 'operators',
    dualControl: unlessDryRun,
    preview: async (dependencies, caller, { tenant, version }) =>
      tenant === null
        ? []
        : [
            ...diff(
              `change tenant ${tenant.name}`,
              await present(dependencies, caller, tenant.name),
              fieldsOf(tenant),
            ),
            ...collisionLines(
              await dependencies.services.tenants.update(caller, tenantInput(tenant), {
                version,
                dryRun: true,
              }),
            ),
          ],
    run: async ({ services }, caller, { tenant, version, dryRun }) =>
      tenantChangeMessage(
        await services.tenants.update(caller, tenantInput(tenant), { version, dryRun }),
        dryRun,
      ),
  },
  PreviewTenantEnd: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { name }) =>
      tenantEndMessage(await services.tenants.previewEnd(caller, name)),
  },
  EndTenant: {
    admits: 'operators',
    dualControl: 'always',
    preview: async ({ services }, caller, { name, reason }) => [
      `end tenant ${name}${reason === '' ? '' : `: ${reason}`}`,
      ...endLines(await services.tenants.previewEnd(caller, name)),
    ],
    run: async ({ services }, caller, { name, reason }) =>
      tenantMessage(await services.tenants.end(caller, name, reason)),
  },
  DeleteTenant: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (dependencies, caller, { name }) => [
      ...diff(`delete tenant ${name}`, await present(dependencies, caller, name), undefined),
      'Its names are free for others afterwards. Its EAB keys and accounts end for ever.',
    ],
    run: async ({ services }, caller, { name, reason }) => {
      const { altered, ...ended } = await services.tenants.delete(caller, name, reason);
      return { ...ended, altered: [...altered] };
    },
  },
};

async function present(
  { services }: OperationDependencies,
  caller: OperatorCaller,
  name: string,
): Promise<Fields> {
  return fieldsOf((await services.tenants.get(caller, name)).view.tenant);
}

const fieldsOf = ({
  description,
  dnsSuffixes,
  spiffePrefixes,
  quotaCertificates,
  quotaSeconds,
}: Pick<TenantDraft__Output, 'description' | 'quotaCertificates' | 'quotaSeconds'> & {
  readonly dnsSuffixes: readonly string[];
  readonly spiffePrefixes: readonly string[];
}): Fields => ({ description, dnsSuffixes, spiffePrefixes, quotaCertificates, quotaSeconds });

const endLines = ({ tenant, altered, ...counts }: TenantEnd): readonly string[] => [
  tenant.state === 'active'
    ? 'Nothing is issued for its names from then on, and agents lose its entries.'
    : `It is ${tenant.state} already.`,
  ...Object.entries(counts).map(([what, count]) => `${what}: ${count}`),
  ...altered.map(({ kind, id }) => `${kind} ${id} differs from the audit log`),
];

const collisionLines = ({ collisions, moreCollisions }: TenantChange): readonly string[] => [
  ...collisions.map(({ kind, id, subject, why }) => `${kind} ${id} (${subject}): ${why}`),
  ...(moreCollisions === 0 ? [] : [`${moreCollisions} more`]),
];
