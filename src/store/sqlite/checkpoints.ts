import { Worker } from 'node:worker_threads';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import type { FromCheckpoints } from './checkpoint-thread.ts';

/** So many commits make a pass worth its sync: about a thousand pages. */
const commitsOfPass = 64;
/** A server with fewer commits than that needs no thread: `wal_autocheckpoint` comes rarely. */
const busyMs = 10_000;
/** With so many pages the log is begun anew. */
const restartPages = 2_000;
/** So many pages that wait are more than any load brings: something holds the log. */
const heldPages = 20_000;
const closeWaitMs = 5_000;

/**
 * Copies the write-ahead log into the database while commits follow each other. In one piece, by
 * `wal_autocheckpoint`, that blocks the thread for tens of milliseconds, several times a second.
 * Here another thread copies. When it has just copied nearly everything, the rest is copied here:
 * then the next write begins the log anew.
 *
 * Without the thread, or behind it, `wal_autocheckpoint` remains. A log that can not be copied, because
 * the disk refuses it or another process reads the database for long, grows without limit, and no
 * commit fails by that: so it is alerted, once. Owner of the thread.
 */
export class Checkpoints {
  readonly #path: string;
  readonly #copyRest: () => void;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #thread: Worker | undefined;
  #exited: Promise<void> | undefined;
  #isPassing = false;
  #isRestartDue = false;
  #isOver = false;
  /** The alert is out, and the log is not copied since. */
  #isHeld = false;
  #commits = 0;
  #sinceMs: number;

  /** `copyRest`: a passive checkpoint in this thread. It is called between transactions. */
  constructor(options: {
    readonly path: string;
    readonly copyRest: () => void;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#path = options.path;
    this.#copyRest = options.copyRest;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#sinceMs = options.clock.monotonicMs();
  }

  /** Called after each commit, between transactions. */
  committed(): void {
    if (this.#isOver) return;
    if (this.#isRestartDue) {
      this.#isRestartDue = false;
      this.#copyRest();
    }
    this.#commits += 1;
    if (this.#commits < commitsOfPass || this.#isPassing) return;
    const nowMs = this.#clock.monotonicMs();
    const isBusy = nowMs - this.#sinceMs < busyMs;
    this.#commits = 0;
    this.#sinceMs = nowMs;
    if (!isBusy) return;
    this.#isPassing = true;
    (this.#thread ??= this.#start()).postMessage('pass');
  }

  /** The thread gives the database back. */
  async close(): Promise<void> {
    this.#isOver = true;
    const thread = this.#thread;
    if (thread === undefined) return;
    thread.ref();
    thread.postMessage('close');
    const stop = this.#clock.after(closeWaitMs, () => void thread.terminate());
    await this.#exited;
    stop();
  }

  #start(): Worker {
    // TypeScript rewrites the extension of imports on emit, but not of this path.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const thread = new Worker(new URL(`./checkpoint-thread.${extension}`, import.meta.url), {
      env: {},
      execArgv: [],
      workerData: this.#path,
    });
    thread.unref();
    this.#exited = new Promise((resolve) => thread.on('exit', () => resolve()));
    thread.on('message', (answer: FromCheckpoints) => this.#passed(answer));
    thread.on('error', (error) => this.#end(error.message));
    return thread;
  }

  #passed(answer: FromCheckpoints): void {
    this.#isPassing = false;
    if ('error' in answer) {
      this.#held(answer.error);
      return;
    }
    const left = answer.pages - answer.copied;
    this.#isRestartDue = answer.pages >= restartPages && left < restartPages;
    if (left >= heldPages)
      this.#held(`${left} pages wait: another process reads the database, or copies it`);
    else if (left < restartPages && this.#isHeld) {
      this.#isHeld = false;
      this.#logger.info({}, 'the write-ahead log is copied into the database again');
    }
  }

  #held(reason: string): void {
    if (this.#isHeld || this.#isOver) return;
    this.#isHeld = true;
    this.#logger.error(
      { reason, alert: true },
      'the write-ahead log can not be copied into the database, and grows',
    );
  }

  #end(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#logger.warn({ reason }, 'no thread copies the write-ahead log: commits take longer');
  }
}
