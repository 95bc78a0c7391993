import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger, type Random } from '../common/runtime/index.ts';
import { isFinal } from './ckr.ts';
import type { SignersState } from './signing-port.ts';
import type { TokenConfig } from './token-port.ts';
import { forkHsmProcess } from './fork.ts';
import { guardSoftHsm } from './softhsm-guard.ts';
import type { LoginTurns } from './login-turns.ts';
import type { EngineMode, FromSigner, UsableKey } from './protocol.ts';
import { respawnDelayMs, signersStatus } from './respawn.ts';
import { SignerLink } from './signer-link.ts';

export interface SignerGroupOptions {
  readonly token: TokenConfig;
  readonly logins: LoginTurns;
  readonly processes: number;
  readonly mode: EngineMode;
  readonly sessionsPerProcess: number;
  readonly deadlineMs: number;
  readonly startDeadlineMs: number;
  readonly probeIntervalMs: number;
  readonly execPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** The owner's side of the group. */
export interface SignerGroupOwner {
  /** The keys that are in use now. */
  keys(): readonly UsableKey[];
  signerReady(): void;
  /** No signer is left, temporarily or (fatal) permanently. */
  noneReady(error: PkiError): void;
  statusChanged(): void;
}

/**
 * A signer that died younger than this counts as a failed start, so that a crash loop slows down.
 */
const stableMs = 10_000;
const closeGraceMs = 1000;

/** Keeps the requested number of signers alive. Owner of the links and of the circuit's state. */
export class SignerGroup {
  readonly #options: SignerGroupOptions;
  readonly #owner: SignerGroupOwner;
  /** Each ready signer with the time at which it became ready. */
  readonly #ready = new Map<SignerLink, number>();
  /** All signers that were forked and have not exited. */
  readonly #alive = new Set<SignerLink>();
  /** At most one signer logs in at a time, because of the token's PIN counter. */
  #starting: SignerLink | undefined;
  #cancelStart: (() => void) | undefined;
  #cancelProbe: (() => void) | undefined;
  #failures = 0;
  #started = false;
  #closed = false;
  #fatal: PkiError | undefined;
  /** The PIN was refused: no signer is started before another PIN is accepted. */
  #pinRefused: PkiError | undefined;
  /** The PIN that the next signer logs in with. */
  #pin: string;
  #failure: PkiError | undefined;
  #loggedStartFailure: string | undefined;
  #status: SignersState['status'] = 'starting';
  #respawns = 0;

  constructor(options: SignerGroupOptions, owner: SignerGroupOwner) {
    this.#options = options;
    this.#pin = options.token.pin;
    this.#owner = owner;
  }

