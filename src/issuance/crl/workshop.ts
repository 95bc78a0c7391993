import { setImmediate } from 'node:timers/promises';
import { PkiError } from '../../common/errors/index.ts';
import type { CrlContent, Revocation } from '../../domain/index.ts';
import type { LedgerRevocations, RevokedMark } from '../../ledger/index.ts';
import { openDesk, openDeskInThread, startBookThread, type CrlDesk } from './desk.ts';
import type { CrlAnswers, CrlDraft, CrlRequest } from './book.ts';

export interface CrlWorkshopOptions {
  readonly revocations: Pick<LedgerRevocations, 'since'>;
  /** So many entries of an authority are built in this thread; default 250, about a millisecond. */
  readonly inlineEntries?: number;
}

interface Fed {
  readonly desk: CrlDesk;
  readonly mark: RevokedMark;
}

/** Entries that go to a desk in one turn of the loop. */
const atATime = 1000;

/**
 * Brings what was revoked to where CRLs are built: to each desk once, and some in a turn, so that
 * calls are answered meanwhile. A long CRL is built in a thread, since one of 200,000 entries takes
 * a second; the thread begins with the first of them. Owner of the desks and of what they know. One
 * request of an authority at a time.
 */
export class CrlWorkshop {
  readonly #revocations: CrlWorkshopOptions['revocations'];
  readonly #inlineEntries: number;
  readonly #here = openDesk();
  #thread: CrlDesk | undefined;
  readonly #fed = new Map<string, Fed>();
  #closed = false;

  constructor({ revocations, inlineEntries = 250 }: CrlWorkshopOptions) {
    this.#revocations = revocations;
    this.#inlineEntries = inlineEntries;
  }

  /** Whether a CRL lacks a certificate that is revoked and valid, or can not be read. */
  async unlisted(
    request: Omit<Extract<CrlRequest, { kind: 'unlisted' }>, 'kind'>,
  ): Promise<{ readonly unlisted: boolean; readonly mark: RevokedMark }> {
    const { desk, mark } = await this.#feed(request.authorityId);
    return { unlisted: await desk.ask({ kind: 'unlisted', ...request }), mark };
  }

  /**
   * The bytes to be signed. `mark`: everything that was on record up to there is in them. @throws
   * what `CrlDesk.ask` throws
   */
  async build(draft: CrlDraft): Promise<CrlAnswers['build'] & { readonly mark: RevokedMark }> {
    const { desk, mark } = await this.#feed(draft.authorityId);
    return { ...(await desk.ask({ kind: 'build', draft })), mark };
  }

  /** The CRL with this signature, which was verified. @throws what `CrlDesk.ask` throws */
  finish(
    request: Omit<Extract<CrlRequest, { kind: 'finish' }>, 'kind'>,
  ): Promise<CrlAnswers['finish']> {
    const desk = this.#fed.get(request.authorityId)?.desk ?? this.#here;
    return desk.ask({ kind: 'finish', ...request });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#thread?.close();
  }

  async #feed(authorityId: string): Promise<Fed> {
    const known = this.#fed.get(authorityId);
    const { mark, entries, anew } = this.#revocations.since(authorityId, known?.mark);
    if (known !== undefined && !anew && known.desk === this.#deskFor(mark.length)) {
      await this.#add(known.desk, { authorityId, entries, anew: false });
      return this.#keep(authorityId, { desk: known.desk, mark });
    }
    const desk = this.#deskFor(mark.length);
    const all = anew ? entries : this.#revocations.since(authorityId, undefined).entries;
    await this.#add(desk, { authorityId, entries: all.slice(0, mark.length), anew: true });
    return this.#keep(authorityId, { desk, mark });
  }

  #keep(authorityId: string, fed: Fed): Fed {
    this.#fed.set(authorityId, fed);
    return fed;
  }

  async #add(
    desk: CrlDesk,
    {
      authorityId,
      entries,
      anew,
    }: {
      readonly authorityId: string;
      readonly entries: readonly Revocation[];
      readonly anew: boolean;
    },
  ): Promise<void> {
    if (anew) await desk.ask({ kind: 'add', authorityId, anew, entries: [] });
    for (let at = 0; at < entries.length; at += atATime) {
      if (at > 0) await setImmediate();
      const some = entries.slice(at, at + atATime).map(contentOf);
      await desk.ask({ kind: 'add', authorityId, anew: false, entries: some });
    }
  }

  #deskFor(entries: number): CrlDesk {
    if (entries <= this.#inlineEntries) return this.#here;
    if (this.#closed) throw new PkiError('SHUTTING_DOWN', 'no CRL is built any more');
    this.#thread ??= openDeskInThread(startBookThread(), () => this.#lost());
    return this.#thread;
  }

  /** The next request finds a new thread, which is told everything again. */
  #lost(): void {
    for (const [authorityId, { desk }] of this.#fed)
      if (desk === this.#thread) this.#fed.delete(authorityId);
    this.#thread = undefined;
  }
}

const contentOf = ({ serial, revokedAt, reason, notAfter }: Revocation): CrlContent => ({
  serial,
  revokedAt,
  reason: reason === 'unspecified' ? undefined : reason,
  notAfter,
});
