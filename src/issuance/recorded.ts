import { fail, ok, PkiError, type Result } from '../common/errors/index.ts';
import { uuidv7, type Clock } from '../common/runtime/index.ts';
import { sha256Hex, type KeyType } from '../common/x509/index.ts';
import { assembleSigned, lint, type LintContext, type Profile } from '../certs/index.ts';
import {
  blockedKeyText,
  finishingStates,
  namesBeside,
  subjectText,
  type Authority,
  type AuthorityState,
  type Intent,
  type Rights,
} from '../domain/index.ts';
import type { ProofOfPossession, SignItem, SignOutcome } from '../hsm/signing-port.ts';
import type { LedgerBlockedKeys, LedgerQuotas } from '../ledger/index.ts';
import type { FinishItem, FinishOutcome, IssuanceStore } from '../store/ports/index.ts';
import { Batcher, commitLimit } from './group-commit.ts';
import { SignerLoad } from './signer-load.ts';
import { quotaUsed, requireAdmitted, type Admission } from './policy.ts';
import { abandonedEvent, issuedEvent, refusedEvent, type IssuedAs } from './certificate-events.ts';

/** A certificate that the policy allowed, before it is checked and recorded. */
export interface CertificateDraft {
  readonly tbsDer: Buffer;
  readonly profile: Profile;
  /** What the TBSCertificate must say. `prepare` parses the bytes and compares. */
  readonly expected: LintContext & { readonly serial: Buffer };
  /** The decision of the policy. Its version becomes a right. */
  readonly admission: Admission;
  /** The authority whose key signs. */
  readonly signer: {
    readonly authorityId: string;
    readonly ckaId: string;
    readonly keyType: KeyType;
    /** The transaction that releases requires the authority to be in one of these states. */
    readonly states: readonly AuthorityState[];
  };
  /** Proof of possession, checked by the signer first. Absent if it was checked before. */
  readonly proof?: ProofOfPossession;
  readonly record: Pick<
    Intent,
    | 'kind'
    | 'profile'
    | 'entryId'
    | 'delegationId'
    | 'requester'
    | 'holder'
    | 'publicKeySha256'
    | 'requestId'
    | 'replaces'
  >;
  /** Checked again by the transaction that releases, with the rights of authority and policy. */
  readonly rights: Rights;
  readonly issuedAs: IssuedAs;
  /** The shard of CRLs that the leaf names; 0: none. */
  readonly shard: number;
  /**
   * A check of the assembled certificate. The signer verifies the signature in any case. Absent on
   * the hot path, where the main process does no public-key work.
   */
  readonly verify?: (certificateDer: Buffer) => Result<unknown>;
}

/**
 * The signer of a draft: an authority that is active, or that became old since the request began.
 */
export const signerOf = ({
  id,
  ckaId,
  keyType,
}: Pick<Authority, 'id' | 'ckaId' | 'keyType'>): CertificateDraft['signer'] => ({
  authorityId: id,
  ckaId,
  keyType,
  states: finishingStates,
});

/** The outcome of one prepared certificate. */
export type CertificateOutcome =
  | { readonly ok: true; readonly certificateDer: Buffer; readonly sha256: string }
  | {
      readonly ok: false;
      readonly error: PkiError;
      readonly refusalId: string;
      /** The signer refused it: it was surely never signed. */
      readonly isUnsigned?: true;
    };

export interface SigningStep {
  /**
   * Signs the items and returns outcomes in their order. Each signature was verified with the
   * public key in the issuer's recorded certificate. If this throws, every item failed.
   */
  sign(items: readonly SignItem[]): Promise<readonly SignOutcome[]>;
  /** See `Signers.busyAt`. Absent: nobody waits on account of these items. */
  readonly busyAt?: number;
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
   * Concurrent calls share commits. Rejects if the store fails: then nothing is released, and the
   * next start finds the intents as unfinished.
   */
  run(
    prepared: readonly PreparedCertificate[],
    signing: SigningStep,
  ): Promise<readonly CertificateOutcome[]>;
}

export interface RecordedDependencies {
  readonly store: Pick<IssuanceStore, 'recordIntents' | 'finish'>;
  /** Of the policy: places that are taken. */
  readonly quotas: LedgerQuotas;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'get'>;
  readonly clock: Clock;
}

interface Item {
  readonly draft: CertificateDraft;
  readonly intent: Intent;
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
  const load = new SignerLoad();
  const intents = intentBatcher(store, load);
  const finishes = new Batcher<FinishItem, FinishOutcome>(
    (batch) => store.finish(batch),
    commitLimit,
  );

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
    async run(prepared, { sign, busyAt, wanted, step = noStep }) {
      if (prepared.length === 0) return [];
      const items = prepared.map((certificate) => Prepared.redeem(certificate, issuance));
      step('prepared');
      const asked = items.map(({ intent }) => intent);
      await intents.run(asked, wanted);
      step('intents-durable');
      const signing = outcomesOf(items.map(toSignItem), sign);
      const signed = await signing.finally(load.begin(items.length, busyAt));
      step('signed');
      let endings: readonly Ending[];
      let finishing: ReturnType<typeof finishes.run>;
      try {
        endings = items.map((item, index) => endingOf(item, signed[index], clock.nowMs()));
        finishing = finishes.run(endings.map(({ finish }) => finish));
      } finally {
        // behind the ends, whose callers wait already longer: both go into one commit
        intents.letGo();
      }
      const finished = await finishing;
      step('recorded');
      return endings.map(({ outcome, finish }, index) =>
        outcome.ok ? released(outcome, finish, finished[index], clock.nowMs()) : outcome,
      );
    },
  };
  return issuance;
}

