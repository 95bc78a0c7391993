import { done, row, type AdviceRow } from './row.ts';
import type { tenantCodes } from '../../../src/common/errors/codes/tenants.ts';

const gate = 'unit/issuance/tenant-gate.test.ts';
const quota = 'a certificate takes a place in the quota of its tenant and of what granted it';
const quotaCases = 'unit/domain/rights.test.ts';

export const tenantAdvice = {
  TENANT_OVERLAPS: row(
    'a suffix is above, below or equal to that of another tenant',
    [
      'unit/domain/tenant-rules.test.ts',
      'the refusal of an overlap names the other tenant to whoever may know it alone',
    ],
    done('states a suffix beside it', 'there is no overlap'),
  ),
  TENANT_ENDED: row(
    'a workload of an ended tenant asks for a certificate or token',
    [gate, 'nothing is issued for an ended tenant: certificates, tokens, and authorities below'],
    done('deletes the tenant', 'its names are of nobody and are issued again'),
  ),
  TENANT_QUOTA_USED: row(
    'a certificate more than the quota of its tenant',
    [gate, quota],
    done('waits until a place is free', 'the certificate is issued'),
  ),
  EAB_QUOTA_USED: row(
    'a certificate more than the quota of the key',
    [quotaCases, 'a quota names whose it is, its limit, and when the next place is free'],
    done('waits until a place is free', 'the certificate is issued', [gate, quota]),
  ),
  NAME_OF_OTHER_TENANT: row(
    'a workload of nobody asks for a name of a tenant',
    [gate, 'names of a tenant are refused to other owners, whatever kind of certificate has them'],
    done('asks for a name of its own tenant', 'the certificate is issued'),
  ),
} as const satisfies Readonly<Record<keyof typeof tenantCodes, AdviceRow>>;
