import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger, type Random } from '../../common/runtime/index.ts';
import type { CrlStanding } from '../../domain/index.ts';
import type { UpstreamAuthority } from './upstream-authority.ts';

export interface UpstreamCrlsDependencies {
  readonly upstream: Pick<UpstreamAuthority, 'crls' | 'renewCrls'>;
  readonly publisher: {
    importExternal(input: {
      readonly actor: string;
      readonly crlDer: Buffer;
    }): Promise<{ readonly authorityIds: readonly string[] }>;
    standings(): readonly CrlStanding[];
  };
  readonly authorities: { onChange(listener: () => void): () => void };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Upper bound, in seconds, until a revocation at the upstream is noticed here. */
  readonly refreshSeconds: number;
}

const afterChangeMs = 200;
const firstRetrySeconds = 2;

/**
 * Fetches and imports the CRLs of the upstream: at the start, when an authority was added or
 * changed, and at intervals. If a CRL ends soon and the upstream has no newer one, it asks for a
 * new one. If it may not ask, it warns the operator. Owner of the timer and of the last failure.
 */
export class UpstreamCrls {
  readonly #dependencies: UpstreamCrlsDependencies;
  readonly #stop: () => void;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #failures = 0;
  #failure: PkiError | undefined;

  constructor(dependencies: UpstreamCrlsDependencies) {
    this.#dependencies = dependencies;
    this.#stop = dependencies.authorities.onChange(() => this.#soon(afterChangeMs));
  }

  /** Why the last round failed; undefined if it succeeded. */
  failure(): PkiError | undefined {
    return this.#failure;
  }

  /** Runs one round, and further ones by timer. Never throws. */
  fetch(): Promise<void> {
    this.#running ??= this.#round().finally(() => {
      this.#running = undefined;
      const { random, refreshSeconds } = this.#dependencies;
      const seconds =
        this.#failure === undefined
          ? refreshSeconds
          : Math.min(refreshSeconds, firstRetrySeconds * 2 ** (this.#failures - 1));
      this.#soon(this.#again ? afterChangeMs : seconds * (0.75 + random.uniform() / 2) * 1000);
      this.#again = false;
    });
    return this.#running;
  }

  /** Does not wait for an answer of the upstream. A later answer is ignored. */
  close(): void {
    this.#closed = true;
    this.#stop();
    this.#cancel?.();
  }

  #soon(delayMs: number): void {
    if (this.#closed) return;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#cancel?.();
    this.#cancel = this.#dependencies.clock.after(delayMs, () => void this.fetch());
  }

  async #round(): Promise<void> {
    const { upstream, logger } = this.#dependencies;
    // without an authority of the upstream here, its CRLs belong to nobody
    if (this.#closed || this.#external().length === 0) return;
    try {
      const { of, ended } = await this.#takeIn(await upstream.crls());
      if (
        ended ||
        this.#external().some(
          ({ authorityId, state }) => of.has(authorityId) && state !== 'current',
        )
      )
        await this.#renew();
      this.#failure = undefined;
      this.#failures = 0;
    } catch (thrown) {
      const error = PkiError.from(thrown);
      if (error.code === 'SHUTTING_DOWN') return;
      if (this.#failure?.code !== error.code)
        logger.warn(
          { ...errorFields(error) },
          'the CRLs of the upstream could not be fetched; trying again',
        );
      this.#failure = error;
      this.#failures = Math.min(this.#failures + 1, 16);
    }
  }

  #external(): readonly CrlStanding[] {
    return this.#dependencies.publisher.standings().filter(({ source }) => source === 'external');
  }

  /**
   * Imports the CRLs. Returns the authorities that have a CRL, and whether one of the CRLs has
   * ended. A refused CRL does not affect the others.
   */
  async #takeIn(
    crls: readonly Buffer[],
  ): Promise<{ readonly of: ReadonlySet<string>; readonly ended: boolean }> {
    const { publisher, logger } = this.#dependencies;
    const of = new Set<string>();
    let ended = false;
    for (const crlDer of crls) {
      if (this.#closed) throw new PkiError('SHUTTING_DOWN', 'the server is shutting down');
      try {
        for (const id of (await publisher.importExternal({ actor: 'server', crlDer })).authorityIds)
          of.add(id);
      } catch (thrown) {
        const { code } = PkiError.from(thrown);
        // a CRL of another CA in the same mount
        if (code === 'CRL_ISSUER_UNKNOWN') continue;
        if (code === 'SHUTTING_DOWN' || code === 'DATABASE_STALE') throw thrown;
        ended ||= code === 'CRL_NOT_CURRENT';
        logger.warn({ ...errorFields(thrown) }, 'a CRL of the upstream was refused');
      }
    }
    return { of, ended };
  }

  async #renew(): Promise<void> {
    const { upstream, logger } = this.#dependencies;
    try {
      await upstream.renewCrls();
      await this.#takeIn(await upstream.crls());
    } catch (thrown) {
      const { code } = PkiError.from(thrown);
      if (code === 'SHUTTING_DOWN') return;
      logger.warn(
        {
          ...errorFields(thrown),
          next: 'turn on auto_rebuild at the upstream, or give this server read permission on crl/rotate',
          alert: true,
        },
        'a CRL of the upstream ends soon, and the upstream did not sign a new one',
      );
    }
  }
}