  get ready(): readonly SignerLink[] {
    return [...this.#ready.keys()];
  }

  get readyCount(): number {
    return this.#ready.size;
  }

  get fatal(): PkiError | undefined {
    return this.#fatal;
  }

  get state(): Omit<SignersState, 'inFlight' | 'signatures' | 'chunks'> {
    const failure = this.#status === 'ready' ? undefined : this.#failure;
    return {
      status: this.#status,
      reason: failure === undefined ? undefined : textOf(failure),
      code: failure?.code,
      signers: this.#options.processes,
      signersReady: this.#ready.size,
      respawns: this.#respawns,
    };
  }

  /** Why nothing can be signed now; undefined if signing is possible. */
  get refusal(): PkiError | undefined {
    if (this.#closed) return new PkiError('SHUTTING_DOWN', 'the signers are closed');
    if (this.#fatal !== undefined) return this.#fatal;
    if (this.#ready.size === 0)
      return (
        this.#pinRefused ??
        new PkiError(
          'HSM_UNAVAILABLE',
          `no signer is ready: ${this.#failure === undefined ? 'starting' : textOf(this.#failure)}`,
        )
      );
    return undefined;
  }

  /**
   * Resolves when each signer has tried to start. Rejects if the first start fails, or a later one
   * with a final error. After the first success the processes boot in parallel, but log in one
   * after another.
   */
  async start(): Promise<void> {
    const error = await this.#start(this.#forkMember());
    if (error !== undefined) throw error;
    const others = Array.from({ length: this.#options.processes - 1 }, () => this.#forkMember());
    for (const link of others) {
      await this.#start(link);
      const final = this.#fatal ?? this.#pinRefused;
      if (final !== undefined) throw final;
    }
    this.#scheduleStart();
    this.#scheduleProbe();
  }

  /**
   * Gives a signer a key that the others have. A signer that can not use it has a token that must
   * not be trusted.
   */
  teach(link: SignerLink, key: UsableKey): void {
    link.useKey(key).catch((thrown: unknown) => {
      const { message } = PkiError.from(thrown);
      if (!link.dead)
        link.kill(
          new PkiError(
            'HSM_UNAVAILABLE',
            `the signer can not use a key that others can: ${message}`,
          ),
        );
    });
  }

  /**
   * Tries another PIN once, with a signer that ends afterwards. If the token accepts it, all later
   * signers log in with it. If not, the present signers go on with their sessions. Resolves to
   * whether there was anything to try.
   *
   * @throws PkiError HSM_PIN_WRONG, HSM_PIN_LOCKED, or why the PIN could not be tried
   */
  async changePin(pin: string): Promise<boolean> {
    if (pin === this.#pin && this.#pinRefused === undefined) return false;
    if (this.#closed || this.#fatal !== undefined) throw this.refusal as PkiError;
    const link = this.#fork(() => {});
    try {
      await this.#login(link, () => pin);
    } finally {
      await link.close(closeGraceMs);
    }
    this.#pinRefused = undefined;
    this.#failures = 0;
    this.#update();
    this.#scheduleStart(true);
    return true;
  }

  /** From here on no signer is respawned. */
  beginClose(): void {
    this.#closed = true;
    this.#cancelStart?.();
    this.#cancelProbe?.();
  }

  async close(): Promise<void> {
    this.beginClose();
    await Promise.all([...this.#alive].map((link) => link.close(closeGraceMs)));
    this.#update();
  }

  #forkMember(): SignerLink {
    const link = this.#fork((error) => this.#died(link, error));
    return link;
  }

  #fork(onDeath: (error: PkiError) => void): SignerLink {
    const { token, mode, sessionsPerProcess, clock, execPath } = this.#options;
    const { deadlineMs, startDeadlineMs, logger } = this.#options;
    guardSoftHsm(token, logger);
    const child = forkHsmProcess('signer-process', {
      execPath,
      environment: token.environment ?? {},
      ...(mode === 'sync' ? {} : { threads: Math.min(sessionsPerProcess, 128) }),
    });
    const link = new SignerLink(child, {
      clock,
      deadlineMs,
      startDeadlineMs,
      onDeath,
    });
    this.#alive.add(link);
    void link.exited.then(() => this.#alive.delete(link));
    return link;
  }

  /** Lets a forked signer log in. Returns the error if that failed. */
  async #start(link: SignerLink): Promise<PkiError | undefined> {
    const { clock, logger } = this.#options;
    this.#starting = link;
    try {
      const started = await this.#login(link, () => this.#pin);
      if (link.dead) return new PkiError('HSM_UNAVAILABLE', 'the signer process has ended');
      for (const { ckaId, error } of started.unusable)
        logger.error({ ckaId, ...errorFields(error) }, 'signer can not use a key');
    } catch (thrown) {
      const error = PkiError.from(thrown, 'HSM_UNAVAILABLE');
      // a PIN that was refused before is not tried: the signer waits for its login
      link.kill(error);
      return error;
    } finally {
      this.#starting = undefined;
    }
    this.#started = true;
    this.#ready.set(link, clock.monotonicMs());
    logger.info({ signerPid: link.pid, mode: link.mode, sessions: link.sessions }, 'signer ready');
    // Keys that were taken into use while the signer started.
    for (const key of this.#owner.keys()) if (!link.hasKey(key.ckaId)) this.teach(link, key);
    this.#update();
    this.#owner.signerReady();
    return undefined;
  }

  #login(
    link: SignerLink,
    pinNow: () => string,
  ): Promise<Extract<FromSigner, { type: 'started' }>> {
    const { token, logins, mode, sessionsPerProcess } = this.#options;
    const { modulePath, tokenLabel } = token;
    return logins.take(token, pinNow, async (pin) => {
      const started = await link.start({
        type: 'start',
        token: { modulePath, tokenLabel, pin },
        mode,
        sessions: sessionsPerProcess,
        keys: this.#owner.keys(),
      });
      // within the turn: the next one logs in with the PIN that the token took
      this.#pin = pin;
      return started;
    });
  }

  #died(link: SignerLink, error: PkiError): void {
    const sinceMs = this.#ready.get(link);
    const wasReady = this.#ready.delete(link);
    if (this.#closed || this.#fatal !== undefined) return;
    const stable = sinceMs !== undefined && this.#options.clock.monotonicMs() - sinceMs >= stableMs;
    this.#failures = stable ? 0 : this.#failures + 1;
    this.#failure = error;
    if (error.code === 'HSM_SIGNATURE_INVALID') {
      this.#stopForGood(error);
      return;
    }
    if (isFinal(error.code)) this.#stopStarts(error);
    else if (this.#started) this.#logLoss(link, error, wasReady);
    if (this.#ready.size === 0) this.#owner.noneReady(this.#pinRefused ?? error);
    this.#update();
    if (this.#started) this.#scheduleStart();
  }

  /** Logged once per cause, so that a long absence of the token does not log each attempt. */
  #logLoss(link: SignerLink, error: PkiError, wasReady: boolean): void {
    const { logger } = this.#options;
    const fields = {
      signerPid: link.pid,
      code: error.code,
      reason: error.message,
      signersReady: this.#ready.size,
    };
    if (wasReady) logger.warn(fields, 'signer lost');
    else if (this.#loggedStartFailure !== textOf(error))
      logger.warn(fields, 'signer did not start; trying again');
    else logger.debug(fields, 'signer did not start');
    this.#loggedStartFailure = wasReady ? undefined : textOf(error);
  }

  /** A PIN that was refused is not tried again. Signers that are logged in go on. */
  #stopStarts(error: PkiError): void {
    this.#pinRefused = new PkiError(error.code, error.message, { grade: 'fatal', cause: error });
    this.#cancelStart?.();
    this.#cancelStart = undefined;
    if (this.#started)
      this.#options.logger.fatal(
        { ...errorFields(error), signersReady: this.#ready.size },
        'the token refused the PIN: no signer is started before the server has read another PIN (SIGHUP)',
      );
  }

  #stopForGood(error: PkiError): void {
    this.#fatal = new PkiError(error.code, error.message, { grade: 'fatal', cause: error });
    this.#cancelStart?.();
    this.#cancelProbe?.();
    for (const link of this.#alive) link.kill(this.#fatal);
    this.#owner.noneReady(this.#fatal);
    if (this.#started) this.#options.logger.fatal({ ...errorFields(error) }, 'signing has stopped');
    this.#update();
  }

  /** Starts the next missing signer: at once after a success, with backoff after failures. */
  #scheduleStart(afterSuccess = false): void {
    if (
      this.#closed ||
      this.#fatal !== undefined ||
      this.#pinRefused !== undefined ||
      this.#starting !== undefined ||
      this.#cancelStart !== undefined
    )
      return;
    if (this.#ready.size >= this.#options.processes) return;
    const delayMs = afterSuccess
      ? 0
      : respawnDelayMs(this.#failures, this.#options.random.uniform());
    this.#cancelStart = this.#options.clock.after(delayMs, () => {
      this.#cancelStart = undefined;
      if (this.#closed || this.#fatal !== undefined || this.#pinRefused !== undefined) return;
      this.#respawns++;
      void this.#start(this.#forkMember()).then((error) =>
        this.#scheduleStart(error === undefined),
      );
    });
  }

  /**
   * Probes idle signers, so that a lost token is noticed and recovery begins before the next
   * request.
   */
  #scheduleProbe(): void {
    if (this.#closed || this.#fatal !== undefined) return;
    const { clock, probeIntervalMs } = this.#options;
    this.#cancelProbe = clock.after(probeIntervalMs / 2, () => {
      const nowMs = clock.monotonicMs();
      for (const link of this.ready) {
        // A failed probe ends the link, which is reported to #died.
        if (link.idle && nowMs - link.lastActiveMs >= probeIntervalMs) link.probe().catch(() => {});
      }
      this.#scheduleProbe();
    });
  }

  #update(): void {
    const status = signersStatus({
      closed: this.#closed,
      fatal:
        this.#fatal !== undefined || (this.#pinRefused !== undefined && this.#ready.size === 0),
      started: this.#started,
      signers: this.#options.processes,
      signersReady: this.#ready.size,
    });
    if (status === 'ready') this.#failure = undefined;
    if (status === this.#status) return;
    this.#status = status;
    this.#owner.statusChanged();
  }
}

const textOf = ({ code, message }: PkiError): string => `${code}: ${message}`;
