import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import type { DeliveryContext, DeliveryEvent } from '../../../../sidecar/files/delivery-event.ts';
import {
  currentOf,
  emptyRecord,
  type DeliveredSet,
  type DeliveryRecord,
  type DeliveryStep,
} from '../../../../sidecar/files/delivery-record.ts';
import { next } from '../../../../sidecar/files/delivery-transitions.ts';
import { deliveredSet, deliveryContext } from '../../../support/delivery.ts';
import { seeded } from '../../../support/seeded.ts';

/** A disk and a server, to which steps are done as the drivers and the directory do them. */
class World {
  readonly sets = new Map<string, DeliveredSet>();
  readonly checked = new Set<string>();
  current: string | undefined;
  /** What the server presents. */
  loaded: string | undefined;
  now = 1_800_000_000;
  #count = 0;
  readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  /** Does a step; with faults it fails, with or without an effect. */
  run(step: DeliveryStep, record: DeliveryRecord, faulty: boolean): DeliveryEvent {
    const fails = faulty && this.random() < 0.4;
    const half = this.random() < 0.5;
    const codes: readonly ErrorCode[] = ['DRIVER_REFUSED', 'DRIVER_FAILED', 'DRIVER_TIMEOUT'];
    const failure = (code: ErrorCode = 'INTERNAL'): DeliveryEvent => ({
      kind: 'failed',
      error: new PkiError(code, step),
    });
    const driverFailure = (): DeliveryEvent =>
      failure(codes[Math.floor(this.random() * codes.length)]);
    const candidate = record.candidate as DeliveredSet;
    switch (step) {
      case 'lease': {
        if (fails) return failure('UNREACHABLE');
        this.#count += 1;
        const set = deliveredSet(this.#count);
        this.sets.set(set.name, set);
        return { kind: 'leased', set };
      }
      case 'check':
        if (fails) return failure('SVID_INVALID');
        this.checked.add(candidate.name);
        return { kind: 'checked' };
      case 'offer':
        return fails ? driverFailure() : { kind: 'offered' };
      case 'swap':
        assert.ok(this.checked.has(candidate.name), 'only a checked set is swapped in');
        if (!fails || half) this.current = candidate.name;
        return fails ? failure() : { kind: 'swapped' };
      case 'apply': {
        const event = fails ? driverFailure() : undefined;
        const refused = event?.kind === 'failed' && event.error.code === 'DRIVER_REFUSED';
        if (event === undefined || (half && !refused)) this.loaded = this.current;
        return event ?? { kind: 'applied', trusted: half };
      }
      case 'verify':
        return fails ? driverFailure() : { kind: 'verified', trusted: false };
      case 'prove':
        return fails || this.loaded !== candidate.name
          ? failure('UNREACHABLE')
          : { kind: 'shown', trusted: false };
      case 'swap-back':
        if (!fails || half) this.current = record.served?.name;
        return fails ? failure() : { kind: 'swapped-back' };
      case 'driver-back':
        if (!fails || half) this.loaded = this.current;
        return fails ? driverFailure() : { kind: 'driver-back' };
      case 'prove-back':
        return fails || this.loaded !== record.served?.name
          ? failure('UNREACHABLE')
          : { kind: 'shown-back', trusted: false };
    }
  }

  remove(set: DeliveredSet): DeliveryEvent {
    assert.notEqual(set.name, this.current, 'what is served is never removed');
    this.sets.delete(set.name);
    return { kind: 'removed', set };
  }
}

/** What holds at every instant. */
function assertSound(world: World, record: DeliveryRecord, everServed: boolean): void {
  const { current } = world;
  if (current !== undefined) {
    assert.ok(world.sets.has(current), 'current names a set that is there');
    assert.ok(world.checked.has(current), 'current names a set that was checked');
  }
  if (everServed) assert.notEqual(current, undefined, 'what was served once is not taken away');
  if (!record.swapped)
    assert.equal(current, record.served?.name, 'the record knows what current names');
  else assert.ok([record.served?.name, record.candidate?.name].includes(current));
  for (const { set } of record.retired) {
    assert.notEqual(set.name, record.served?.name);
    assert.notEqual(set.name, record.candidate?.name);
  }
  const names = record.retired.map(({ set }) => set.name);
  assert.equal(new Set(names).size, names.length, 'no set is removed twice');
}

/** One history of faults, crashes, operators and time, after which everything works again. */
class History {
  readonly #random: () => number;
  readonly #world: World;
  readonly #context: Partial<DeliveryContext>;
  #record: DeliveryRecord;
  #proven = false;

