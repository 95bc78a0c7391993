import { fail, ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import { silentLogger } from '../../src/common/runtime/index.ts';
import { SpiffeId } from '../../src/common/spiffe/index.ts';
import type {
  NamesOfSet,
  SetContent,
  SetDirectory,
  StoredSet,
} from '../../sidecar/files/certificate-set.ts';
import { Delivery } from '../../sidecar/files/delivery.ts';
import { DeliveryConsumer } from '../../sidecar/files/delivery-consumer.ts';
import type { DeliveryJournal } from '../../sidecar/files/delivery-journal.ts';
import type { Leased } from '../../sidecar/files/delivery-lease.ts';
import type { DeliveryRecord } from '../../sidecar/files/delivery-record.ts';
import { DeliverySteps } from '../../sidecar/files/delivery-steps.ts';
import type { DeliveryWorld } from '../../sidecar/files/delivery-wants.ts';
import type { Applied, Driver, DriverCall } from '../../sidecar/files/driver.ts';
import type { FileTarget } from '../../sidecar/files/target.ts';
import { Consumers } from '../../sidecar/sync/consumers.ts';
import { FakeClock } from './agent.ts';
import { fileTarget, storedSet } from './delivery.ts';

export const lifeSeconds = 3600;

/** Sets in memory. */
export class FakeSets implements SetDirectory {
  readonly sets: StoredSet[] = [];
  link: string | undefined;
  /** Set: the next writes and swaps fail with it. */
  unwritable: PkiError | undefined;
  /** Set: nothing can be read. */
  unreadable: PkiError | undefined;

  async list() {
    if (this.unreadable !== undefined) throw this.unreadable;
    return [...this.sets];
  }
  async current() {
    if (this.unreadable !== undefined) throw this.unreadable;
    return this.sets.find(({ name }) => name === this.link);
  }
  async write(content: SetContent): Promise<Result<StoredSet>> {
    if (this.unwritable !== undefined) return { ok: false, error: this.unwritable };
    const { serial, notBefore, notAfter, authoritySetDigest, forNames } = content;
    const number = Math.max(0, ...this.sets.map((set) => set.number)) + 1;
    const name = `${number}-${serial}`;
    const digest = authoritySetDigest.toString('hex');
    const set = storedSet(number, {
      ...{ name, serial, notBefore, notAfter, forNames },
      authoritySetDigest: digest,
    });
    this.sets.push(set);
    return ok(set);
  }
  async swap(set: StoredSet): Promise<Result<void>> {
    if (this.unwritable !== undefined) return { ok: false, error: this.unwritable };
    this.link = set.name;
    return ok(undefined);
  }
  async unlink(): Promise<Result<void>> {
    this.link = undefined;
    return ok(undefined);
  }
  async remove(set: StoredSet): Promise<Result<void>> {
    this.sets.splice(
      this.sets.findIndex(({ name }) => name === set.name),
      1,
    );
    return ok(undefined);
  }
}

/** A server and its driver: it loads what `current` names when it is told. */
export class FakeServer implements Driver {
  loaded: string | undefined;
  trust: Applied['trust'] = 'unknown';
  /** Answers of single steps, once each or as long as they are set. */
  readonly answers: Partial<Record<keyof Driver, () => Promise<Result<never>>>> = {};
  readonly calls: string[] = [];
  /** Whether it takes a set over. */
  takes = true;
  readonly #sets: FakeSets;

  constructor(sets: FakeSets) {
    this.#sets = sets;
  }

  stage(call: DriverCall) {
    return this.#step('stage', call, async () => ok(undefined));
  }
  apply(call: DriverCall) {
    return this.#step('apply', call, async () => {
      if (this.takes) this.loaded = this.#sets.link;
      return ok({ trust: this.trust, note: '' });
    });
  }
  verify(call: DriverCall) {
    return this.#step('verify', call, async () => ok({ trust: this.trust, note: '' }));
  }
  rollback(call: DriverCall) {
    return this.#step('rollback', call, async () => {
      this.loaded = this.#sets.link;
      return ok(undefined);
    });
  }
  remove(call: DriverCall) {
    return this.#step('remove', call, async () => ok(undefined));
  }

  #step<T>(
    name: keyof Driver,
    call: DriverCall,
    run: () => Promise<Result<T>>,
  ): Promise<Result<T>> {
    this.calls.push(`${name} ${call.set.number}`);
    return this.answers[name]?.() ?? run();
  }
}

