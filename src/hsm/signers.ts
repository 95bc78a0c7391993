import { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger, Random } from '../common/runtime/index.ts';
import { isFinal } from './ckr.ts';
import type { KeyHandle, SignItem, Signers, SignersState, SignOutcome, TokenConfig } from './contract.ts';
import { forkHsmProcess } from './fork.ts';
import type { EngineMode } from './protocol.ts';
import { chunkSize, respawnDelayMs, signersStatus } from './respawn.ts';
import { callOf, failedOutcome, SignQueue } from './sign-queue.ts';
import { SignerLink } from './signer-link.ts';

export interface SignersOptions {
  readonly token: TokenConfig;
  /** Signer processes: one per core for a token that computes on this machine. */
  readonly processes: number;
  /** `auto` measures at the first key; see signing-engine.ts. */
  readonly mode: EngineMode;
  /** Sessions of each process where it signs asynchronously; a token may grant fewer. */
  readonly sessionsPerProcess: number;
  /** Silence of a signer that has work, after which it is killed. Default 2000. */
  readonly deadlineMs?: number;
  /** The same while it starts. Default 15000. */
  readonly startDeadlineMs?: number;
  /** How long an idle signer is left alone before its token is tried. Default 1000. */
  readonly probeIntervalMs?: number;
  /** Items that may wait; more are answered OVERLOADED. Default 20000. */
  readonly maxQueued?: number;
  /** The Node binary for the signer processes: process.execPath, read at the process edge. */
  readonly execPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The signing port with what operators and drills need beyond it. */
export interface ManagedSigners extends Signers, AsyncDisposable {
  /** Process IDs of the ready signers. */
  pids(): readonly number[];
  /** For drills: closes all sessions of all signers, as a restart of the token does. Costs one recovery. */
  invalidateSessions(): void;
}

/**
 * Starts the signer processes. The first logs in alone, and the others only after it succeeded: a wrong PIN is tried
 * once. Throws HSM_MODULE_MISSING, HSM_TOKEN_NOT_FOUND, HSM_PIN_WRONG, HSM_PIN_LOCKED, HSM_UNAVAILABLE, HSM_FAILED.
 */
export async function createSigners(options: SignersOptions): Promise<ManagedSigners> {
  if (!Number.isInteger(options.processes) || options.processes < 1) throw new PkiError('CONFIG_INVALID', 'hsm processes must be a positive integer');
  if (!Number.isInteger(options.sessionsPerProcess) || options.sessionsPerProcess < 1) throw new PkiError('CONFIG_INVALID', 'hsm sessions per process must be a positive integer');
  const signers = new SignerPool(options);
  try {
    await signers.start();
  } catch (thrown) {
    await signers.close();
    throw thrown;
  }
  return signers;
}

/** A signer that died younger than this counts as a failed start, so that a crash loop is slowed down. */
const stableMs = 10_000;
/** With a signer at work already, a second chunk is handed to it ahead of time only if the queue is worth it. */
const aheadMinimum = 8;
const closeGraceMs = 1000;

/** Owner of the queue, the links and the circuit. */
class SignerPool implements ManagedSigners {
  readonly #options: SignersOptions;
  readonly #deadlineMs: number;
  readonly #probeIntervalMs: number;
  readonly #queue = new SignQueue();
  readonly #keys = new Map<string, KeyHandle>();
  /** Each with the time at which it became ready. */
  readonly #ready = new Map<SignerLink, number>();
  /** All that were forked and have not exited. */
  readonly #alive = new Set<SignerLink>();
  readonly #listeners = new Set<(state: SignersState) => void>();
  /** At most one signer logs in at a time, for the sake of the PIN counter. */
  #starting: SignerLink | undefined;
  #cancelStart: (() => void) | undefined;
  #failures = 0;
  #started = false;
  #closed = false;
  #fatal: PkiError | undefined;
  #reason: string | undefined;
  #loggedStartFailure: string | undefined;
  #status: SignersState['status'] = 'starting';
  #respawns = 0;
  #signatures = 0;
  #itemsInFlight = 0;
  #dispatchDue = false;
  #cancelProbe: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: SignersOptions) {
    this.#options = options;
    this.#deadlineMs = options.deadlineMs ?? 2000;
    this.#probeIntervalMs = options.probeIntervalMs ?? 1000;
  }

