import { setTimeout as sleep } from 'node:timers/promises';
import type { SecureContextOptions } from 'node:tls';
import { ClosedBetween, Conversation, type Served } from './conversation.ts';

export interface LoadFigures {
  /** Fresh connections, each with a verified handshake and one answer. */
  readonly handshakes: number;
  /** Answers on the kept connection. */
  readonly answers: number;
  /** How often the kept connection was closed between two questions, and opened again. */
  readonly reopened: number;
  /** New connections that were closed without a word of an answer, and asked again on another one. */
  readonly askedAgain: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  /** Certificates that were seen, by serial, in the order of their first show. */
  readonly serials: readonly string[];
}

/** Clients of one server: new connections one after another, and one that is kept. */
export class ServerLoad {
  readonly #served: Served;
  readonly #material: () => SecureContextOptions;
  readonly #pauseMs: number;
  readonly #stop = new AbortController();
  readonly #failures = new Map<string, number>();
  readonly #serials = new Set<string>();
  #handshakes = 0;
  #answers = 0;
  #reopened = 0;
  #askedAgain = 0;
  #loops: Promise<unknown> | undefined;

  constructor(served: Served, material: () => SecureContextOptions, pauseMs: number) {
    this.#served = served;
    this.#material = material;
    this.#pauseMs = pauseMs;
  }

  start(): void {
    this.#loops = Promise.all([this.#fresh(), this.#kept()]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loops;
  }

  figures(): LoadFigures {
    return {
      handshakes: this.#handshakes,
      answers: this.#answers,
      reopened: this.#reopened,
      askedAgain: this.#askedAgain,
      failed: [...this.#failures.values()].reduce((sum, count) => sum + count, 0),
      failures: Object.fromEntries(this.#failures),
      serials: [...this.#serials],
    };
  }

  async #fresh(): Promise<void> {
    let isSecond = false;
    while (!this.#stop.signal.aborted) {
      try {
        const conversation = await Conversation.open(this.#served, this.#material());
        this.#serials.add(conversation.serial);
        await conversation.ask();
        conversation.close();
        this.#handshakes += 1;
        isSecond = false;
      } catch (thrown) {
        if (thrown instanceof ClosedBetween && !isSecond) {
          isSecond = true;
          this.#askedAgain += 1;
          continue;
        }
        isSecond = false;
        this.#fail('fresh', thrown);
      }
      await this.#pause(this.#pauseMs);
    }
  }

  async #kept(): Promise<void> {
    let conversation: Conversation | undefined;
    while (!this.#stop.signal.aborted) {
      try {
        conversation ??= await Conversation.open(this.#served, this.#material());
        await conversation.ask();
        this.#answers += 1;
      } catch (thrown) {
        if (thrown instanceof ClosedBetween && conversation !== undefined) this.#reopened += 1;
        else this.#fail('kept', thrown);
        conversation?.close();
        conversation = undefined;
        continue;
      }
      await this.#pause(this.#pauseMs * 5);
    }
    conversation?.close();
  }

  #fail(which: string, thrown: unknown): void {
    const { code, message } = thrown as NodeJS.ErrnoException;
    const text = `${which}: ${code ?? ''} ${message}`.slice(0, 200);
    this.#failures.set(text, (this.#failures.get(text) ?? 0) + 1);
  }

  async #pause(milliseconds: number): Promise<void> {
    const spread = milliseconds * (0.5 + Math.random());
    await sleep(spread, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
