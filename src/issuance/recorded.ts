import { fail, ok, PkiError, type Result } from '../common/errors/index.ts';
import { uuidv7, type Clock } from '../common/runtime/index.ts';
import { lint } from '../certs/index.ts';
import { blockedKeyText, namesBeside, subjectText, type Intent } from '../domain/index.ts';
import type { SignItem, SignOutcome } from '../hsm/signing-port.ts';
import type { LedgerBlockedKeys, LedgerQuotas } from '../ledger/index.ts';
import type { FinishItem, FinishOutcome, IssuanceStore } from '../store/ports/index.ts';
import type { CertificateDraft } from './certificate-draft.ts';
import { endingOf, released, type CertificateOutcome, type Item, type Signed } from './endings.ts';
import { Batcher, commitLimit } from './group-commit.ts';
import { GroupSize } from './group-size.ts';
import { RunsUnderWay, type IssuanceUnderWay } from './runs-under-way.ts';
import { quotaUsed, requireAdmitted } from './policy.ts';

export interface SigningStep {
  /**
   * Signs the items and returns outcomes in their order. Each signature was verified with the
   * public key in the issuer's recorded certificate. If this throws, every item failed.
   */
  sign(items: readonly SignItem[]): Promise<readonly SignOutcome[]>;
  /**
   * False when no caller waits for any of the items any more. If their intents are not durable yet,
   * nothing is recorded or signed, and `run` rejects with CANCELLED. Absent: callers wait.
   */
  readonly wanted?: () => boolean;
  /** Called between the steps, in order, for the fault drill. */
  readonly step?: (name: RecordedStep) => void;
}
export type RecordedStep = 'prepared' | 'intents-durable' | 'signed' | 'recorded';

/**
 * The one way to a certificate: prepared → intent durable → signed → verified → finished or
 * abandoned → released. `run` keeps promise 2 of the product.
 */
export interface RecordedIssuance {
  /**
   * Compares the bytes with the profile, the record and the decision of the policy. Fails with
   * LINT_FAILED. Pure: nothing is recorded yet.
   */
  prepare(draft: CertificateDraft): Result<PreparedCertificate>;
  /**
   * Redeems each item. An item can be redeemed once, and only by the issuance that made it;
   * otherwise INTERNAL, and nothing is recorded or signed. Outcomes are in the order of the items.
   * Concurrent calls share commits, and a large call takes several. Rejects if the store fails: then
   * nothing is released, and the next start finds the intents that have not ended as unfinished. If
   * it fails for a part of a large call, the items of that part fail.
   */
  run(
    prepared: readonly PreparedCertificate[],
    signing: SigningStep,
  ): Promise<readonly CertificateOutcome[]>;
  /** What `run` works on now: whoever acts on all certificates waits for these. */
  underWay(): IssuanceUnderWay;
}

export interface RecordedDependencies {
  readonly store: Pick<IssuanceStore, 'recordIntents' | 'finish'>;
  /** Of the policy: places that are taken. */
  readonly quotas: LedgerQuotas;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly clock: Clock;
}

/**
 * A certificate that passed every check and may be signed once. Only `prepare` makes one. Copies
 * and imitations are refused.
 */
class Prepared {
  /** The intent to record. */
  readonly intent: Intent;
  readonly #issuance: object;
  #item: Item | undefined;

  constructor(issuance: object, item: Item) {
    this.intent = item.intent;
    this.#issuance = issuance;
    this.#item = item;
    Object.freeze(this);
  }

