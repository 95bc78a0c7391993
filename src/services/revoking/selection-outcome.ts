import type { CertificateRecord } from '../../domain/index.ts';
import type { Revocable } from './revoker.ts';
import type { SelectionOutcome } from './selection-revocations.ts';

const sampleSize = 20;

const alteredAdvice =
  'Their rows in the database differ from the audit log (OBJECT_NOT_IN_LOG), and no row decides ' +
  'on a revocation. See "meshca audit verify", and restore the database.';

/** Counts what an act does, or would do. */
export class SelectionTally {
  matched = 0;
  revoked = 0;
  alreadyRevoked = 0;
  unlisted = 0;
  keysBlocked = 0;
  /** Of `revoked`: with an altered row. */
  altered = 0;
  /** Of `alreadyRevoked`: the reason is keyCompromise from now on. */
  raised = 0;
  /** Serials of altered rows that were found and not revoked. */
  readonly #unresolved = new Set<string>();
  readonly #skipped = new Map<string, { count: number; next: string }>();
  readonly #keys = new Set<string>();
  readonly #holders = new Set<string>();
  readonly #sample: CertificateRecord[] = [];

  skip(kind: string, next: string): void {
    const known = this.#skipped.get(kind);
    if (known === undefined) this.#skipped.set(kind, { count: 1, next });
    else known.count += 1;
  }

  foundAltered(serial: string): void {
    this.#unresolved.add(serial);
  }

  /** It was revoked as the log has it. `altered`: unlike its row. */
  countLogged(certificate: Revocable & { readonly altered: boolean }, before: boolean): void {
    this.count(certificate, before);
    this.#unresolved.delete(certificate.record.serial);
    if (certificate.altered && !before) this.altered += 1;
  }

  /** `before`: it was revoked already. */
  count({ record, how }: Revocable, before: boolean): void {
    this.matched += 1;
    if (before) {
      this.alreadyRevoked += 1;
      return;
    }
    this.revoked += 1;
    if (how === 'unlisted') this.unlisted += 1;
    this.#keys.add(record.publicKeySha256);
    this.#holders.add(record.holder);
    if (this.#sample.length < sampleSize) this.#sample.push(record);
  }

  outcome(): SelectionOutcome {
    const { matched, revoked, alreadyRevoked, unlisted, keysBlocked, altered, raised } = this;
    const unresolved = { count: this.#unresolved.size, next: alteredAdvice };
    return {
      ...{ matched, revoked, alreadyRevoked, unlisted, keysBlocked, altered, raised },
      skipped:
        unresolved.count === 0
          ? this.#skipped
          : new Map([...this.#skipped, ['altered', unresolved]]),
      keys: this.#keys.size,
      holders: this.#holders.size,
      sample: this.#sample,
    };
  }
}
