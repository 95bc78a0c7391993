import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { DueCertificates } from './due-certificates.ts';
import type { DueCertificate, ReplacementPart } from './watch.ts';

export interface ReplacementFeedDependencies {
  readonly due: Pick<DueCertificates, 'of'>;
  readonly taintWindowSeconds: number;
  readonly clock: Clock;
}

/** Certificates of one message: below 4 MiB with a hundred names each. */
const partSize = 100;
/** So many certificates a second may be issued anew. */
const replacedPerSecond = 100;
const shortestWindowSeconds = 5;
/** What happened so long before the cursor is told again: clocks and commits have an order of their own. */
const overlapSeconds = 3_600;
/** A look rests for so many times as long as the one before took. */
const restFactor = 10;
const shortestRestMs = 250;
const longestRestMs = 10_000;
const cursorPattern = /^since-(\d{1,12})$/;

/**
 * What one stream is told of the certificates that have to be replaced, each once for each cause.
 * Owner of what waits to be sent.
 */
export class ReplacementFeed {
  readonly #clientId: string;
  readonly #dependencies: ReplacementFeedDependencies;
  readonly #from: number;
  readonly #ready: (error?: PkiError) => void;
  /** Serial → cause. */
  #told = new Map<string, string>();
  #waiting: DueCertificate[] = [];
  #windowSeconds = 0;
  #since = 0;
  /** The first part is sent also where it is empty. */
  #state: 'not looked' | 'looked' | 'told' = 'not looked';
  #looking = false;
  #again = false;
  #cancel: (() => void) | undefined;
  #ended = false;

  /**
   * `ready`: something can be taken, or the look failed.
   *
   * @throws PkiError INVALID_REQUEST for a cursor that is none of ours
   */
  constructor(
    of: { readonly clientId: string; readonly cursor: string },
    dependencies: ReplacementFeedDependencies,
    ready: (error?: PkiError) => void,
  ) {
    const since = of.cursor === '' ? '0' : cursorPattern.exec(of.cursor)?.[1];
    if (since === undefined)
      throw new PkiError(
        'INVALID_REQUEST',
        `${JSON.stringify(of.cursor.slice(0, 40))} is no cursor of replacements`,
        { next: 'Send the cursor of the last message that you have handled, or none.' },
      );
    this.#clientId = of.clientId;
    this.#dependencies = dependencies;
    this.#since = Number(since);
    this.#from = this.#since - overlapSeconds;
    this.#ready = ready;
  }

  /** Something was revoked, blocked or tainted. */
  poke(): void {
    if (this.#ended) return;
    if (this.#looking || this.#cancel !== undefined) this.#again = true;
    else void this.#look();
  }

  /** Undefined: there is nothing to send. The first part is sent also where it is empty. */
  take(): ReplacementPart | undefined {
    if (this.#waiting.length === 0 && this.#state !== 'looked') return undefined;
    this.#state = 'told';
    const certificates = this.#waiting.splice(0, partSize);
    this.#since = Math.max(this.#since, ...certificates.map(({ since }) => since));
    return {
      certificates,
      windowSeconds: this.#windowSeconds,
      cursor: `since-${this.#since}`,
      more: this.#waiting.length > 0,
    };
  }

  end(): void {
    this.#ended = true;
    this.#cancel?.();
  }

  async #look(): Promise<void> {
    const { clock, due } = this.#dependencies;
    const begun = clock.monotonicMs();
    this.#looking = true;
    let failed: PkiError | undefined;
    try {
      const told = new Map<string, string>();
      const found = await due.of(this.#clientId, (serial, { why, reason, since }) => {
        const cause = `${why} ${reason}`;
        told.set(serial, cause);
        return since >= this.#from && this.#told.get(serial) !== cause;
      });
      this.#told = told;
      // one whose cause changed while it waited is told with the new one
      const again = new Set(found.map(({ serial }) => serial));
      this.#waiting = [...this.#waiting.filter(({ serial }) => !again.has(serial)), ...found];
      this.#waiting.sort((one, other) => one.since - other.since);
      this.#windowSeconds = this.#window();
      if (this.#state === 'not looked') this.#state = 'looked';
    } catch (thrown) {
      failed = PkiError.from(thrown);
    }
    this.#looking = false;
    if (this.#ended) return;
    this.#rest(clock.monotonicMs() - begun);
    this.#ready(failed);
  }

  #rest(tookMs: number): void {
    this.#cancel = this.#dependencies.clock.after(
      Math.min(longestRestMs, Math.max(shortestRestMs, restFactor * tookMs)),
      () => {
        this.#cancel = undefined;
        if (!this.#again) return;
        this.#again = false;
        this.poke();
      },
    );
  }

  /** What was revoked or blocked is urgent; nobody need hurry for a taint. */
  #window(): number {
    const { taintWindowSeconds } = this.#dependencies;
    const urgent = this.#waiting.filter(({ why }) => why !== 'authority-tainted').length;
    return urgent === 0
      ? taintWindowSeconds
      : Math.min(
          taintWindowSeconds,
          Math.max(shortestWindowSeconds, Math.ceil(this.#waiting.length / replacedPerSecond)),
        );
  }
}