/** One target with a clock, a disk, a server and an authority of its own. */
export class DeliveryBench {
  readonly clock = new FakeClock();
  readonly sets = new FakeSets();
  readonly server = new FakeServer(this.sets);
  readonly consumers = new Consumers(this.clock, () => {});
  readonly events: string[] = [];
  journal: DeliveryRecord | undefined;
  /** Set: the journal can not be written. */
  journalError: PkiError | undefined;
  leaseError: PkiError | undefined;
  checkError: PkiError | undefined;
  /** Each set that was checked, and the one that it had to outlive. */
  readonly checked: (readonly [string, string | undefined])[] = [];
  connected = true;
  /** Whether listeners show whom they trust. */
  showsTrust = true;
  roots = 'aa'.repeat(32);
  /** Of the sets from now on. */
  forNames: NamesOfSet | undefined;
  readonly target: FileTarget;
  world: Partial<Omit<DeliveryWorld, 'now'>> = {};
  leases = 0;
  delivery: Delivery;

  constructor(target: Partial<FileTarget> = {}) {
    this.target = fileTarget(target);
    this.delivery = this.#make();
  }

  /** As a process that starts anew. */
  async restart(): Promise<void> {
    await this.delivery[Symbol.asyncDispose]();
    this.delivery = this.#make();
    await this.delivery.start();
  }

  get state(): string {
    return this.delivery.status().state;
  }

  get line() {
    return this.consumers.snapshot().consumers.find(({ kind }) => kind === 'files');
  }

  #make(): Delivery {
    const { clock, target, sets } = this;
    const random = { uniform: () => 0.5, bytes: (length: number) => Buffer.alloc(length) };
    const journal: DeliveryJournal = {
      load: async () => this.journal,
      save: async (_target, record) => {
        if (this.journalError !== undefined) throw this.journalError;
        this.journal = record;
      },
    };
    const steps = new DeliverySteps({
      target,
      sets,
      driver: this.server,
      prober: {
        look: async () => fail('UNREACHABLE', 'unused'),
        prove: async ({ serial }) => {
          const shown = sets.sets.find(({ name }) => name === this.server.loaded)?.serial;
          return shown === serial
            ? ok({ trust: this.showsTrust ? 'shown' : 'unknown' })
            : fail('UNREACHABLE', `the listener shows ${shown ?? 'nothing'}`);
        },
      },
      lease: { obtain: async () => this.#lease(), fits: () => true },
      check: async (set, previous) => {
        this.checked.push([set.name, previous?.name]);
        return this.checkError === undefined
          ? ok(undefined)
          : { ok: false, error: this.checkError };
      },
      clock,
    });
    return new Delivery({
      ...{ target, sets, steps, journal, clock, random },
      consumer: new DeliveryConsumer(this.consumers, clock, target),
      world: () => ({
        authoritySetDigest: this.roots,
        crlsDigest: undefined,
        federatedDigest: '',
        identity: undefined,
        tainted: new Map(),
        ...this.world,
      }),
      ready: () => true,
      connected: () => this.connected,
      events: {
        delivered: (_target, outcome) => this.events.push(outcome),
        failed: (_target, code) => this.events.push(code),
        replaced: (serial) => this.events.push(`replaced ${serial}`),
      },
      onChange: () => {},
      logger: silentLogger,
    });
  }

  #lease(): Result<Leased> {
    if (this.leaseError !== undefined) return { ok: false, error: this.leaseError };
    this.leases += 1;
    const now = this.clock.now();
    const spiffeId = SpiffeId.of('spiffe://td.test/web');
    return ok({
      content: {
        spiffeId,
        forNames: this.forNames,
        serial: this.leases.toString(16).padStart(4, '0'),
        chainDer: [],
        privateKeyPkcs8Der: Buffer.alloc(0),
        rootsDer: [],
        crlsDer: [],
        federatedDer: new Map(),
        authoritySetDigest: Buffer.from(this.roots, 'hex'),
        notBefore: now,
        notAfter: now + lifeSeconds,
      },
      facts: {
        rootNames: ['3000'],
        crlsDigest: '',
        federatedDigest: '',
        spiffeId: spiffeId.toString(),
        entryId: 'web',
        entryRevision: 1,
        authorityId: 'issuer',
        renewAt: now + lifeSeconds / 3,
        endsAt: now + lifeSeconds,
      },
    });
  }
}
