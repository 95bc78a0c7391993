import type { OrderIdentifier } from '../../common/validation/challenge.ts';

/** The kind of the record of a failed validation. */
export const challengeFailed = 'acme-challenge.failed';

/**
 * The counter of the failed validations of one name by one account, wildcard or not. It is counted
 * from the log, like a quota, so that every replica and every start knows what is paused.
 */
export const failureCounter = (accountId: string, { type, value }: OrderIdentifier): string =>
  `acme-failure:${accountId} ${type}:${withoutWildcard(value)}`;

/** A wildcard is shown by the name below it. */
const withoutWildcard = (name: string): string => (name.startsWith('*.') ? name.slice(2) : name);
