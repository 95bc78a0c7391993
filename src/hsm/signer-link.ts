import type { ChildProcess } from 'node:child_process';

import { PkiError } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import type { SignItem, SignOutcome } from './signing-port.ts';
import { stderrTail } from './fork.ts';
import {
  fromWire,
  type EngineMode,
  type FromSigner,
  type ToSigner,
  type UsableKey,
} from './protocol.ts';

interface Waiting {
  readonly id: number;
  readonly resolve: (message: FromSigner) => void;
  readonly reject: (error: PkiError) => void;
}

export interface SignerLinkOptions {
  readonly clock: Clock;
  readonly deadlineMs: number;
  readonly startDeadlineMs: number;
  readonly onDeath: (error: PkiError) => void;
}

/**
 * The parent's end of one signer process, from fork to death. It dies once: by `kill`, by its own
 * report, by silence beyond the deadline, or by exit. Then `onDeath` is called, and everything that
 * waits for it is rejected with HSM_UNAVAILABLE or the fatal error.
 */
export class SignerLink {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #startDeadlineMs: number;
  readonly #onDeath: (error: PkiError) => void;
  readonly #stderr: () => string;
  /** Removed from the reported stderr of the child. */
  #pin = '';
  /** Few at a time, in the order of their messages. */
  #waiting: Waiting[] = [];
  readonly #keys = new Set<string>();
  readonly exited: Promise<void>;
  #nextId = 1;
  #cancelWatch: (() => void) | undefined;
  #dead = false;
  #lastActiveMs: number;
  mode: EngineMode = 'auto';
  sessions = 1;
  chunksInFlight = 0;
  itemsInFlight = 0;
  /** Moving average of the time per item in the signer, milliseconds. */
  itemMs: number | undefined;