const intentBatcher = (
  store: Pick<IssuanceStore, 'recordIntents'>,
  load: SignerLoad,
): Batcher<Intent, undefined> =>
  new Batcher(
    async (batch) => {
      await store.recordIntents(batch);
      return batch.map(() => undefined);
    },
    commitLimit,
    (waiting) => load.holds(waiting),
  );

const noStep = (): void => {};

const intentOf = (
  { tbsDer, expected, signer, record, shard }: CertificateDraft,
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
  tbsDer,
});

const toSignItem = ({ draft }: Item): SignItem => ({
  ckaId: draft.signer.ckaId,
  bytes: draft.tbsDer,
  format: 'x509',
  ...(draft.proof === undefined ? {} : { proof: draft.proof }),
});

type Signed = SignOutcome | PkiError | undefined;

/** An item without an answer of the signers may have been signed all the same. */
async function outcomesOf(
  items: readonly SignItem[],
  sign: SigningStep['sign'],
): Promise<readonly Signed[]> {
  try {
    return await sign(items);
  } catch (thrown) {
    // one error object per item: refusals are told apart by their error
    const { code, message, next, grade, detail } = PkiError.from(thrown);
    return items.map(() => new PkiError(code, message, { cause: thrown, next, grade, detail }));
  }
}

interface Ending {
  readonly finish: FinishItem;
  readonly outcome: CertificateOutcome;
}

function endingOf(item: Item, signed: Signed, nowMs: number): Ending {
  const { draft, intent } = item;
  if (signed === undefined)
    return abandoned(intent, new PkiError('HSM_UNAVAILABLE', 'the signer gave no answer'), nowMs);
  if (signed instanceof PkiError) return abandoned(intent, signed, nowMs);
  if (!signed.ok) {
    const error = new PkiError(signed.code, signed.message);
    return signed.kind === 'refused'
      ? refused(item, error, nowMs)
      : abandoned(intent, error, nowMs);
  }
  let certificateDer: Buffer;
  try {
    certificateDer = assembleSigned(draft.tbsDer, draft.signer.keyType, signed.signature);
  } catch (thrown) {
    return abandoned(intent, PkiError.from(thrown), nowMs);
  }
  const verified = draft.verify?.(certificateDer);
  if (verified?.ok === false) return abandoned(intent, verified.error, nowMs);
  const sha256 = sha256Hex(certificateDer);
  return {
    outcome: { ok: true, certificateDer, sha256 },
    finish: {
      kind: 'signed',
      serial: intent.serial,
      certificateDer,
      sha256,
      rights: [
        { kind: 'authority', id: draft.signer.authorityId, states: draft.signer.states },
        { kind: 'key', publicKeySha256: intent.publicKeySha256 },
        ...draft.rights,
        ...draft.admission.rights,
      ],
      event: issuedEvent(draft, intent, sha256, nowMs),
    },
  };
}

/** The signer refused the key or the proof: nothing was signed. */
function refused({ draft, intent }: Item, error: PkiError, nowMs: number): Ending {
  const refusalId = uuidv7(nowMs);
  const event = refusedEvent(
    { ...intent, subject: intent.spiffeId, reason: draft.issuedAs.detail },
    error,
    refusalId,
    nowMs,
  );
  return {
    outcome: { ok: false, error, refusalId, isUnsigned: true },
    finish: { kind: 'refused', serial: intent.serial, code: error.code, event },
  };
}

function abandoned(intent: Intent, error: PkiError, nowMs: number): Ending {
  return {
    outcome: { ok: false, error, refusalId: uuidv7(nowMs) },
    finish: {
      kind: 'abandoned',
      serial: intent.serial,
      reason: error.code,
      event: abandonedEvent(intent, error.code, nowMs),
    },
  };
}

/**
 * A certificate whose right ended meanwhile is withheld: it stays on record and is not released.
 */
function released(
  outcome: CertificateOutcome,
  { serial }: FinishItem,
  finished: FinishOutcome | undefined,
  nowMs: number,
): CertificateOutcome {
  if (finished?.state === 'issued') return outcome;
  const error =
    finished?.state === 'withheld'
      ? new PkiError(finished.code, finished.message, { detail: { serial, withheld: true } })
      : new PkiError('WITHHELD', 'the certificate was recorded and not released');
  return { ok: false, error, refusalId: uuidv7(nowMs) };
}
