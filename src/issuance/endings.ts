import { PkiError } from '../common/errors/index.ts';
import { uuidv7 } from '../common/runtime/index.ts';
import { sha256Hex } from '../common/x509/index.ts';
import { assembleSigned } from '../certs/index.ts';
import type { Intent } from '../domain/index.ts';
import type { SignOutcome } from '../hsm/signing-port.ts';
import type { FinishItem, FinishOutcome } from '../store/ports/index.ts';
import type { CertificateDraft } from './certificate-draft.ts';
import { abandonedEvent, issuedEvent, refusedEvent } from './certificate-events.ts';

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

/** A certificate that was redeemed, with its intent. */
export interface Item {
  readonly draft: CertificateDraft;
  readonly intent: Intent;
}

/** What the signers answered for one item. */
export type Signed = SignOutcome | PkiError | undefined;

/** How an intent ends, and what its caller is told. */
export interface Ending {
  readonly finish: FinishItem;
  readonly outcome: CertificateOutcome;
}

export function endingOf(item: Item, signed: Signed, nowMs: number): Ending {
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
export function released(
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