  constructor(child: ChildProcess, options: SignerLinkOptions) {
    this.#child = child;
    this.#clock = options.clock;
    this.#deadlineMs = options.deadlineMs;
    this.#startDeadlineMs = options.startDeadlineMs;
    this.#onDeath = options.onDeath;
    this.#stderr = stderrTail(child, () => this.#pin);
    this.#lastActiveMs = options.clock.monotonicMs();
    this.exited = new Promise((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => {
        if (child.pid === undefined) resolve();
      });
    });
    child.on('message', (message) => this.#receive(message as FromSigner));
    child.on('error', (error) =>
      this.#die(
        new PkiError('HSM_UNAVAILABLE', `signer process: ${error.message}`, { cause: error }),
      ),
    );
    child.on('exit', (code, signal) => {
      const stderrText = this.#stderr();
      this.#die(
        new PkiError(
          'HSM_UNAVAILABLE',
          `signer process ended (${signal ?? `exit ${code}`})${stderrText === '' ? '' : `: ${stderrText}`}`,
        ),
      );
    });
    child.on('disconnect', () =>
      this.#die(new PkiError('HSM_UNAVAILABLE', 'signer process closed its channel')),
    );
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get dead(): boolean {
    return this.#dead;
  }

  get lastActiveMs(): number {
    return this.#lastActiveMs;
  }

  get idle(): boolean {
    return this.#waiting.length === 0;
  }

  /** Logs in and finds the keys. Rejects with the error of the start; then the link is dead. */
  async start(
    message: Extract<ToSigner, { type: 'start' }>,
  ): Promise<Extract<FromSigner, { type: 'started' }>> {
    this.#pin = message.token.pin;
    const answer = await this.#ask(startId, message);
    if (answer.type !== 'started') throw this.#protocolBreach();
    for (const key of message.keys) this.#keys.add(key.ckaId);
    this.mode = answer.mode;
    this.sessions = answer.sessions;
    return answer;
  }

  hasKey(ckaId: string): boolean {
    return this.#keys.has(ckaId);
  }

  async useKey(key: UsableKey): Promise<void> {
    const id = this.#nextId++;
    this.#keys.add(key.ckaId);
    try {
      const answer = await this.#ask(id, { type: 'use-key', id, key });
      if (answer.type !== 'key-used') throw this.#protocolBreach();
      this.mode = answer.mode;
      if (answer.error !== undefined) throw fromWire(answer.error);
    } catch (thrown) {
      this.#keys.delete(key.ckaId);
      throw thrown;
    }
  }

  forgetKey(ckaId: string): void {
    if (this.#keys.delete(ckaId)) this.#send({ type: 'forget-key', ckaId });
  }

  async sign(items: readonly SignItem[]): Promise<readonly SignOutcome[]> {
    const id = this.#nextId++;
    this.chunksInFlight++;
    this.itemsInFlight += items.length;
    try {
      const answer = await this.#ask(id, { type: 'sign', id, items });
      if (answer.type !== 'signed' || answer.outcomes.length !== items.length)
        throw this.#protocolBreach();
      const itemMs = answer.spentMs / items.length;
      this.itemMs = this.itemMs === undefined ? itemMs : this.itemMs * 0.8 + itemMs * 0.2;
      return answer.outcomes;
    } finally {
      this.chunksInFlight--;
      this.itemsInFlight -= items.length;
    }
  }

  async mac(ckaId: string, input: Buffer): Promise<Buffer> {
    const id = this.#nextId++;
    const answer = await this.#ask(id, { type: 'mac', id, ckaId, input });
    if (answer.type !== 'mac-made') throw this.#protocolBreach();
    if (!Buffer.isBuffer(answer.outcome)) throw fromWire(answer.outcome);
    return answer.outcome;
  }

  /** Checks that the signer lives and its token signs. A failure ends the link. */
  async probe(): Promise<void> {
    const id = this.#nextId++;
    await this.#ask(id, { type: 'probe', id });
  }

  invalidateSessions(): void {
    this.#send({ type: 'invalidate-sessions' });
  }

  kill(error: PkiError): void {
    this.#die(error);
  }

  /** Lets the signer end its login, then makes sure that the process has ended. */
  async close(graceMs: number): Promise<void> {
    if (!this.#dead) {
      this.#send({ type: 'close' });
      this.#markDead(new PkiError('SHUTTING_DOWN', 'the signers are closed'));
      const cancel = this.#clock.after(graceMs, () => this.#child.kill('SIGKILL'));
      await this.exited;
      cancel();
    }
    await this.exited;
  }

  #ask(id: number, message: ToSigner): Promise<FromSigner> {
    return new Promise((resolve, reject) => {
      if (this.#dead) {
        reject(new PkiError('HSM_UNAVAILABLE', 'the signer process has ended'));
        return;
      }
      this.#waiting.push({ id, resolve, reject });
      this.#lastActiveMs = this.#clock.monotonicMs();
      this.#send(message);
      if (this.#waiting.length === 1) this.#watch();
    });
  }

  #send(message: ToSigner): void {
    if (this.#dead || !this.#child.connected) return;
    this.#child.send(message, (error) => {
      if (error)
        this.#die(
          new PkiError('HSM_UNAVAILABLE', `signer process: ${error.message}`, { cause: error }),
        );
    });
  }

  #receive(message: FromSigner): void {
    if (this.#dead) return;
    this.#lastActiveMs = this.#clock.monotonicMs();
    switch (message.type) {
      case 'start-failed':
      case 'lost':
        this.#die(
          fromWire(
            message.error,
            message.error.code === 'HSM_SIGNATURE_INVALID' ? 'fatal' : 'request',
          ),
        );
        return;
      case 'progress':
        this.#rewatch();
        return;
      case 'started':
        this.#answer(startId, message);
        return;
      default:
        this.#answer(message.id, message);
    }
  }

  #answer(id: number, message: FromSigner): void {
    const waiting = this.#waiting.find((each) => each.id === id);
    if (waiting === undefined) return;
    this.#waiting = this.#waiting.filter((each) => each !== waiting);
    this.#rewatch();
    waiting.resolve(message);
  }

  #rewatch(): void {
    this.#cancelWatch?.();
    this.#cancelWatch = undefined;
    if (this.#waiting.length > 0) this.#watch();
  }

  /**
   * Any answer is progress and restarts the deadline. Before the kill there is a second, short
   * wait: after a stall of our own event loop the timer fires before the answers in the channel are
   * read.
   */
  #watch(): void {
    const deadlineMs = this.#waiting.some(({ id }) => id === startId)
      ? this.#startDeadlineMs
      : this.#deadlineMs;
    this.#cancelWatch = this.#clock.after(deadlineMs, () => {
      this.#cancelWatch = this.#clock.after(100, () => {
        this.#die(
          new PkiError(
            'HSM_UNAVAILABLE',
            `the signer process did not answer within ${deadlineMs} ms`,
          ),
        );
      });
    });
  }

  #protocolBreach(): PkiError {
    const error = new PkiError(
      'HSM_UNAVAILABLE',
      'the signer process gave an answer that does not belong to the question',
    );
    this.#die(error);
    return error;
  }

  #die(error: PkiError): void {
    if (this.#dead) return;
    // Kill also if it seems to have exited: a forgotten signer with a login must never remain.
    this.#child.kill('SIGKILL');
    this.#markDead(error);
  }

  #markDead(error: PkiError): void {
    this.#dead = true;
    this.#cancelWatch?.();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(error);
    this.#onDeath(error);
  }
}

const startId = 0;
