import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import type { DeliveredSet, DeliveryRecord } from './delivery-record.ts';
import type { FileTarget } from './target.ts';

/** The set that an operator can have served again. Fails with CONFLICT. Pure. */
export function setBefore(
  { served, retired, swapped, resume }: DeliveryRecord,
  { name, graceSeconds }: Pick<FileTarget, 'name' | 'graceSeconds'>,
  now: number,
): Result<DeliveredSet> {
  const before = retired
    .filter(({ set }) => served !== undefined && set.number < served.number)
    .at(-1)?.set;
  if (served === undefined || swapped || resume !== undefined || before === undefined)
    return fail('CONFLICT', `the target ${name} has no set before that could be served`, {
      next: `Sets stay on disk for ${graceSeconds} s after the next one is proven.`,
    });
  return before.endsAt > now
    ? ok(before)
    : fail('CONFLICT', `the certificate of the set ${before.name} has ended`, {
        next: 'Obtain a new one: "meshca set stage", then "meshca set promote".',
      });
}
