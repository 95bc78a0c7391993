import { fail, ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { Prober } from '../probe/prober.ts';
import type { SetDirectory, StoredSet } from './certificate-set.ts';
import type { DeliveryEvent } from './delivery-event.ts';
import type { DeliveryLease, Leased } from './delivery-lease.ts';
import type { DeliveredSet, DeliveryRecord, DeliveryStep } from './delivery-record.ts';
import type { Driver, DriverCall } from './driver.ts';
import { filesOf } from './set-files.ts';
import type { FileTarget } from './target.ts';

export interface DeliveryStepsDependencies {
  readonly target: FileTarget;
  readonly sets: SetDirectory;
  readonly driver: Driver;
  readonly prober: Prober;
  readonly lease: Pick<DeliveryLease, 'obtain' | 'fits'>;
  /** Offline: whether the set may be served, and ends later than the one that it only renews. */
  readonly check: (set: StoredSet, previous: StoredSet | undefined) => Promise<Result<void>>;
  readonly clock: Clock;
}

/**
 * What a driver may take beyond its own limit before it is given up: programs that ignore SIGTERM,
 * and the one that gets the OCSP answer.
 */
const driverGraceMs = 25_000;

/** Runs single steps of one target. Keeps a certificate that could not be written. */
export class DeliverySteps {
  readonly #dependencies: DeliveryStepsDependencies;
  readonly #files: Readonly<Record<string, string>>;
  #unwritten: Leased | undefined;

  constructor(dependencies: DeliveryStepsDependencies) {
    this.#dependencies = dependencies;
    this.#files = filesOf(dependencies.target.layout);
  }

  /** Never rejects. */
  async run(
    step: DeliveryStep,
    record: DeliveryRecord,
    signal: AbortSignal,
  ): Promise<DeliveryEvent> {
    try {
      const event = await this.#run(step, record, signal);
      return event.ok ? event.value : { kind: 'failed', error: event.error };
    } catch (thrown) {
      return { kind: 'failed', error: PkiError.from(thrown) };
    }
  }

  /** Whether every listener shows this set. `before`: what they showed until now. */
  async prove(
    set: DeliveredSet,
    signal: AbortSignal,
    before?: DeliveredSet,
  ): Promise<Result<boolean>> {
    const { prober, target } = this.#dependencies;
    const proof = await prober.prove(
      {
        listeners: target.listeners,
        serial: set.serial,
        leafSha256: set.leafSha256,
        leafSha256Before: before?.leafSha256,
        rootNamesDer: set.rootNames.map((name) => Buffer.from(name, 'hex')),
        handshakes: target.proof.handshakes,
        timeoutMs: target.proof.timeoutSeconds * 1000,
      },
      signal,
    );
    // a listener that asks for no names shows nothing, if no names are known
    return proof.ok ? ok(proof.value.trust === 'shown' && set.rootNames.length > 0) : proof;
  }

  /** Removes a set that is not served. Never rejects. */
  async remove(
    set: DeliveredSet,
    record: DeliveryRecord,
    signal: AbortSignal,
  ): Promise<DeliveryEvent> {
    const { driver, sets } = this.#dependencies;
    try {
      const told = await this.#bounded(
        (bound) => driver.remove(this.#call(set, record.served), bound),
        signal,
      );
      if (!told.ok) return { kind: 'not-removed', set, error: told.error };
      const stored = (await sets.list()).find(({ name }) => name === set.name);
      const removed = stored === undefined ? ok(undefined) : await sets.remove(stored);
      return removed.ok
        ? { kind: 'removed', set }
        : { kind: 'not-removed', set, error: removed.error };
    } catch (thrown) {
      return { kind: 'not-removed', set, error: PkiError.from(thrown) };
    }
  }

  async #run(
    step: DeliveryStep,
    record: DeliveryRecord,
    signal: AbortSignal,
  ): Promise<Result<DeliveryEvent>> {
    const { driver, sets, check } = this.#dependencies;
    const { served } = record;
    if (step === 'lease') return this.#lease(record);
    if (step === 'swap-back') {
      const back = await this.#swapBack(served);
      return back.ok ? ok({ kind: 'swapped-back' }) : back;
    }
    if (step === 'prove-back') {
      if (served === undefined) return ok({ kind: 'shown-back', trusted: false });
      const shown = await this.prove(served, signal);
      return shown.ok ? ok({ kind: 'shown-back', trusted: shown.value }) : shown;
    }
    const set = record.candidate ?? served;
    if (set === undefined) return fail('INTERNAL', `the step ${step} has no set`);
    const call = this.#call(set, served?.name === set.name ? undefined : served);
    switch (step) {
      case 'check': {
        const checked = await check(set, renews(set, served) ? served : undefined);
        return checked.ok ? ok({ kind: 'checked' }) : checked;
      }
      case 'offer': {
        const offered = await this.#bounded((bound) => driver.stage(call, bound), signal);
        return offered.ok ? ok({ kind: 'offered' }) : offered;
      }
      case 'swap': {
        const swapped = await sets.swap(set);
        return swapped.ok ? ok({ kind: 'swapped' }) : swapped;
      }
      case 'apply': {
        const applied = await this.#bounded((bound) => driver.apply(call, bound), signal);
        return applied.ok
          ? ok({ kind: 'applied', trusted: applied.value.trust === 'loaded' })
          : applied;
      }
      case 'verify': {
        const verified = await this.#bounded((bound) => driver.verify(call, bound), signal);
        return verified.ok
          ? ok({ kind: 'verified', trusted: verified.value.trust === 'loaded' })
          : verified;
      }
      case 'prove': {
        const shown = await this.prove(set, signal, call.previous && served);
        return shown.ok ? ok({ kind: 'shown', trusted: shown.value }) : shown;
      }
      case 'driver-back': {
        const told = await this.#bounded((bound) => driver.rollback(call, bound), signal);
        return told.ok ? ok({ kind: 'driver-back' }) : told;
      }
    }
  }

  async #lease({ served, candidate, swapped }: DeliveryRecord): Promise<Result<DeliveryEvent>> {
    const { lease, sets } = this.#dependencies;
    const before = swapped ? candidate : served;
    const leased =
      this.#unwritten === undefined || !lease.fits(this.#unwritten)
        ? await lease.obtain(before?.serial ?? '')
        : ok(this.#unwritten);
    if (!leased.ok) return leased;
    const { content, facts } = leased.value;
    this.#unwritten = leased.value;
    const stored = await sets.write(content);
    if (!stored.ok) return stored;
    this.#unwritten = undefined;
    return ok({ kind: 'leased', set: { ...stored.value, ...facts } });
  }

  async #swapBack(served: DeliveredSet | undefined): Promise<Result<void>> {
    const { sets } = this.#dependencies;
    // where nothing was swapped, nothing need be written on a disk that may be full
    if ((await sets.current())?.name === served?.name) return ok(undefined);
    return served === undefined ? sets.unlink() : sets.swap(served);
  }

  #call(set: StoredSet, previous: StoredSet | undefined): DriverCall {
    const { name, directory } = this.#dependencies.target;
    return { target: name, directory, set, previous, files: this.#files };
  }

  /** A driver keeps its own limit; one that does not is given up. */
  #bounded<T>(
    run: (signal: AbortSignal) => Promise<Result<T>>,
    signal: AbortSignal,
  ): Promise<Result<T>> {
    const { target, clock } = this.#dependencies;
    const limit = new AbortController();
    const { type } = target.driver;
    return new Promise((resolve) => {
      const interrupt = (): void =>
        resolve(
          fail('DRIVER_FAILED', `the ${type} driver of target ${target.name} is interrupted`),
        );
      signal.addEventListener('abort', interrupt, { once: true });
      const cancel = clock.after(target.driver.timeoutSeconds * 1000 + driverGraceMs, () => {
        limit.abort();
        resolve(fail('DRIVER_TIMEOUT', `the ${type} driver of target ${target.name} does not end`));
      });
      void run(AbortSignal.any([signal, limit.signal]))
        .catch(
          (thrown: unknown): Result<T> => ({
            ok: false,
            error: PkiError.from(thrown, 'DRIVER_FAILED'),
          }),
        )
        .then((result) => {
          cancel();
          signal.removeEventListener('abort', interrupt);
          resolve(result);
        });
    });
  }
}

/**
 * Whether a set only renews another, so that it must end later. After a change of entry, roots or
 * authority it may end earlier, and is wanted all the same.
 */
const renews = (set: DeliveredSet, served: DeliveredSet | undefined): boolean =>
  served !== undefined &&
  served.name !== set.name &&
  served.entryId === set.entryId &&
  served.entryRevision === set.entryRevision &&
  served.authorityId === set.authorityId &&
  served.authoritySetDigest === set.authoritySetDigest &&
  served.federatedDigest === set.federatedDigest;
