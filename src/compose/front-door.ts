import { PkiError } from '../common/errors/index.ts';
import { hasEnded, hasOwnKey, type ClockStanding } from '../domain/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import { issuerNotBegun, type Authorities } from '../issuance/index.ts';
import type { Listening } from '../server/index.ts';
import type { SigningGate } from './signing-gate.ts';

export interface FrontDoorDependencies {
  readonly authorities: Pick<Authorities, 'issuing' | 'rootOf' | 'onChange'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Obtains the server's certificate. Called again after a failure. */
  readonly certify: () => Promise<void>;
  /** Opens the port. Called when there is a certificate, and again after a failure. */
  readonly open: () => Promise<Listening>;
  readonly opened: () => void;
  /** While the gate is closed, the server can not get a certificate. */
  readonly gate: Pick<SigningGate, 'isOpen' | 'refusal' | 'onChange'>;
  /** The source of intermediates. It selects the advice while there is none. */
  readonly advice: 'hsm' | 'external' | 'upstream';
  /** While the clock is not believed, nothing is made, whatever an operator rotates. */
  readonly clockStanding: () => ClockStanding;
  /** Why the upstream signed no intermediate, if it was asked. */
  readonly failure: () => PkiError | undefined;
}

const retryMs = { first: 1_000, longest: 60_000 };

const next = {
  hsm: 'see "meshca authority list"',
  external:
    'run "meshca authority csr --kind issuing", have the CSR signed, then "meshca authority import ID --chain FILE"',
  upstream:
    'the server asks the upstream again automatically; "meshca authority request" asks at once',
} as const;

const acceptClock =
  'the wall clock is not believed: if it is right, run "meshca authority accept-clock --reason TEXT" first; ';
const rotate = (kind: 'root' | 'issuing'): string =>
  `run "meshca authority rotate --kind ${kind}${kind === 'root' ? ' --force --reason TEXT' : ''}"`;

/**
 * Why nothing is signed before the begin of the signing authority, or since the end of it or its
 * root; otherwise undefined.
 */
function outOfTime({
  authorities,
  clock,
  advice,
  clockStanding,
}: Pick<FrontDoorDependencies, 'authorities' | 'clock' | 'advice' | 'clockStanding'>):
  | string
  | undefined {
  const now = clock.now();
  const issuer = authorities.issuing();
  if (issuer === undefined) return undefined;
  if (now < issuer.notBefore) {
    const { code, message, next: advised } = issuerNotBegun(issuer, now);
    return `${code}: ${message}, and nothing is signed; ${advised}`;
  }
  if (!hasEnded(issuer, now)) return undefined;
  const root = authorities.rootOf(issuer.id);
  const over = root !== undefined && hasEnded(root, now) ? root : issuer;
  const command =
    over.kind === 'root' && hasOwnKey(over)
      ? rotate('root')
      : advice === 'hsm'
        ? rotate('issuing')
        : next[advice];
  return (
    `ISSUER_ENDED: the ${over.kind} authority ${over.id} ended at ` +
    `${new Date(over.notAfter * 1000).toISOString()}, and nothing is signed; ` +
    `${clockStanding() === 'believed' ? '' : acceptClock}${command}`
  );
}

/**
 * The TLS port. It opens once, when there is an issuing authority for the server's own certificate:
 * at the start or later. Until then the server is not ready and reports why. Owner of the listener.
 */
export class FrontDoor {
  readonly #dependencies: FrontDoorDependencies;
  #listening: Listening | undefined;
  #opening: Promise<void> | undefined;
  #stopListening: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;
  #certified = false;
  #failure: PkiError | undefined;
  #retryMs = retryMs.first;
  #closed = false;

  constructor(dependencies: FrontDoorDependencies) {
    this.#dependencies = dependencies;
  }

  get port(): number {
    return this.#listening?.port ?? 0;
  }

  reason(): string | undefined {
    const { authorities, advice, failure, gate } = this.#dependencies;
    const refusal = gate.refusal();
    if (refusal !== undefined && this.#listening === undefined)
      return `${refusal.code}: the TLS port is not open`;
    if (authorities.issuing() === undefined) {
      const why = failure();
      return (
        'NO_ISSUER: no issuing authority is ' +
        `active${why === undefined ? '' : ` (${why.code}: ${why.message})`}; ${next[advice]}`
      );
    }
    const ended = outOfTime(this.#dependencies);
    if (ended !== undefined) return ended;
    if (this.#listening !== undefined) return undefined;
    const error = this.#failure;
    return error === undefined
      ? 'STARTING_UP: the TLS port is not open yet'
      : `${error.code}: the server has no certificate of its own, so the TLS port is not open: ${error.message}`;
  }

  /**
   * Opens now. Without an issuer for the server's certificate it waits in the background, so that
   * an operator can repair that.
   *
   * @throws the error of the port, if the server can not listen on it
   */
  async start(): Promise<void> {
    const { authorities, logger, gate } = this.#dependencies;
    if (authorities.issuing() !== undefined && gate.isOpen && (await this.#certify())) {
      await this.#open();
      return;
    }
    logger.warn(
      { reason: this.reason(), alert: true },
      'the server can not issue certificates yet: only administration is possible',
    );
    const stops = [
      authorities.onChange(() => this.#openLater()),
      gate.onChange(() => this.#openLater()),
    ];
    this.#stopListening = () => stops.forEach((stop) => stop());
    this.#openLater();
  }

  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    this.#stopListening?.();
    this.#cancelRetry?.();
    await this.#opening?.catch(() => {});
    await this.#listening?.close(graceMs);
  }

  /** Called when a missing part may have come: tries at once. */
  poke(): void {
    if (this.#stopListening === undefined || this.#listening !== undefined) return;
    this.#retryMs = retryMs.first;
    this.#openLater();
  }

  #openLater(): void {
    const { authorities, gate, clock, logger } = this.#dependencies;
    this.#cancelRetry?.();
    if (
      this.#closed ||
      this.#opening !== undefined ||
      this.#listening !== undefined ||
      !gate.isOpen ||
      authorities.issuing() === undefined
    )
      return;
    this.#opening = this.#open()
      .then(
        () => this.#stopListening?.(),
        (thrown: unknown) => {
          const error = PkiError.from(thrown);
          logger.error(
            { ...errorFields(error), retryMs: this.#retryMs },
            'the TLS port could not be opened; trying again',
          );
          this.#cancelRetry = clock.after(this.#retryMs, () => this.#openLater());
          this.#retryMs = Math.min(this.#retryMs * 2, retryMs.longest);
        },
      )
      .finally(() => {
        this.#opening = undefined;
      });
  }

  async #certify(): Promise<boolean> {
    if (this.#certified) return true;
    try {
      await this.#dependencies.certify();
      this.#certified = true;
      this.#failure = undefined;
    } catch (thrown) {
      this.#failure = PkiError.from(thrown);
    }
    return this.#certified;
  }

  async #open(): Promise<void> {
    const { open, opened, logger } = this.#dependencies;
    if (!(await this.#certify())) throw this.#failure as PkiError;
    this.#listening = await open();
    logger.info({ port: this.#listening.port }, 'the TLS port is open');
    opened();
  }
}