  /**
   * Resolves when each signer has had its start; rejects if the first fails, or a later one for good. Processes boot side
   * by side once the first has succeeded, but log in one after another.
   */
  async start(): Promise<void> {
    const error = await this.#start(this.#fork());
    if (error !== undefined) throw error;
    const others = Array.from({ length: this.#options.processes - 1 }, () => this.#fork());
    for (const link of others) {
      await this.#start(link);
      if (this.#fatal !== undefined) throw this.#fatal;
    }
    this.#scheduleStart();
    this.#scheduleProbe();
  }

  async useKey(key: KeyHandle): Promise<void> {
    this.#assertUsable();
    const links = [...this.#ready.keys()];
    const results = await Promise.allSettled(links.map((link) => link.useKey(key)));
    const failures = results.flatMap((result, index) => (result.status === 'rejected' ? [{ link: links[index] as SignerLink, error: PkiError.from(result.reason, 'HSM_UNAVAILABLE') }] : []));
    if (failures.length === links.length) {
      if (this.#fatal !== undefined) throw this.#fatal;
      // What the token said of the key tells more than that a signer died over it.
      const told = failures.find(({ error }) => error.code !== 'HSM_UNAVAILABLE') ?? failures[0];
      throw told?.error ?? new PkiError('HSM_UNAVAILABLE', 'no signer is ready');
    }
    this.#keys.set(key.ckaId, key);
    // The others found it: a signer that did not has a token that it should not be trusted with.
    for (const { link, error } of failures) link.kill(new PkiError('HSM_UNAVAILABLE', `the signer can not use a key that others can: ${error.message}`));
    for (const link of this.#ready.keys()) if (!link.hasKey(key.ckaId)) this.#teach(link, key);
  }

  forgetKey(ckaId: string): Promise<void> {
    this.#keys.delete(ckaId);
    for (const link of this.#ready.keys()) link.forgetKey(ckaId);
    return Promise.resolve();
  }

  sign(items: readonly SignItem[]): Promise<readonly SignOutcome[]> {
    const { queued, outcomes } = callOf(items);
    const refusal = this.#refusal(items.length);
    for (const entry of queued) {
      if (refusal !== undefined) entry.settle(failedOutcome(refusal.code, refusal.message));
      else if (!this.#keys.has(entry.item.ckaId)) entry.settle(failedOutcome('HSM_KEY_NOT_FOUND', `no key with the CKA_ID ${entry.item.ckaId} is in use`));
      else this.#queue.push(entry);
    }
    this.#dispatchSoon();
    return outcomes;
  }

  state(): SignersState {
    return {
      status: this.#status,
      reason: this.#status === 'ready' ? undefined : this.#reason,
      signers: this.#options.processes,
      signersReady: this.#ready.size,
      respawns: this.#respawns,
      inFlight: this.#queue.length + this.#itemsInFlight,
      signatures: this.#signatures,
    };
  }

  onChange(listener: (state: SignersState) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  pids(): readonly number[] {
    return [...this.#ready.keys()].flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  }

  invalidateSessions(): void {
    for (const link of this.#ready.keys()) link.invalidateSessions();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#cancelStart?.();
    this.#cancelProbe?.();
    this.#queue.failAll('SHUTTING_DOWN', 'the signers are closed');
    // What is being signed may finish: its intents are on record. The watch of each link bounds the wait.
    const untilMs = this.#options.clock.monotonicMs() + this.#deadlineMs;
    while (this.#itemsInFlight > 0 && this.#options.clock.monotonicMs() < untilMs) await this.#options.clock.sleep(5);
    await Promise.all([...this.#alive].map((link) => link.close(closeGraceMs)));
    this.#update();
  }

  #assertUsable(): void {
    const refusal = this.#refusal(0);
    if (refusal !== undefined) throw refusal;
  }

  #refusal(items: number): PkiError | undefined {
    if (this.#closed) return new PkiError('SHUTTING_DOWN', 'the signers are closed');
    if (this.#fatal !== undefined) return this.#fatal;
    if (this.#ready.size === 0) return new PkiError('HSM_UNAVAILABLE', `no signer is ready: ${this.#reason ?? 'starting'}`);
    const limit = this.#options.maxQueued ?? 20_000;
    if (this.#queue.length + items > limit) return new PkiError('OVERLOADED', `more than ${limit} signatures are waiting`);
    return undefined;
  }

  /** After this turn of the event loop, so that calls which arrived together travel together. */
  #dispatchSoon(): void {
    if (this.#dispatchDue || this.#queue.length === 0) return;
    this.#dispatchDue = true;
    setImmediate(() => {
      this.#dispatchDue = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const link = this.#leastLoaded();
      if (link === undefined) return;
      const count = chunkSize({
        queued: this.#queue.length,
        signersReady: this.#ready.size,
        concurrency: link.mode === 'async' ? link.sessions : 1,
        itemMs: link.itemMs,
      });
      void this.#hand(link, count);
    }
  }

  #leastLoaded(): SignerLink | undefined {
    let best: SignerLink | undefined;
    for (const link of this.#ready.keys()) {
      if (link.chunksInFlight >= 2) continue;
      if (link.chunksInFlight === 1 && this.#queue.length < aheadMinimum) continue;
      if (best === undefined || link.itemsInFlight < best.itemsInFlight) best = link;
    }
    return best;
  }

  async #hand(link: SignerLink, count: number): Promise<void> {
    const chunk = this.#queue.take(count);
    this.#itemsInFlight += chunk.length;
    try {
      const outcomes = await link.sign(chunk.map(({ item }) => item));
      chunk.forEach(({ settle }, index) => {
        const outcome = outcomes[index] as SignOutcome;
        if (outcome.ok) this.#signatures++;
        settle(outcome);
      });
    } catch (thrown) {
      const error = this.#fatal ?? PkiError.from(thrown, 'HSM_UNAVAILABLE');
      for (const { settle } of chunk) settle(failedOutcome(isFinal(error.code) ? error.code : 'HSM_UNAVAILABLE', error.message));
    } finally {
      this.#itemsInFlight -= chunk.length;
    }
    this.#dispatch();
  }

  #fork(): SignerLink {
    const { token, mode, sessionsPerProcess, clock, execPath } = this.#options;
    const child = forkHsmProcess('signer-process', {
      execPath,
      environment: token.environment ?? {},
      ...(mode === 'sync' ? {} : { threads: Math.min(sessionsPerProcess, 128) }),
    });
    const link = new SignerLink(child, {
      clock,
      deadlineMs: this.#deadlineMs,
      startDeadlineMs: this.#options.startDeadlineMs ?? 15_000,
      pin: token.pin,
      onDeath: (error) => this.#died(link, error),
    });
    this.#alive.add(link);
    void link.exited.then(() => this.#alive.delete(link));
    return link;
  }

  /** Lets a forked signer log in. Returns why it failed. */
  async #start(link: SignerLink): Promise<PkiError | undefined> {
    const { token, mode, sessionsPerProcess, clock } = this.#options;
    this.#starting = link;
    try {
      const { modulePath, tokenLabel, pin } = token;
      const started = await link.start({ type: 'start', token: { modulePath, tokenLabel, pin }, mode, sessions: sessionsPerProcess, keys: [...this.#keys.values()] });
      this.#starting = undefined;
      if (link.dead) return new PkiError('HSM_UNAVAILABLE', 'the signer process has ended');
      for (const { ckaId, error } of started.unusable) this.#options.logger.error({ ckaId, code: error.code, reason: error.message }, 'signer can not use a key');
    } catch (thrown) {
      this.#starting = undefined;
      return PkiError.from(thrown, 'HSM_UNAVAILABLE');
    }
    this.#started = true;
    this.#ready.set(link, clock.monotonicMs());
    this.#options.logger.info({ signerPid: link.pid, mode: link.mode, sessions: link.sessions }, 'signer ready');
    for (const key of this.#keys.values()) if (!link.hasKey(key.ckaId)) this.#teach(link, key);
    this.#update();
    this.#dispatch();
    return undefined;
  }

  /** Gives a signer a key that was taken into use while it started. */
  #teach(link: SignerLink, key: KeyHandle): void {
    link.useKey(key).catch((thrown: unknown) => {
      if (!link.dead) link.kill(new PkiError('HSM_UNAVAILABLE', `the signer can not use a key that others can: ${PkiError.from(thrown).message}`));
    });
  }

  #died(link: SignerLink, error: PkiError): void {
    const sinceMs = this.#ready.get(link);
    const wasReady = this.#ready.delete(link);
    if (this.#closed) return;
    const stable = sinceMs !== undefined && this.#options.clock.monotonicMs() - sinceMs >= stableMs;
    this.#failures = stable ? 0 : this.#failures + 1;
    this.#reason = `${error.code}: ${error.message}`;
    if (this.#fatal === undefined && (isFinal(error.code) || error.grade === 'fatal')) {
      this.#stopForGood(error);
      return;
    }
    if (this.#fatal !== undefined) return;
    if (this.#started) this.#logLoss(link, error, wasReady);
    if (this.#ready.size === 0) this.#queue.failAll('HSM_UNAVAILABLE', `no signer is ready: ${error.message}`);
    this.#update();
    if (this.#started) this.#scheduleStart();
  }

  /** Once per cause: a token that is away for hours is not worth a line per attempt. */
  #logLoss(link: SignerLink, error: PkiError, wasReady: boolean): void {
    const fields = { signerPid: link.pid, code: error.code, reason: error.message, signersReady: this.#ready.size };
    if (wasReady) this.#options.logger.warn(fields, 'signer lost');
    else if (this.#loggedStartFailure !== this.#reason) this.#options.logger.warn(fields, 'signer did not start; trying again');
    else this.#options.logger.debug(fields, 'signer did not start');
    this.#loggedStartFailure = wasReady ? undefined : this.#reason;
  }

  #stopForGood(error: PkiError): void {
    this.#fatal = new PkiError(error.code, error.message, { grade: 'fatal', cause: error });
    this.#cancelStart?.();
    this.#cancelProbe?.();
    this.#queue.failAll(error.code, error.message);
    for (const link of this.#alive) link.kill(this.#fatal);
    if (this.#started) this.#options.logger.fatal({ code: error.code, reason: error.message }, 'signing has stopped');
    this.#update();
  }

  /** Starts the next missing signer when its time has come: at once after a success, with backoff after failures. */
  #scheduleStart(afterSuccess = false): void {
    if (this.#closed || this.#fatal !== undefined || this.#starting !== undefined || this.#cancelStart !== undefined) return;
    if (this.#ready.size >= this.#options.processes) return;
    const delayMs = afterSuccess ? 0 : respawnDelayMs(this.#failures, this.#options.random.uniform());
    this.#cancelStart = this.#options.clock.after(delayMs, () => {
      this.#cancelStart = undefined;
      if (this.#closed || this.#fatal !== undefined) return;
      this.#respawns++;
      void this.#start(this.#fork()).then((error) => this.#scheduleStart(error === undefined));
    });
  }

  /** An idle signer is probed, so that a lost token is noticed and recovery begins before the next request comes. */
  #scheduleProbe(): void {
    if (this.#closed || this.#fatal !== undefined) return;
    this.#cancelProbe = this.#options.clock.after(this.#probeIntervalMs / 2, () => {
      const nowMs = this.#options.clock.monotonicMs();
      for (const link of this.#ready.keys()) {
        // A dead link has told #died already; its rejected probe says nothing new.
        if (link.idle && nowMs - link.lastActiveMs >= this.#probeIntervalMs) link.probe().catch(() => {});
      }
      this.#scheduleProbe();
    });
  }

  #update(): void {
    const status = signersStatus({
      closed: this.#closed,
      fatal: this.#fatal !== undefined,
      started: this.#started,
      signers: this.#options.processes,
      signersReady: this.#ready.size,
    });
    if (status === 'ready') this.#reason = undefined;
    if (status === this.#status) return;
    this.#status = status;
    const state = this.state();
    for (const listener of this.#listeners) {
      try {
        listener(state);
      } catch (thrown) {
        // A listener's defect must not stop the recovery that is going on around this call.
        this.#options.logger.error({ reason: PkiError.from(thrown).message }, 'a listener of the signers failed');
      }
    }
  }
}
