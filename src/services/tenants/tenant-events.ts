import type { AuditEvent, Tenant } from '../../domain/index.ts';

export type TenantEventKind =
  | 'tenant.created'
  | 'tenant.changed'
  | 'tenant.ended'
  | 'tenant.deleted';

export const tenantEvent = (
  kind: TenantEventKind,
  tenant: Tenant,
  {
    actor,
    timeMs,
    reason,
  }: { readonly actor: string; readonly timeMs: number; readonly reason?: string },
): AuditEvent => ({
  timeMs,
  actor,
  kind,
  subject: tenant.name,
  detail: {
    version: tenant.version,
    dnsSuffixes: [...tenant.dnsSuffixes],
    spiffePrefixes: [...tenant.spiffePrefixes],
    quotaCertificates: tenant.quotaCertificates,
    quotaSeconds: tenant.quotaSeconds,
    ...(reason === undefined ? {} : { reason }),
  },
});
