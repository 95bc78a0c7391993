import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import {
  checkNote,
  consistencyProof,
  cosignedAt,
  formatNote,
  parseNote,
  parseSignatureLine,
  type Note,
  type NoteKey,
} from '../common/tlog/index.ts';
import type { LedgerLog } from '../ledger/index.ts';
import type { StoredCheckpoint } from '../store/ports/index.ts';
import { withTiles } from '../ledger/index.ts';

export interface WitnessDependencies {
  /** Submission prefix, without a trailing slash. */
  readonly url: string;
  /** A key of type 4 (cosignature/v1). */
  readonly key: NoteKey;
  readonly log: Pick<LedgerLog, 'tile' | 'addCosignatures'>;
  /** The witness has shown that it holds a tree of so many records, which is a part of ours. */
  readonly shown: (records: number) => void;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly logger: Logger;
}

const timeoutMs = 10_000;
const firstRetryMs = 1_000;
const longestRetryMs = 300_000;
/** Time between two submissions. The newest checkpoint covers those in between. */
const betweenMs = 1_000;
const maximumAnswer = 64 * 1024;
/** A cosignature with a wrong time would make the log look older or newer than it is. */
const clockToleranceSeconds = 600;

/**
 * Submits checkpoints to one witness (C2SP tlog-witness, add-checkpoint) and stores its
 * cosignatures with them. It is told of each checkpoint and submits the newest; nobody waits for
 * it. A failure is counted, logged and retried. Owner of the size that the witness is believed to
 * hold.
 */
export class Witness {
  readonly #dependencies: WitnessDependencies;
  #oldSize = 0;
  #origin = '';
  #wanted: StoredCheckpoint | undefined;
  #cosigned = 0;
  #failures = 0;
  #row = 0;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(dependencies: WitnessDependencies) {
    this.#dependencies = dependencies;
  }

  get name(): string {
    return this.#dependencies.key.name;
  }

  /**
   * The number of records under the newest checkpoint that the witness cosigned since the start.
   */
  get cosignedSize(): number {
    return this.#cosigned;
  }

  get failures(): number {
    return this.#failures;
  }

  submit(checkpoint: StoredCheckpoint): void {
    this.#wanted = checkpoint;
    if (this.#running === undefined && this.#cancel === undefined) this.#plan(0);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#cancel?.();
    await this.#running;
  }

  #plan(delayMs: number): void {
    if (this.#stop.signal.aborted) return;
    this.#cancel = this.#dependencies.clock.after(delayMs, () => {
      this.#cancel = undefined;
      this.#running = this.#one().then((next) => {
        this.#running = undefined;
        if (next !== undefined) this.#plan(next);
      });
    });
  }

  /** Runs one submission. Resolves with the time until the next one. Never throws. */
  async #one(): Promise<number | undefined> {
    const checkpoint = this.#wanted;
    if (checkpoint === undefined) return undefined;
    this.#wanted = undefined;
    try {
      await this.#cosign(checkpoint);
      this.#row = 0;
      return this.#wanted === undefined ? undefined : betweenMs;
    } catch (thrown) {
      if (this.#stop.signal.aborted) return undefined;
      this.#failures += 1;
      this.#row += 1;
      const error = PkiError.from(thrown);
      const retryMs = Math.min(longestRetryMs, firstRetryMs * 2 ** (this.#row - 1));
      this.#dependencies.logger.error(
        { witness: this.name, ...errorFields(error), alert: true, retryMs },
        'the witness has not cosigned a checkpoint of the audit log',
      );
      this.#wanted ??= checkpoint;
      return retryMs;
    }
  }

  async #cosign(checkpoint: StoredCheckpoint): Promise<void> {
    // after an accepted restore the origin differs: to a witness that is another log
    const origin = checkpoint.note.slice(0, checkpoint.note.indexOf('\n'));
    if (origin !== this.#origin) this.#oldSize = 0;
    this.#origin = origin;
    let heldSize = 0;
    let answer = await this.#post(checkpoint);
    if (answer.status === 409) {
      const witnessSize = Number(answer.text.trim());
      if (
        answer.type !== 'text/x.tlog.size' ||
        !/^(0|[1-9][0-9]*)\n?$/.test(answer.text) ||
        !Number.isSafeInteger(witnessSize)
      )
        throw refused('it holds another tree of the same size');
      if (witnessSize > checkpoint.size)
        throw refused(
          `it has cosigned a tree of ${witnessSize} records, this one has ` +
            `${checkpoint.size}: the database may be older than what was signed`,
        );
      if (witnessSize === this.#oldSize)
        throw refused(`it holds another tree of ${witnessSize} records`);
      this.#oldSize = witnessSize;
      heldSize = witnessSize;
      answer = await this.#post(checkpoint);
    }
    if (answer.status !== 200) throw refused(`it answered ${answer.status}`);
    const parsed = parseNote(checkpoint.note);
    if (!parsed.ok) throw parsed.error;
    const signatures = answer.text
      .split('\n')
      .filter((line) => line !== '')
      .flatMap((line) => parseSignatureLine(line) ?? [])
      .filter((line) => line.name === this.name && line.keyId.equals(this.#dependencies.key.id));
    const cosigned: Note = { text: parsed.value.text, signatures };
    const [signature] = signatures;
    if (signature === undefined || checkNote(cosigned, this.#dependencies.key) !== 'valid')
      throw refused('its cosignature does not verify with the configured key');
    if (Math.abs(cosignedAt(signature) - this.#dependencies.clock.now()) > clockToleranceSeconds)
      throw refused('the time of its cosignature differs too much from the present time');
    await this.#dependencies.log.addCosignatures(checkpoint.size, formatNote(cosigned));
    this.#dependencies.shown(heldSize);
    this.#oldSize = checkpoint.size;
    this.#cosigned = checkpoint.size;
  }

  async #post(
    checkpoint: StoredCheckpoint,
  ): Promise<{ readonly status: number; readonly type: string; readonly text: string }> {
    const { url, fetch: send, log } = this.#dependencies;
    const from = Math.min(this.#oldSize, checkpoint.size);
    const proof = await withTiles(log, (read) => consistencyProof(from, checkpoint.size, read));
    const response = await send(`${url}/add-checkpoint`, {
      method: 'POST',
      redirect: 'error',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(timeoutMs)]),
      body: `old ${from}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${checkpoint.note}`,
    }).catch((thrown: unknown) => {
      throw new PkiError('UNREACHABLE', `${url}: ${causeOf(thrown)}`);
    });
    return {
      status: response.status,
      type: (response.headers.get('content-type') ?? '').split(';')[0] as string,
      text: await bounded(response),
    };
  }
}

const refused = (why: string): PkiError => new PkiError('CHECKPOINT_INVALID', why);

const causeOf = (thrown: unknown): string =>
  thrown instanceof Error
    ? thrown.cause instanceof Error
      ? thrown.cause.message
      : thrown.message
    : String(thrown);

async function bounded(response: Response): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += (chunk as Uint8Array).length;
    if (length > maximumAnswer) throw refused(`it answered with more than ${maximumAnswer} bytes`);
    chunks.push(Buffer.from(chunk as Uint8Array));
  }
  return Buffer.concat(chunks).toString('utf8');
}
