import { PkiError } from '../common/errors/index.ts';
import {
  errorFields,
  atTurnEnd,
  type Clock,
  type Logger,
  type Random,
} from '../common/runtime/index.ts';
import { isFinal } from './ckr.ts';
import type { MacKeyHandle, MacKeys } from './mac-port.ts';
import type { KeyHandle, SignItem, Signers, SignersState, SignOutcome } from './signing-port.ts';
import type { TokenConfig } from './token-port.ts';
import { LoginTurns } from './login-turns.ts';
import { isMacKey, type EngineMode, type UsableKey } from './protocol.ts';
import { backgroundChunkSize, chunkSize } from './respawn.ts';
import { callOf, failedOutcome, SignQueue, type QueuedItem, type QueueTurn } from './sign-queue.ts';
import { SignerGroup } from './signer-group.ts';
import { softHsmDenied } from './softhsm-guard.ts';
import type { SignerLink } from './signer-link.ts';

export interface SignersOptions {
  readonly token: TokenConfig;
  /**
   * Shared with all other logins of this server to the token. Without it the signers take turns
   * among themselves.
   */
  readonly logins?: LoginTurns;
  /** The number of signer processes: one per core if the token computes on this machine. */
  readonly processes: number;
  /** `auto` measures at the first key; see signing-engine.ts. */
  readonly mode: EngineMode;
  /** Sessions per process for asynchronous signing. A token may grant fewer. */
  readonly sessionsPerProcess: number;
  /** A busy signer that is silent for this many milliseconds is killed. Default: 2000. */
  readonly deadlineMs?: number;
  /**
   * The same during its start, which takes long on a busy machine. Milliseconds. Default: 30000.
   */
  readonly startDeadlineMs?: number;
  /** An idle signer is probed after this many milliseconds. Default: 1000. */
  readonly probeIntervalMs?: number;
  /** Maximum number of waiting items; further ones get OVERLOADED. Default: 20000. */
  readonly maxQueued?: number;
  /**
   * Path of the Node binary for the signer processes: process.execPath, read at the process edge.
   */
  readonly execPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The signing port, with what operators and drills need in addition. */
export interface ManagedSigners extends Signers, MacKeys, AsyncDisposable {
  /** Process IDs of the ready signers. */
  pids(): readonly number[];
  /**
   * For drills: closes all sessions of all signers, as a restart of the token does. Costs one
   * recovery.
   */
  invalidateSessions(): void;
  /**
   * Tries another PIN once. Accepted, it is the PIN of all later signers; refused, the present
   * signers go on. Resolves to whether there was anything to try.
   *
   * @throws PkiError HSM_PIN_WRONG, HSM_PIN_LOCKED, or why the PIN could not be tried
   */
  changePin(pin: string): Promise<boolean>;
}

/**
 * Starts the signer processes. The first logs in alone, the others after its success, so that a
 * wrong PIN is tried once. If this throws, no process is left.
 *
 * @throws PkiError HSM_MODULE_MISSING, HSM_TOKEN_NOT_FOUND, HSM_PIN_WRONG, HSM_PIN_LOCKED,
 *   HSM_UNAVAILABLE, HSM_FAILED
 */
export async function createSigners(options: SignersOptions): Promise<ManagedSigners> {
  for (const [name, value] of [
    ['processes', options.processes],
    ['sessions per process', options.sessionsPerProcess],
  ] as const) {
    if (!Number.isInteger(value) || value < 1)
      throw new PkiError('CONFIG_INVALID', `hsm: the number of ${name} must be a positive integer`);
  }
  const signers = new ProcessSigners(options);
  try {
    await signers.start();
  } catch (thrown) {
    await signers.close();
    throw softHsmDenied(options.token, thrown) ?? thrown;
  }
  return signers;
}

/**
 * A signer whose sessions are all in use gets a second chunk ahead of time only if the queue has
 * this many items.
 */
const aheadMinimum = 8;

/** Owner of the queue and of the keys in use. */
class ProcessSigners implements ManagedSigners {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #deadlineMs: number;
  readonly #maxQueued: number;
  readonly #group: SignerGroup;
  readonly #queue = new SignQueue();
  readonly #keys = new Map<string, UsableKey>();
  readonly #listeners = new Set<(state: SignersState) => void>();
  #signatures = 0;
  #chunks = 0;
  #itemsInFlight = 0;
  #dispatchDue = false;
  #closing: Promise<void> | undefined;

