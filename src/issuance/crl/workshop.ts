import { setImmediate } from 'node:timers/promises';
import { PkiError } from '../../common/errors/index.ts';
import type { LedgerRevocations, RevokedMark, RevokedScope } from '../../ledger/index.ts';
import { openDesk, openDeskInThread, startBookThread, type CrlDesk } from './desk.ts';
import type { CrlAnswers, CrlDraft, CrlRequest } from './book.ts';

export interface CrlWorkshopOptions {
  readonly revocations: Pick<LedgerRevocations, 'mark' | 'entries'>;
  /** CRLs over so many revocations are built in this thread; default 250, about a millisecond. */
  readonly inlineEntries?: number;
}

/** What a CRL is made of. */
export interface CrlOrder {
  readonly draft: CrlDraft;
  readonly scope: RevokedScope;
  /** Entries of certificates that ended before are left out. */
  readonly endingFrom: number;
}

/**
 * Brings what was revoked to where CRLs are built: in turns of the loop, so that calls are answered
 * meanwhile. A long CRL is built in a thread, since one of 10,000 entries takes some 50 ms; the
 * thread begins with the first of them, and keeps nothing but drafts. Owner of the desks. One
 * request of a CRL at a time.
 */
export class CrlWorkshop {
  readonly #revocations: CrlWorkshopOptions['revocations'];
  readonly #inlineEntries: number;
  readonly #here = openDesk();
  #thread: CrlDesk | undefined;
  /** Where each draft waits for its signature. */
  readonly #drafts = new Map<string, CrlDesk>();
  #closed = false;

  constructor({ revocations, inlineEntries = 250 }: CrlWorkshopOptions) {
    this.#revocations = revocations;
    this.#inlineEntries = inlineEntries;
  }

  /** Starts the thread where a CRL of this scope needs it: that takes some milliseconds. */
  prepare(scope: RevokedScope): void {
    this.#deskFor(this.#revocations.mark(scope).length);
  }

  /**
   * The bytes to be signed. `mark`: everything that was on record up to there is in them.
   *
   * @throws what `CrlDesk.ask` throws
   */
  async build({
    draft,
    scope,
    endingFrom,
  }: CrlOrder): Promise<CrlAnswers['build'] & { readonly mark: RevokedMark }> {
    const mark = this.#revocations.mark(scope);
    const desk = this.#deskFor(mark.length);
    const parts: Uint8Array[] = [];
    for (const part of this.#revocations.entries(scope, endingFrom)) {
      parts.push(part);
      await setImmediate();
    }
    this.#drafts.set(draft.id, desk);
    return { ...(await desk.ask({ kind: 'build', draft, parts })), mark };
  }

  /** The CRL with this signature, which was verified. @throws what `CrlDesk.ask` throws */
  finish(
    request: Omit<Extract<CrlRequest, { kind: 'finish' }>, 'kind'>,
  ): Promise<CrlAnswers['finish']> {
    const desk = this.#drafts.get(request.id) ?? this.#here;
    this.#drafts.delete(request.id);
    return desk.ask({ kind: 'finish', ...request });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#thread?.close();
  }

  #deskFor(entries: number): CrlDesk {
    if (entries <= this.#inlineEntries) return this.#here;
    if (this.#closed) throw new PkiError('SHUTTING_DOWN', 'no CRL is built any more');
    // the next request finds a new thread in the place of one that ended
    this.#thread ??= openDeskInThread(startBookThread(), () => {
      this.#thread = undefined;
    });
    return this.#thread;
  }
}
