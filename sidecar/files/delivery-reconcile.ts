import { PkiError } from '../../src/common/errors/index.ts';
import type { StoredSet } from './certificate-set.ts';
import { currentOf, type DeliveredSet, type DeliveryRecord } from './delivery-record.ts';
import type { FileTarget } from './target.ts';

/** What is on disk at the start. */
export interface SetsOnDisk {
  readonly sets: readonly StoredSet[];
  readonly current: StoredSet | undefined;
}

export interface Reconciled {
  readonly record: DeliveryRecord;
  /** `current` names neither what the record says nor what it may say. */
  readonly strange: boolean;
  /** The set that `current` names. */
  readonly current: DeliveredSet | undefined;
}

/**
 * Holds a record from the journal against the disk, which decides on what there is. Sets that the
 * record does not know are remains of a crash, and are removed. Pure.
 */
export function reconcile(
  record: DeliveryRecord,
  { sets, current }: SetsOnDisk,
  { now, graceSeconds }: { readonly now: number; readonly graceSeconds: number },
): Reconciled {
  const onDisk = new Map(sets.map((set) => [set.name, set]));
  const there = (set: DeliveredSet | undefined): DeliveredSet | undefined => {
    const stored = set === undefined ? undefined : onDisk.get(set.name);
    return set === undefined || stored === undefined ? undefined : { ...set, ...stored };
  };
  const candidate = there(record.candidate);
  const served = there(record.served);
  const retired = record.retired.flatMap(({ set, removeAt }) => {
    const still = there(set);
    return still === undefined ? [] : [{ set: still, removeAt }];
  });
  const known = new Map(
    [candidate, served, ...retired.map(({ set }) => set)].flatMap((set) =>
      set === undefined ? [] : [[set.name, set] as const],
    ),
  );
  const isNew = record.served === undefined && record.candidate === undefined;
  const remains = sets
    .filter(({ name }) => !known.has(name) && name !== current?.name)
    // without a journal one of them may be what a server has still loaded
    .map((set) => ({ set: adopted(set), removeAt: isNew ? now + graceSeconds : now }));
  const lost = candidate === undefined && record.candidate !== undefined;
  const reconciled: DeliveryRecord = {
    ...record,
    candidate,
    served,
    retired: [...retired, ...remains],
    ...(lost ? { swapped: false, step: 'rest' as const, resume: undefined } : {}),
  };
  const found = current === undefined ? undefined : (known.get(current.name) ?? adopted(current));
  return {
    record: reconciled,
    strange: !expected(reconciled).includes(current?.name),
    current: found,
  };
}

/** What `current` may name. */
function expected(record: DeliveryRecord): readonly (string | undefined)[] {
  return record.step === 'rest' && record.resume !== 'swap-back'
    ? [currentOf(record)?.name]
    : [record.served?.name, ...(record.swapped ? [record.candidate?.name] : [])];
}

/** A set of which nothing is known but what is on disk. */
export const adopted = (set: StoredSet): DeliveredSet => ({
  ...set,
  rootNames: [],
  crlsDigest: '',
  federatedDigest: '',
  spiffeId: '',
  entryId: '',
  entryRevision: 0,
  authorityId: '',
  // a third of its life, as others
  renewAt: set.notBefore + Math.round((set.notAfter - set.notBefore) / 3),
  endsAt: set.notAfter,
});

/** Somebody else changed `current`, or took the sets away. */
export const strange = ({ name, directory }: FileTarget, current: string | undefined): PkiError =>
  new PkiError(
    'TARGET_UNWRITABLE',
    current === undefined
      ? `the target ${name} has lost its sets: ${directory}/current names none`
      : `something else than the agent made ${directory}/current name ${current}`,
  );