  constructor(options: SignersOptions) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#deadlineMs = options.deadlineMs ?? 2000;
    this.#maxQueued = options.maxQueued ?? 20_000;
    this.#group = new SignerGroup(
      {
        ...options,
        logins: options.logins ?? new LoginTurns(),
        deadlineMs: this.#deadlineMs,
        startDeadlineMs: options.startDeadlineMs ?? 30_000,
        probeIntervalMs: options.probeIntervalMs ?? 1000,
      },
      {
        keys: () => [...this.#keys.values()],
        signerReady: () => this.#dispatch(),
        noneReady: (error) =>
          this.#queue.failAll(codeFor(error), `no signer is ready: ${error.message}`),
        statusChanged: () => this.#tellListeners(),
      },
    );
  }

  start(): Promise<void> {
    return this.#group.start();
  }

  useKey(key: KeyHandle): Promise<void> {
    return this.#use(key);
  }

  useMacKey(key: MacKeyHandle): Promise<void> {
    return this.#use(key);
  }

  async mac(ckaId: string, input: Buffer): Promise<Buffer> {
    const { refusal } = this.#group;
    if (refusal !== undefined) throw refusal;
    const key = this.#keys.get(ckaId);
    if (key === undefined || !isMacKey(key))
      throw new PkiError('HSM_KEY_NOT_FOUND', `no secret key with the CKA_ID ${ckaId} is in use`);
    const [link] = this.#group.ready.toSorted((a, b) => a.itemsInFlight - b.itemsInFlight);
    return (link as SignerLink).mac(ckaId, input);
  }

