import { caller, type CodeInfo } from './code-info.ts';

/** Codes of tenants, who own names. */
export const tenantCodes = {
  TENANT_OVERLAPS: caller(
    'ALREADY_EXISTS',
    'A name is that of another tenant, or is above or below it.',
    'State names that no other tenant has, or take the name from the other tenant first (meshca ' +
      'tenant update). Two tenants never share a name.',
  ),
  TENANT_ENDED: caller(
    'FAILED_PRECONDITION',
    'The tenant that owns the name has ended: nothing is issued for its names.',
    'Ask who runs this CA. The names stay with the tenant until an operator deletes it (meshca ' +
      'tenant delete). They are free for another one afterwards.',
  ),
  TENANT_QUOTA_USED: caller(
    'RESOURCE_EXHAUSTED',
    'The tenant has used its quota of certificates.',
    'Wait until the time that the message states, or let an operator raise the quota of the tenant ' +
      '(meshca tenant update). Look for a client that asks again and again.',
  ),
  EAB_QUOTA_USED: caller(
    'RESOURCE_EXHAUSTED',
    'The key for ACME accounts has used its quota of certificates.',
    'Wait until the time that the message states, or let an operator make a key with a larger ' +
      'quota. Look for a client that asks again and again.',
  ),
  NAME_OF_OTHER_TENANT: caller(
    'PERMISSION_DENIED',
    'A name belongs to another tenant than whoever asks for it, or not to the tenant of the EAB key.',
    'Ask for names of your own tenant or of nobody. If the name is yours, let an operator move the ' +
      'SPIFFE ID below a prefix of the tenant that owns the name, or the name to your tenant.',
  ),
} as const satisfies Record<string, CodeInfo>;
