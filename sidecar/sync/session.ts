import { PkiError } from '../../src/common/errors/index.ts';
import {
  errorFields,
  type Clock,
  type Logger,
  type Random,
} from '../../src/common/runtime/index.ts';
import type { AuthoritiesUpdate__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AuthoritiesUpdate.ts';
import type { SignJwtSvidRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidRequest.ts';
import type { SignJwtSvidResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidResponse.ts';
import type { SignX509SvidsRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import type { SyncWelcome__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SyncWelcome.ts';
import type { BundleStore } from '../bundle/index.ts';
import type { ClientIdentity, IssuerConnection } from '../issuer-client/index.ts';
import { attestsAgain, type AgentIdentity } from '../node-attestation/index.ts';
import { backoffMs, reconnectCapMs, retryDelayMs } from '../schedule/index.ts';
import type { LostState } from '../state/index.ts';
import { acrossHandOver } from './hand-over.ts';
import type { Consumers } from './consumers.ts';
import type { EntriesReceiver } from './entries-receiver.ts';
import type { HandshakeCounts } from './handshakes.ts';
import type { Replacements } from './replacements.ts';
import { SyncStream, type SyncStreamDependencies } from './stream.ts';
import type { VantagePoint } from '../vantage/index.ts';
import type { TargetReports } from './targets.ts';

export interface SessionDependencies {
  readonly identity: AgentIdentity;
  readonly connect: (as: ClientIdentity, signal: AbortSignal) => Promise<IssuerConnection>;
  readonly bundles: BundleStore;
  readonly receiver: EntriesReceiver;
  readonly consumers: Consumers;
  readonly replacements: Replacements;
  readonly handshakes: HandshakeCounts;
  readonly targets: TargetReports;
  readonly vantage: VantagePoint;
  readonly checkpoints: { readonly note: string; keep(note: string): Promise<boolean> };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly agentVersion: string;
  /** Random, of this process, and never kept. */
  readonly instanceId: string;
  readonly lostState: Pick<LostState, 'list' | 'told'>;
  /** Of what is in use now; 0: nothing is. */
  readonly survivedOutageSeconds: () => number;
  /** Serial of the own SVID that a restart would begin with; undefined: none is on the disk. */
  readonly keptSerial: () => string | undefined;
  readonly reconnect: { readonly baseMs: number; readonly capMs: number };
  /** Until the first SVID in use expires; undefined while none is held. */
  readonly soonestExpirySeconds: () => number | undefined;
  /** Of the SVIDs in use, and of those that somebody waits for; undefined: not known. */
  readonly shortestLifeSeconds: () => number | undefined;
  readonly onEntries: () => void;
  readonly onTainted: SyncStreamDependencies['onTainted'];
  readonly onAuthorities: (update: AuthoritiesUpdate__Output) => void;
  /** Own SVID renewed (true) or an attempt failed (false). */
  readonly onRenewal: (succeeded: boolean) => void;
}

export interface SessionStatus {
  readonly connected: boolean;
  readonly lastError: PkiError | undefined;
  /** The server has ended this agent's right to anything new. */
  readonly barred: PkiError | undefined;
  readonly clockSkewSeconds: number;
  readonly serverVersion: string;
  readonly lastContactMonotonicMs: number | undefined;
}

/** From here on a difference of the clocks of node and server is told. */
export const noticedSkewSeconds = 60;

/** Refusals that an administrator must undo: asking often is of no use. */
const barring: ReadonlySet<string> = new Set(['AGENT_BANNED', 'AGENT_EVICTED']);
const slowRetry = { baseMs: 60_000, capMs: 300_000 };
/** How long the own SVID may wait for its timer: bounds how late a suspend is noticed. */
const maximumRenewalSleepMs = 30_000;

/**
 * The agent's one session with the server: keeps a valid SVID, a verified connection made with it,
 * and the sync stream; reconnects for ever with spread backoff. Owner of the connection. `run` ends
 * only by its signal.
 */
export class IssuerSession {
  readonly #dependencies: SessionDependencies;
  #connection: IssuerConnection | undefined;
  #stream: SyncStream | undefined;
  #next: IssuerConnection | undefined;
  #welcomed = false;
  /** The session that ended, or that did not come about, had been welcomed. */
  #hadSession = false;
  #lastError: PkiError | undefined;
  #barred: PkiError | undefined;
  #skewSeconds = 0;
  #serverVersion = '';
  #lastContact: number | undefined;
  #failures = 0;
  /**
   * Of the own SVID before the present one, until a connection stands that was made with the new
   * one.
   */
  #replacedSerial: string | undefined;
  /** Aborted and replaced when the plan for the own SVID changes. */
  #planned = new AbortController();
  readonly #listeners = new Set<() => void>();

  constructor(dependencies: SessionDependencies) {
    this.#dependencies = dependencies;
  }

  status(): SessionStatus {
    return {
      connected: this.#welcomed,
      lastError: this.#lastError,
      barred: this.#barred,
      clockSkewSeconds: this.#skewSeconds,
      serverVersion: this.#serverVersion,
      lastContactMonotonicMs: this.#welcomed
        ? this.#dependencies.clock.monotonicMs()
        : this.#lastContact,
    };
  }

  connected(): boolean {
    return this.#welcomed;
  }

  /** Called when the state of the connection changes. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The own SVID is to be renewed at another time than was planned. */
  replan(): void {
    this.#planned.abort();
    this.#planned = new AbortController();
  }

  /** A consumer or replacement waits to be reported. */
  reportSoon(): void {
    this.#stream?.flushSoon();
  }

  /** Throws UNREACHABLE, or the reason why nothing new is given to this agent. */
  signX509Svids(request: SignX509SvidsRequest): Promise<SignX509SvidsResponse__Output> {
    return this.#call((connection) => connection.signX509Svids(request));
  }

  signJwtSvid(request: SignJwtSvidRequest): Promise<SignJwtSvidResponse__Output> {
    return this.#call((connection) => connection.signJwtSvid(request));
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#once(signal);
      } catch (thrown) {
        if (signal.aborted) break;
        await this.#failed(PkiError.from(thrown), signal);
      }
    }
    this.#drop();
    this.#next?.close();
  }

  async #once(signal: AbortSignal): Promise<void> {
    this.#hadSession = false;
    const { identity, connect, lostState } = this.#dependencies;
    let connection = this.#next;
    this.#next = undefined;
    if (connection === undefined) {
      await identity.ensure(signal);
      const as = identity.clientIdentity();
      if (as === undefined) throw new PkiError('UNAUTHENTICATED', 'the agent has no valid SVID');
      connection = await connect(as, signal);
    }
    const lost = lostState.list();
    const stream = new SyncStream({
      ...this.#dependencies,
      connection,
      agentId: identity.spiffeId?.toString() ?? '',
      onWelcome: (welcome) => {
        lostState.told(lost);
        this.#welcome(welcome);
      },
      onRenewNow: () => {
        identity.pullForward(0);
        this.replan();
      },
    });
    this.#connection = connection;
    this.#stream = stream;
    const over = new AbortController();
    const onAbort = (): void => stream.end();
    signal.addEventListener('abort', onAbort, { once: true });
    const renewals = this.#keepRenewed(connection, stream, AbortSignal.any([signal, over.signal]));
    try {
      await stream.ended;
    } finally {
      signal.removeEventListener('abort', onAbort);
      over.abort();
      await renewals;
      // with the next connection at hand, calls go on over it while the old one finishes its own
      if (this.#next === undefined) this.#drop();
      else connection.close();
    }
  }

  /**
   * Renews the own SVID while the stream lives; then opens the next connection with it and ends the
   * stream. Never throws.
   */
  async #keepRenewed(
    connection: IssuerConnection,
    stream: SyncStream,
    signal: AbortSignal,
  ): Promise<void> {
    let attempt = 0;
    let renewed = false;
    while (!signal.aborted) {
      try {
        if (!renewed) {
          if (await this.#slept(signal)) continue;
          await this.#renew(connection);
          renewed = true;
          attempt = 0;
        }
        await this.#connectAnew(signal);
        stream.end();
        return;
      } catch (thrown) {
        if (signal.aborted) return;
        await this.#renewalFailed(PkiError.from(thrown), { renewed, attempt, signal });
        attempt += 1;
      }
    }
  }

  /** False: the own SVID is due for renewal now. */
  async #slept(signal: AbortSignal): Promise<boolean> {
    const { identity, clock } = this.#dependencies;
    const waitMs = identity.renewAtMonotonicMs - clock.monotonicMs();
    if (waitMs <= 0) return false;
    const either = AbortSignal.any([signal, this.#planned.signal]);
    await clock.sleep(Math.min(waitMs, maximumRenewalSleepMs), { signal: either }).catch(() => {});
    return true;
  }

  async #renew(connection: IssuerConnection): Promise<void> {
    const { identity, logger, onRenewal } = this.#dependencies;
    const before = identity.credential?.serial;
    await identity.renew(connection);
    this.#replacedSerial = before;
    onRenewal(true);
    logger.info(
      { spiffeId: identity.spiffeId?.toString(), serial: identity.credential?.serial },
      'the SVID of this agent is renewed',
    );
  }

  async #connectAnew(signal: AbortSignal): Promise<void> {
    const as = this.#dependencies.identity.clientIdentity();
    if (as === undefined)
      throw new PkiError('CERTIFICATE_EXPIRED', 'the renewed SVID is not valid');
    this.#next = await this.#dependencies.connect(as, signal);
  }

  async #renewalFailed(
    error: PkiError,
    {
      renewed,
      attempt,
      signal,
    }: { readonly renewed: boolean; readonly attempt: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const { identity, clock, random, logger, onRenewal } = this.#dependencies;
    if (!renewed) onRenewal(false);
    this.#lastError = error;
    logger.warn(
      { ...errorFields(error) },
      renewed
        ? 'no connection could be made with the renewed SVID'
        : 'the SVID of this agent could not be renewed',
    );
    const { lifetimeSeconds = 3600, notAfter = 0 } = identity.credential ?? {};
    const remainingMs = Math.max(2000, (notAfter - clock.now()) * 1000);
    const delayMs = retryDelayMs(attempt, random.uniform(), lifetimeSeconds, remainingMs);
    await clock.sleep(delayMs, { signal }).catch(() => {});
  }

  #welcome(welcome: SyncWelcome__Output): void {
    const { clock, logger } = this.#dependencies;
    this.#failures = 0;
    this.#welcomed = true;
    this.#hadSession = true;
    if (this.#replacedSerial !== undefined)
      this.#dependencies.replacements.confirmed(this.#replacedSerial);
    this.#replacedSerial = undefined;
    this.#lastError = undefined;
    this.#barred = undefined;
    this.#serverVersion = welcome.serverVersion;
    this.#skewSeconds = clock.now() - welcome.serverTime;
    if (Math.abs(this.#skewSeconds) > noticedSkewSeconds)
      logger.warn(
        { skewSeconds: this.#skewSeconds },
        'the clocks of this node and of the server differ: compare both, and set the wrong one right',
      );
    logger.info(
      { serverVersion: welcome.serverVersion, epoch: welcome.epoch },
      'connected to the server',
    );
    this.#announce();
  }

  async #failed(error: PkiError, signal: AbortSignal): Promise<void> {
    const { clock, random, reconnect, identity, logger } = this.#dependencies;
    this.#drop();
    this.#lastError = error;
    const barredBefore = this.#barred !== undefined;
    if (barring.has(error.code)) this.#barred = error;
    if (attestsAgain.has(error.code)) identity.reject('attest-again');
    else if (error.code === 'CERTIFICATE_UNKNOWN') identity.reject('unknown');
    else if (error.code === 'CERTIFICATE_EXPIRED') identity.reject('expired');
    // a session that another one displaced says nothing of the SVID: the next hello tells
    const superseded =
      error.code === 'AGENT_SUPERSEDED' && !this.#hadSession && identity.reject('superseded');
    // after an eviction the node may prove itself anew at once; if that is refused as well, only
    // slowly
    const slow =
      error.code === 'AGENT_BANNED' ||
      error.code === 'AGENT_DOUBLED' ||
      (error.code === 'AGENT_SUPERSEDED' && !superseded && !this.#hadSession) ||
      error.code === 'JOIN_TOKEN_INVALID' ||
      (this.#barred !== undefined && barredBefore);
    const delayMs = backoffMs(
      this.#failures,
      random.uniform(),
      slow
        ? slowRetry
        : {
            ...reconnect,
            capMs: reconnectCapMs(
              reconnect.capMs,
              this.#dependencies.soonestExpirySeconds(),
              this.#dependencies.shortestLifeSeconds(),
            ),
          },
    );
    this.#failures += 1;
    logger.warn(
      { ...errorFields(error), retryInMs: Math.round(delayMs) },
      'no session with the server',
    );
    this.#announce();
    await clock.sleep(delayMs, { signal }).catch(() => {});
  }

  async #call<T>(act: (connection: IssuerConnection) => Promise<T>): Promise<T> {
    if (this.#barred !== undefined) throw this.#barred;
    if (this.#connection === undefined || !this.#welcomed)
      throw new PkiError(
        'UNREACHABLE',
        'the agent has no connection to the server at the moment',
        this.#lastError === undefined ? {} : { cause: this.#lastError },
      );
    try {
      return await acrossHandOver(this.#connection, () => this.#connection, act);
    } catch (thrown) {
      const error = PkiError.from(thrown);
      if (barring.has(error.code)) {
        this.#barred = error;
        this.#lastError = error;
        this.#announce();
      }
      throw error;
    }
  }

  #drop(): void {
    const was = this.#welcomed;
    this.#connection?.close();
    this.#connection = undefined;
    this.#stream = undefined;
    this.#welcomed = false;
    if (was) {
      this.#lastContact = this.#dependencies.clock.monotonicMs();
      this.#announce();
    }
  }

  #announce(): void {
    for (const listener of this.#listeners) listener();
  }
}