  async #use(key: UsableKey): Promise<void> {
    const { refusal } = this.#group;
    if (refusal !== undefined) throw refusal;
    const links = this.#group.ready;
    const results = await Promise.allSettled(links.map((link) => link.useKey(key)));
    const failures = links.flatMap((link, index) => {
      const result = results[index];
      return result?.status === 'rejected'
        ? [{ link, error: PkiError.from(result.reason, 'HSM_UNAVAILABLE') }]
        : [];
    });
    if (this.#group.fatal !== undefined) throw this.#group.fatal;
    if (failures.length === links.length) {
      // The token's error for the key tells more than the death of a signer.
      throw (
        failures.find(({ error }) => error.code !== 'HSM_UNAVAILABLE')?.error ??
        failures[0]?.error ??
        new PkiError('HSM_UNAVAILABLE', 'no signer is ready')
      );
    }
    this.#keys.set(key.ckaId, key);
    const modes = [...new Set(links.filter(({ dead }) => !dead).map(({ mode }) => mode))].join(',');
    const keyType = isMacKey(key) ? 'hmac-sha256' : key.keyType;
    this.#logger.info({ ckaId: key.ckaId, keyType, mode: modes }, 'key in use');
    for (const { link, error } of failures)
      link.kill(
        new PkiError(
          'HSM_UNAVAILABLE',
          `the signer can not use a key that others can: ${error.message}`,
        ),
      );
    for (const link of this.#group.ready) if (!link.hasKey(key.ckaId)) this.#group.teach(link, key);
  }

  forgetKey(ckaId: string): Promise<void> {
    this.#keys.delete(ckaId);
    for (const link of this.#group.ready) link.forgetKey(ckaId);
    return Promise.resolve();
  }

  sign(items: readonly SignItem[], signal?: AbortSignal): Promise<readonly SignOutcome[]> {
    const { queued, outcomes } = callOf(items, signal);
    const refusal = this.#refusal(items.length);
    const nowMs = this.#clock.monotonicMs();
    for (const entry of queued) {
      if (refusal !== undefined) entry.settle(failedOutcome(refusal.code, refusal.message));
      else if (!this.#keys.has(entry.item.ckaId))
        entry.settle(
          failedOutcome(
            'HSM_KEY_NOT_FOUND',
            `no key with the CKA_ID ${entry.item.ckaId} is in use`,
          ),
        );
      else this.#queue.push(entry, nowMs);
    }
    this.#dispatchSoon();
    return outcomes;
  }

  state(): SignersState {
    return {
      ...this.#group.state,
      inFlight: this.#queue.length + this.#itemsInFlight,
      signatures: this.#signatures,
      chunks: this.#chunks,
    };
  }

  onChange(listener: (state: SignersState) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  pids(): readonly number[] {
    return this.#group.ready.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  }

  invalidateSessions(): void {
    for (const link of this.#group.ready) link.invalidateSessions();
  }

  changePin(pin: string): Promise<boolean> {
    return this.#group.changePin(pin);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#group.beginClose();
    this.#queue.failAll('SHUTTING_DOWN', 'the signers are closed');
    // Items that are being signed may finish: their intents are recorded.
    const untilMs = this.#clock.monotonicMs() + this.#deadlineMs;
    while (this.#itemsInFlight > 0 && this.#clock.monotonicMs() < untilMs)
      await this.#clock.sleep(5);
    await this.#group.close();
  }

  #refusal(items: number): PkiError | undefined {
    if (this.#group.refusal !== undefined) return this.#group.refusal;
    if (this.#queue.length + items > this.#maxQueued)
      return new PkiError('OVERLOADED', `more than ${this.#maxQueued} signatures are waiting`);
    return undefined;
  }

  /**
   * Dispatches after this turn of the event loop, so that calls that arrived together are handed
   * over together.
   */
  #dispatchSoon(): void {
    if (this.#dispatchDue || this.#queue.length === 0) return;
    this.#dispatchDue = true;
    atTurnEnd('hand-over', () => {
      this.#dispatchDue = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    for (let turn = this.#turn(); turn !== undefined; turn = this.#turn()) {
      const link = this.#leastLoaded(turn);
      if (link === undefined) return;
      const sizeOf = turn.of === 'callers' ? chunkSize : backgroundChunkSize;
      const count = sizeOf({
        queued: turn.queued,
        signersReady: this.#group.readyCount,
        concurrency: concurrencyOf(link),
        itemMs: link.itemMs,
      });
      void this.#hand(link, this.#queue.take(turn, count));
    }
  }

  #turn(): QueueTurn | undefined {
    return this.#queue.turn(this.#clock.monotonicMs());
  }

  /** A signer that could begin with more at once takes it whatever it has. */
  #leastLoaded({ queued }: QueueTurn): SignerLink | undefined {
    let best: SignerLink | undefined;
    for (const link of this.#group.ready) {
      const isFull = link.itemsInFlight >= concurrencyOf(link);
      if (isFull && link.chunksInFlight >= 2) continue;
      if (isFull && link.chunksInFlight === 1 && queued < aheadMinimum) continue;
      if (best === undefined || link.itemsInFlight < best.itemsInFlight) best = link;
    }
    return best;
  }

  async #hand(link: SignerLink, chunk: readonly QueuedItem[]): Promise<void> {
    if (chunk.length === 0) return;
    this.#itemsInFlight += chunk.length;
    this.#chunks += 1;
    try {
      const outcomes = await link.sign(chunk.map(({ item }) => item));
      chunk.forEach(({ settle }, index) => {
        const outcome = outcomes[index] as SignOutcome;
        if (outcome.ok) this.#signatures++;
        settle(outcome);
      });
    } catch (thrown) {
      const error = this.#group.fatal ?? PkiError.from(thrown, 'HSM_UNAVAILABLE');
      for (const { settle } of chunk) settle(failedOutcome(codeFor(error), error.message));
    } finally {
      this.#itemsInFlight -= chunk.length;
    }
    this.#dispatch();
  }

  #tellListeners(): void {
    const state = this.state();
    for (const listener of this.#listeners) {
      try {
        listener(state);
      } catch (thrown) {
        // A defect of a listener must not stop the recovery around this call.
        this.#logger.error({ ...errorFields(thrown) }, 'a listener of the signers failed');
      }
    }
  }
}

const concurrencyOf = ({ mode, sessions }: SignerLink): number => (mode === 'async' ? sessions : 1);

/**
 * When a signer died, its items may or may not have been signed: HSM_UNAVAILABLE, unless the port
 * is fatal.
 */
const codeFor = (error: PkiError): PkiError['code'] =>
  isFinal(error.code) ? error.code : 'HSM_UNAVAILABLE';