  static redeem(value: Prepared, issuance: object): Item {
    if (!(#item in value) || value.#issuance !== issuance)
      throw new PkiError('INTERNAL', 'a certificate was prepared by another issuance');
    const item = value.#item;
    if (item === undefined)
      throw new PkiError('INTERNAL', 'a prepared certificate can not be signed twice');
    value.#item = undefined;
    return item;
  }
}
export type { Prepared as PreparedCertificate };
type PreparedCertificate = Prepared;

export function createRecordedIssuance({
  store,
  quotas,
  blockedKeys,
  clock,
}: RecordedDependencies): RecordedIssuance {
  const groupSize = new GroupSize();
  const intents = intentBatcher(store, groupSize);
  const finishes = new Batcher<FinishItem, FinishOutcome>(
    (batch) => store.finish(batch),
    commitLimit,
  );

  const runs = new RunsUnderWay();
  const issuance: RecordedIssuance = {
    prepare(draft) {
      const { admission, expected, profile, record, tbsDer } = draft;
      requireAdmitted(admission, record.kind, expected.subject);
      const linted = lint(tbsDer, profile, expected);
      if (!linted.ok) return linted;
      // cut to an issuer that is over: whoever drafts, such a certificate is never signed
      if (expected.notAfter <= clock.now())
        return fail(
          'ISSUER_ENDED',
          `authority ${draft.signer.authorityId} has ended and signs nothing more`,
        );
      if (blockedKeys.get(record.publicKeySha256) !== undefined)
        return fail('KEY_BLOCKED', blockedKeyText(record.publicKeySha256));
      const full = quotaUsed(admission, quotas, clock.now());
      if (full !== undefined) return full;
      return ok(new Prepared(issuance, { draft, intent: intentOf(draft, clock.nowMs()) }));
    },
    async run(prepared, signing) {
      if (prepared.length === 0) return [];
      const items = prepared.map((certificate) => Prepared.redeem(certificate, issuance));
      const run = inSlices(items, signing, { intents, finishes, clock });
      return runs.add(items, run.finally(groupSize.enter(items.length)));
    },
    underWay: () => runs.present(),
  };
  return issuance;
}

interface Shared {
  readonly intents: Batcher<Intent, undefined>;
  readonly finishes: Batcher<FinishItem, FinishOutcome>;
  readonly clock: Clock;
}

/**
 * A larger call goes in slices: while the signers have one, the next is committed. A call has its
 * outcomes when all slices have ended.
 */
const sliceSize = 128;

async function inSlices(
  items: readonly Item[],
  signing: SigningStep,
  shared: Shared,
): Promise<readonly CertificateOutcome[]> {
  if (items.length <= sliceSize) return runItems(items, signing, shared);
  const size = Math.ceil(items.length / Math.ceil(items.length / sliceSize));
  const slices: Promise<readonly CertificateOutcome[]>[] = [];
  const whole = { ...signing, wanted: onceWanted(signing.wanted) };
  for (let start = 0; start < items.length; start += size)
    slices.push(runItems(items.slice(start, start + size), whole, shared));
  const settled = await Promise.allSettled(slices);
  const [first] = settled;
  if (first?.status === 'rejected' && settled.every(({ status }) => status === 'rejected'))
    throw first.reason;
  return settled.flatMap((slice, index) =>
    slice.status === 'fulfilled'
      ? slice.value
      : items
          .slice(index * size, (index + 1) * size)
          .map(() => unrecorded(slice.reason, shared.clock.nowMs())),
  );
}

/** The store failed for this item: nothing is released. */
const unrecorded = (thrown: unknown, nowMs: number): CertificateOutcome => ({
  ok: false,
  error: copyOf(thrown),
  refusalId: uuidv7(nowMs),
});

/** A call of which a part has begun runs to its end. */
function onceWanted(wanted: () => boolean = () => true): () => boolean {
  let begun = false;
  return () => (begun ||= wanted());
}

async function runItems(
  items: readonly Item[],
  { sign, wanted, step = noStep }: SigningStep,
  { intents, finishes, clock }: Shared,
): Promise<readonly CertificateOutcome[]> {
  step('prepared');
  const asked = items.map(({ intent }) => intent);
  await intents.run(asked, wanted);
  step('intents-durable');
  const signed = await outcomesOf(items.map(toSignItem), sign);
  step('signed');
  const endings = items.map((item, index) => endingOf(item, signed[index], clock.nowMs()));
  const finished = await finishes.run(endings.map(({ finish }) => finish));
  step('recorded');
  return endings.map(({ outcome, finish }, index) =>
    outcome.ok ? released(outcome, finish, finished[index], clock.nowMs()) : outcome,
  );
}

const intentBatcher = (
  store: Pick<IssuanceStore, 'recordIntents'>,
  groupSize: GroupSize,
): Batcher<Intent, undefined> =>
  new Batcher(
    async (batch) => {
      await store.recordIntents(batch);
      return batch.map(() => undefined);
    },
    commitLimit,
    (waiting) => groupSize.of(waiting),
  );

const noStep = (): void => {};

const intentOf = (
  { tbsDer, expected, signer, record, shard, admission }: CertificateDraft,
  nowMs: number,
): Intent => ({
  serial: expected.serial.toString('hex'),
  spiffeId: subjectText(expected.subject),
  names: namesBeside(expected.subject),
  kind: record.kind,
  profile: record.profile,
  entryId: record.entryId,
  delegationId: record.delegationId,
  requester: record.requester,
  holder: record.holder,
  publicKeySha256: record.publicKeySha256,
  requestId: record.requestId,
  authorityId: signer.authorityId,
  createdAtMs: nowMs,
  notBefore: expected.notBefore,
  notAfter: expected.notAfter,
  replaces: record.replaces,
  shard,
  tenant: admission.tenant ?? null,
  tbsDer,
});

const toSignItem = ({ draft }: Item): SignItem => ({
  ckaId: draft.signer.ckaId,
  bytes: draft.tbsDer,
  format: 'x509',
  ...(draft.proof === undefined ? {} : { proof: draft.proof }),
});

/** An item without an answer of the signers may have been signed all the same. */
async function outcomesOf(
  items: readonly SignItem[],
  sign: SigningStep['sign'],
): Promise<readonly Signed[]> {
  try {
    return await sign(items);
  } catch (thrown) {
    return items.map(() => copyOf(thrown));
  }
}

/** One error object per item: refusals are told apart by their error. */
function copyOf(thrown: unknown): PkiError {
  const { code, message, next, grade, detail } = PkiError.from(thrown);
  return new PkiError(code, message, { cause: thrown, next, grade, detail });
}
