import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import type {
  FileTargets,
  Rollout,
  SetStatus,
  TargetState,
  TargetStatus,
} from '../../sidecar/ports/file-targets.ts';

/** File targets in memory: sets are names, and whether one is served well is decided by the test. */
export class FakeFileTargets implements FileTargets {
  readonly #targets = new Map<string, TargetStatus>();
  readonly #listeners = new Set<() => void>();
  /** Names of targets whose new sets do not get proven. */
  readonly bad = new Set<string>();
  /** What was asked of it, as `act name`. */
  readonly asked: string[] = [];
  /** A delivery waits for it. */
  gate: Promise<void> = Promise.resolve();
  /** The serial of the next set. */
  nextSerial: () => string = () => (this.#serial++).toString(16).padStart(4, '0');
  #serial = 0xa000;

  /** A target that serves its first set. */
  add(name: string, rollout?: Rollout, waitsFor: 'nothing' | 'hand' = 'nothing'): void {
    this.#hands.set(name, waitsFor === 'hand');
    this.#put({
      ...{ name, driver: 'nginx', reason: '', next: '', spiffeId: 'spiffe://mesh.test/web' },
      ...{ state: 'proven', since: 1_800_000_000, rollout, waitsFor: 'nothing' },
      ...{ directory: `/etc/tls/${name}`, history: [], names: [] },
      sets: [this.#set(1, true)],
    });
  }
  readonly #hands = new Map<string, boolean>();

  remove(name: string): void {
    this.#targets.delete(name);
    this.#changed();
  }

  list = (): readonly TargetStatus[] => [...this.#targets.values()];

  of(name: string): TargetStatus {
    const target = this.#targets.get(name);
    if (target === undefined) throw new Error(`no target ${name}`);
    return target;
  }

  async stage(name: string): Promise<Result<TargetStatus>> {
    this.asked.push(`stage ${name}`);
    const { sets, rollout, ...rest } = this.of(name);
    const waitsFor = this.#hands.get(name) ? 'hand' : rollout === undefined ? 'nothing' : 'turn';
    const number = Number(sets.at(-1)?.name.split('-')[0]) + 1;
    const state = 'staged';
    const staged = { ...rest, rollout, state, reason: '', waitsFor } as const;
    return ok(this.#put({ ...staged, sets: [...sets, this.#set(number, false)] }));
  }

  promote(name: string): Promise<Result<TargetStatus>> {
    this.asked.push(`promote ${name}`);
    return this.#serve(name);
  }

  async grantTurn(name: string, setName: string): Promise<Result<TargetStatus>> {
    this.asked.push(`turn ${name} ${setName}`);
    void this.#serve(name);
    return ok(this.of(name));
  }

  async rollback(name: string): Promise<Result<TargetStatus>> {
    this.asked.push(`rollback ${name}`);
    const target = this.of(name);
    if (target.sets.length < 2) return fail('CONFLICT', 'there is no set before');
    return ok(this.#back(name, 'rolled-back', ''));
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #serve(name: string): Promise<Result<TargetStatus>> {
    const { sets, ...rest } = this.of(name);
    const served = sets.map((set, index) => ({ ...set, current: index === sets.length - 1 }));
    this.#put({ ...rest, sets: served, state: 'proving', waitsFor: 'nothing' });
    await this.gate;
    if (this.bad.has(name))
      return ok(this.#back(name, 'rolled-back', 'PROOF_MISSING: the old serial is shown'));
    return ok(this.#put({ ...this.of(name), state: 'proven', reason: '' }));
  }

  #back(name: string, state: TargetState, reason: string): TargetStatus {
    const { sets, ...rest } = this.of(name);
    const before = sets.map((set, index) => ({ ...set, current: index === sets.length - 2 }));
    return this.#put({ ...rest, sets: before, state, reason, waitsFor: 'nothing' });
  }

  #set(number: number, current: boolean): SetStatus {
    const serial = this.nextSerial();
    const times = { notBefore: 1_800_000_000, notAfter: 4_000_000_000 };
    return { name: `${number}-${serial}`, serial, ...times, current };
  }

  #put(target: TargetStatus): TargetStatus {
    this.#targets.set(target.name, target);
    this.#changed();
    return target;
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
