import { PkiError } from '../errors/index.ts';
import { claimOf, EvidenceCheck, type EvidenceClaim } from './activation-evidence.ts';
import type { ExportLine } from './export-line.ts';

/** The fields of a record that are needed here. */
export interface RecordedActivation {
  readonly kind: unknown;
  readonly subject: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Checks the lists of consumers in an export, each after the record of its activation. */
export class ExportedActivations {
  readonly #counts = { withList: 0, without: 0 };
  /** While its list is read. */
  #open:
    | { readonly claim: EvidenceClaim; readonly sequence: number; check: EvidenceCheck | undefined }
    | undefined;

  /** Call it for each record that is proven to be in the tree. */
  record({ kind, subject, detail }: RecordedActivation, sequence: number): void {
    const of = detail['authorityKind'];
    // nobody confirms the log's own key, or the key of a signer of OCSP answers
    if (kind !== 'authority.active' || of === 'log' || of === 'ocsp') return;
    const claim = claimOf(subject, detail);
    if (claim === undefined) this.#counts.without += 1;
    else this.#open = { claim, sequence, check: undefined };
  }

  /** @throws PkiError EVIDENCE_INVALID, AUDIT_INVALID */
  part(line: Extract<ExportLine, { type: 'evidence' | 'evidence-lines' }>): void {
    const open = this.#open;
    if (open === undefined)
      throw new PkiError(
        'AUDIT_INVALID',
        'a list of who had confirmed stands behind no activation',
      );
    naming(open.sequence, () => {
      if ((line.type === 'evidence') !== (open.check === undefined))
        throw lacking(
          open.claim,
          open.check === undefined ? 'its list has no statement' : 'its list has two statements',
        );
      if (line.type === 'evidence' && line.authorityId !== open.claim.authorityId)
        throw lacking(open.claim, 'its list names another authority');
      if (line.type === 'evidence')
        open.check = new EvidenceCheck(open.claim, Buffer.from(line.statement, 'utf8'));
      else open.check?.chunk(Buffer.from(line.lines, 'utf8'));
    });
  }

  /** Call it when another line follows. @throws PkiError EVIDENCE_INVALID */
  end(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    naming(open.sequence, () => {
      if (open.check === undefined)
        throw lacking(open.claim, 'the list of who had confirmed is missing');
      open.check.finish();
    });
    this.#counts.withList += 1;
  }

  counts(): { readonly withList: number; readonly without: number } {
    return { ...this.#counts };
  }
}

const lacking = ({ authorityId }: EvidenceClaim, what: string): PkiError =>
  new PkiError('EVIDENCE_INVALID', `activation of authority ${authorityId}: ${what}`, {
    detail: { authorityId },
  });

/** Adds the record to an error. */
function naming(sequence: number, act: () => void): void {
  try {
    act();
  } catch (thrown) {
    const { code, message, detail } = PkiError.from(thrown);
    throw new PkiError(code, `record ${sequence}, ${message}`, { detail: { ...detail, sequence } });
  }
}
