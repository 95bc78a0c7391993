import { issuedKinds, type QuotaPlace } from '../common/policy/index.ts';
import { challengeFailed } from './acme/pause.ts';
import type { AuditEvent } from './audit.ts';

/** A taken place, as a record states it. */
export interface TakenPlace {
  readonly counter: string;
  /** When it is free again, Unix seconds. */
  readonly until: number;
}

/** Kinds of records that take places: what was released, and validations that failed. */
const placeKinds: ReadonlySet<string> = new Set([...issuedKinds, challengeFailed]);

/**
 * What a record says of quotas: at most one place of the policy, and one of each other counter. A
 * record of what was withheld takes no place.
 */
export function takenPlacesIn({
  kind,
  detail,
}: Pick<AuditEvent, 'kind' | 'detail'>): readonly TakenPlace[] {
  if (!placeKinds.has(kind)) return [];
  const { policyQuota: counter, policyQuotaUntil: until, quotaPlaces } = detail;
  const places = (Array.isArray(quotaPlaces) ? quotaPlaces : []).flatMap(placeFrom);
  return typeof counter === 'string' && typeof until === 'number'
    ? [{ counter, until }, ...places]
    : places;
}

/** What the record of an issuance states. */
export function placesDetail(
  places: readonly QuotaPlace[],
  at: number,
): Readonly<Record<string, string | number | readonly string[]>> {
  const ofPolicy = places.find(({ of }) => isOfPolicy(of));
  const others = places.filter(({ of }) => !isOfPolicy(of));
  return {
    ...(ofPolicy === undefined
      ? {}
      : { policyQuota: ofPolicy.counter, policyQuotaUntil: at + ofPolicy.perSeconds }),
    ...(others.length === 0
      ? {}
      : {
          quotaPlaces: others.map(({ counter, perSeconds }) => placeText(counter, at + perSeconds)),
        }),
  };
}

const isOfPolicy = (of: QuotaPlace['of']): boolean => of === undefined || of === 'rule';

/** One of `quotaPlaces` in the detail of a record. */
export const placeText = (counter: string, until: number): string => `${counter} ${until}`;

/** `COUNTER UNTIL`. */
function placeFrom(text: unknown): readonly TakenPlace[] {
  if (typeof text !== 'string') return [];
  const space = text.lastIndexOf(' ');
  const until = Number(text.slice(space + 1));
  return space > 0 && Number.isSafeInteger(until) ? [{ counter: text.slice(0, space), until }] : [];
}
