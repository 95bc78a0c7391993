import { PkiError } from '../../common/errors/index.ts';
import type { Tenant as TenantMessage } from '../../common/wire/generated/meshca/admin/v1/Tenant.ts';
import type { TenantChange as TenantChangeMessage } from '../../common/wire/generated/meshca/admin/v1/TenantChange.ts';
import type { TenantDraft__Output } from '../../common/wire/generated/meshca/admin/v1/TenantDraft.ts';
import type { TenantEnd as TenantEndMessage } from '../../common/wire/generated/meshca/admin/v1/TenantEnd.ts';
import type { TenantReport as TenantReportMessage } from '../../common/wire/generated/meshca/admin/v1/TenantReport.ts';
import type { TenantView as TenantViewMessage } from '../../common/wire/generated/meshca/admin/v1/TenantView.ts';
import type { Tenant, TenantInput } from '../../domain/index.ts';
import type { TenantChange, TenantEnd, TenantReport, TenantView } from '../../services/services.ts';

/** @throws PkiError INVALID_REQUEST */
export function tenantInput(draft: TenantDraft__Output | null): TenantInput {
  if (draft === null) throw new PkiError('INVALID_REQUEST', 'the tenant is missing');
  const { name, description, dnsSuffixes, spiffePrefixes } = draft;
  const { quotaCertificates, quotaSeconds } = draft;
  return { name, description, dnsSuffixes, spiffePrefixes, quotaCertificates, quotaSeconds };
}

export const tenantMessage = (tenant: Tenant): TenantMessage => ({
  ...tenant,
  dnsSuffixes: [...tenant.dnsSuffixes],
  spiffePrefixes: [...tenant.spiffePrefixes],
});

export const tenantChangeMessage = (
  { tenant, collisions, moreCollisions }: TenantChange,
  dryRun: boolean,
): TenantChangeMessage => ({
  tenant: tenantMessage(tenant),
  collisions: [...collisions],
  moreCollisions,
  dryRun,
});

export const tenantEndMessage = ({ tenant, altered, ...counts }: TenantEnd): TenantEndMessage => ({
  ...counts,
  tenant: tenantMessage(tenant),
  altered: [...altered],
});

export const tenantViewMessage = ({
  tenant,
  quotaUsed,
  nextFreeAt,
}: TenantView): TenantViewMessage => ({ tenant: tenantMessage(tenant), quotaUsed, nextFreeAt });

export function tenantReportMessage(
  { view, sample, eabKeys, accounts, ...counts }: TenantReport,
  now: number,
): TenantReportMessage {
  const isEnded = view.tenant.state !== 'active';
  return {
    ...counts,
    view: tenantViewMessage(view),
    sample: [...sample],
    eabKeys: eabKeys.map(({ id, description, revokedAt, expiresAt }) => ({
      id,
      description,
      state:
        revokedAt !== null
          ? 'revoked'
          : expiresAt !== 0 && expiresAt <= now
            ? 'expired'
            : isEnded
              ? 'ended'
              : 'active',
    })),
    accounts: accounts.map(({ id, eabKeyId, status }) => ({
      id,
      eabKeyId,
      state: status === 'valid' && isEnded ? 'ended' : status,
    })),
  };
}
