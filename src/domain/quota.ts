import { issuedKinds, type QuotaPlace } from '../common/policy/index.ts';
import type { AuditEvent } from './audit.ts';

/** A taken place, as the record of an issuance states it. */
export interface TakenPlace {
  readonly counter: string;
  /** When it is free again, Unix seconds. */
  readonly until: number;
}

/** What a record says of a quota. A record of what was withheld takes no place. */
export function takenPlaceIn({
  kind,
  detail,
}: Pick<AuditEvent, 'kind' | 'detail'>): TakenPlace | undefined {
  const { policyQuota: counter, policyQuotaUntil: until } = detail;
  return issuedKinds.has(kind) && typeof counter === 'string' && typeof until === 'number'
    ? { counter, until }
    : undefined;
}

/** What the record of an issuance states. */
export const placeDetail = (
  { counter, perSeconds }: QuotaPlace,
  at: number,
): { readonly policyQuota: string; readonly policyQuotaUntil: number } => ({
  policyQuota: counter,
  policyQuotaUntil: at + perSeconds,
});