  constructor(seed: number, context: Partial<DeliveryContext>) {
    this.#random = seeded(seed);
    this.#world = new World(this.#random);
    this.#context = context;
    this.#record = emptyRecord(this.#world.now);
  }

  live(): void {
    for (let turn = 0; turn < 60; turn += 1) {
      this.#passTime();
      this.#operate();
      this.#steps(true);
    }
    for (let turn = 0; turn < 5; turn += 1) {
      this.#take({ kind: 'due', stageOnly: false });
      this.#steps(false);
      this.#take({ kind: 'promoted' });
      this.#steps(false);
    }
    const { current, loaded, sets } = this.#world;
    assert.equal(this.#record.outcome, 'proven');
    assert.equal(current, currentOf(this.#record)?.name);
    assert.equal(loaded, current);
    const newest = Math.max(...[...sets.values()].map((set) => set.number));
    assert.equal(this.#record.served?.number, newest);
  }

  #take(event: DeliveryEvent): void {
    const before = this.#record;
    const context = deliveryContext({ ...this.#context, now: this.#world.now });
    const record = next(before, event, context);
    this.#record = record;
    if (record.outcome === 'proven' && before.outcome !== 'proven' && record.step === 'rest')
      assert.equal(this.#world.loaded, record.served?.name, 'proven is what the server presents');
    this.#proven ||= record.outcome === 'proven' && record.step === 'rest';
    assertSound(this.#world, record, this.#proven);
  }

  #steps(faulty: boolean): void {
    for (let count = 0; this.#record.step !== 'rest'; count += 1) {
      assert.ok(count < 100, 'a delivery comes to rest');
      const event = this.#world.run(this.#record.step, this.#record, faulty);
      // the process dies after the effect, before it knew
      if (faulty && this.#random() < 0.1) this.#take({ kind: 'restarted' });
      else this.#take(event);
    }
  }

  #passTime(): void {
    const world = this.#world;
    world.now += Math.floor(this.#random() * 400);
    const due = this.#record.retired.filter(({ removeAt }) => removeAt <= world.now);
    for (const { set } of due) this.#take(world.remove(set));
  }

  #operate(): void {
    const choice = this.#random();
    if (choice < 0.4) this.#take({ kind: 'due', stageOnly: this.#random() < 0.2 });
    else if (choice < 0.7) this.#take({ kind: 'retry' });
    else if (choice < 0.85) this.#take({ kind: 'promoted' });
    else this.#rollBack();
  }

  #rollBack(): void {
    const { retired, served, swapped, resume } = this.#record;
    const to = retired.at(-1)?.set;
    const fits =
      to !== undefined &&
      served !== undefined &&
      to.number < served.number &&
      this.#world.checked.has(to.name) &&
      !swapped &&
      resume === undefined;
    if (fits) this.#take({ kind: 'rolled-back-by-hand', to });
  }
}

for (const context of [
  {},
  { promote: 'by hand' as const },
  { inRollout: true },
  { graceSeconds: 0 },
])
  test(`over 500 random histories what is served is whole and checked: ${JSON.stringify(context)}`, () => {
    for (let seed = 1; seed <= 500; seed += 1) new History(seed, context).live();
  });
