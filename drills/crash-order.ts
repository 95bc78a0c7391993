import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { PkiError } from '../src/common/errors/index.ts';
import { patienceMs } from '../test/support/until.ts';
import type { Breaches, DrillContext } from './drill.ts';
import { Load, type Received } from './load.ts';
import { RecordCheck } from './record.ts';
import { readTrace, straceOptions, SyncedFile, type TraceEvent } from './trace.ts';
import type { World } from './world.ts';

export interface OrderFigures {
  readonly certificates: number;
  readonly syncs: number;
  /** Handed to a signer with their intent synced, of all that were. */
  readonly syncedBeforeSigning: string;
  /** Sent to the caller with their record synced, of all that were. */
  readonly syncedBeforeRelease: string;
  /** Instants at which the files were put back to what had been synced, opened and compared. */
  readonly images: number;
  /** Found as issued after the kill, on files put back to what had been synced. */
  readonly foundAfterPowerLoss: string;
}

/** A certificate on its way, by bytes that nothing else has: its serial, and its signature. */
interface Journey {
  readonly received: Received;
  readonly serial: Buffer;
  readonly signature: Buffer;
  /** The event of the trace that wrote it. */
  intentAt: number | undefined;
  recordAt: number | undefined;
  handedOver: boolean;
  released: boolean;
}

/**
 * Fsync → sign → fsync → release, read from the system calls of the server's threads. kill -9 alone
 * proves nothing about it, since the page cache survives the process; so the kernel's order is
 * compared, and the database files are put back to what had been synced at the kill before the
 * server starts again.
 */
export async function drillOrder(
  world: World,
  { short, say, signal }: DrillContext,
  breaches: Breaches,
  synchronous: 'FULL' | 'OFF',
): Promise<OrderFigures> {
  const tracePath = join(world.dir, 'trace');
  const { received, pid } = await tracedUntilKilled(
    world,
    { tracePath, synchronous, wanted: short ? 60 : 400, say, signal },
    breaches,
  );
  const replay = new Replay(world, received, breaches, short ? 25 : 120);
  for await (const event of readTrace(tracePath, pid)) {
    if (event.kind === 'send') await replay.send(event.data);
    else replay.file(event);
  }
  await rm(tracePath, { force: true });
  const result = replay.result();
  breaches.expect(
    result.released === received.length,
    `${received.length - result.released} certificates were received that the trace does not show`,
  );

  say('order: the files are put back to what had been synced; the server starts on them');
  const found = await foundAfterPowerLoss(world, replay, received, breaches);
  return {
    certificates: received.length,
    syncs: result.syncs,
    syncedBeforeSigning: `${result.intentsInTime}/${result.handedOver}`,
    syncedBeforeRelease: `${result.recordsInTime}/${result.released}`,
    images: result.images,
    foundAfterPowerLoss: `${found}/${received.length}`,
  };
}

interface Traced {
  readonly tracePath: string;
  readonly synchronous: 'FULL' | 'OFF';
  /** How many certificates are received before the kill. */
  readonly wanted: number;
  readonly say: DrillContext['say'];
  readonly signal: AbortSignal;
}

/** Runs a server under strace and under load, and kills it. */
async function tracedUntilKilled(
  world: World,
  { tracePath, synchronous, wanted, say, signal }: Traced,
  breaches: Breaches,
): Promise<{ readonly received: readonly Received[]; readonly pid: number }> {
  say(`order: the server runs under strace, synchronous ${synchronous}`);
  const server = world.start({ under: straceOptions(tracePath), synchronous });
  await server.ready;
  await world.calls.learnRoots();
  const load = new Load({ calls: world.calls, breaches });
  await load.prepare();
  for (const name of ['a', 'b', 'c', 'd']) load.addMinter(`traced-${name}`);
  load.start();
  for (
    const endMs = performance.now() + 3 * patienceMs;
    load.received.size < wanted && performance.now() < endMs && server.alive();
  ) {
    signal.throwIfAborted();
    await sleep(20);
  }
  breaches.expect(await server.kill(), 'a signer outlived its server');
  await load.stop();
  await traceEnded(tracePath, server.pid);
  say(
    `order: ${load.received.size} certificates received, the server was killed; reading the trace`,
  );
  return { received: [...load.received.values()], pid: server.pid };
}

/** How many of the received certificates are on record after a start on the synced bytes only. */
async function foundAfterPowerLoss(
  world: World,
  replay: Replay,
  received: readonly Received[],
  breaches: Breaches,
): Promise<number> {
  await writeFile(world.databasePath, replay.image(world.databasePath));
  await writeFile(`${world.databasePath}-wal`, replay.image(`${world.databasePath}-wal`));
  await rm(`${world.databasePath}-shm`, { force: true });
  const startedMs = Date.now();
  const again = world.start();
  try {
    await again.ready;
    const before = breaches.list.length;
    new RecordCheck(world.databasePath, breaches).check(received, 'after a power loss', startedMs);
    await again.stop();
    return breaches.list.length === before ? received.length : 0;
  } catch (thrown) {
    breaches.add(`after a power loss: ${PkiError.from(thrown).message.split(';')[0]}`);
    await again.kill();
    return 0;
  }
}

/**
 * Owner of the synced state of the two files and of every certificate's way, as the trace is read.
 */
class Replay {
  readonly #world: World;
  readonly #breaches: Breaches;
  readonly #journeys: readonly Journey[];
  readonly #files = new Map<string, SyncedFile>();
  readonly #imageEvery: number;
  #handedOver = 0;
  #intentsInTime = 0;
  #released = 0;
  #recordsInTime = 0;
  #images = 0;
  #event = 0;
  /**
   * The event at which each sync under way began, by its thread; and that of the latest which has
   * ended.
   */
  readonly #syncing = new Map<number, number>();
  #syncedTo = 0;

  constructor(world: World, received: readonly Received[], breaches: Breaches, images: number) {
    this.#world = world;
    this.#breaches = breaches;
    this.#imageEvery = Math.max(1, Math.floor((received.length * 2) / images));
    this.#journeys = received.map((each) => ({
      received: each,
      serial: Buffer.from(each.serial, 'hex'),
      signature: each.der.subarray(-64),
      intentAt: undefined,
      recordAt: undefined,
      handedOver: false,
      released: false,
    }));
    for (const path of [world.databasePath, `${world.databasePath}-wal`])
      this.#files.set(path, new SyncedFile());
  }

  file(event: Exclude<TraceEvent, { kind: 'send' }>): void {
    this.#event += 1;
    const file = this.#files.get(event.path);
    if (file === undefined) return;
    const ofWal = event.path.endsWith('-wal');
    if (event.kind === 'truncate') file.truncate(event.size);
    if (event.kind === 'sync-begins') {
      file.begin(event.id);
      if (ofWal) this.#syncing.set(event.id, this.#event);
    }
    if (event.kind === 'synced') {
      file.end(event.id);
      if (ofWal) this.#syncedTo = Math.max(this.#syncedTo, this.#syncing.get(event.id) ?? 0);
    }
    if (event.kind !== 'write') return;
    file.write(event.offset, event.data);
    if (!ofWal) return;
    for (const each of this.#journeys) {
      if (each.intentAt === undefined && event.data.includes(each.serial))
        each.intentAt = this.#event;
      if (each.recordAt === undefined && event.data.includes(each.signature))
        each.recordAt = this.#event;
    }
  }

  async send(data: Buffer): Promise<void> {
    for (const each of this.#journeys) {
      if (each.released || !data.includes(each.serial)) continue;
      if (data.includes(each.signature)) {
        each.released = true;
        this.#released += 1;
        if (this.#isSynced(each.recordAt)) this.#recordsInTime += 1;
        else this.#breaches.add('a certificate was released before its record was synced');
        await this.#sample();
      } else if (!each.handedOver) {
        each.handedOver = true;
        this.#handedOver += 1;
        if (this.#isSynced(each.intentAt)) this.#intentsInTime += 1;
        else this.#breaches.add('an intent was handed to a signer before it was synced');
        await this.#sample();
      }
    }
  }

  image(path: string): Buffer {
    return (this.#files.get(path) as SyncedFile).image();
  }

  result(): {
    readonly handedOver: number;
    readonly intentsInTime: number;
    readonly released: number;
    readonly recordsInTime: number;
    readonly images: number;
    readonly syncs: number;
  } {
    return {
      handedOver: this.#handedOver,
      intentsInTime: this.#intentsInTime,
      released: this.#released,
      recordsInTime: this.#recordsInTime,
      images: this.#images,
      syncs: [...this.#files.values()].reduce((sum, { syncs }) => sum + syncs, 0),
    };
  }

  #isSynced(event: number | undefined): boolean {
    return event !== undefined && event < this.#syncedTo;
  }

  /**
   * Opens what a power loss at this instant would have left, now and then: what counts is what
   * SQLite recovers from it.
   */
  async #sample(): Promise<void> {
    if ((this.#handedOver + this.#released) % this.#imageEvery !== 0) return;
    this.#images += 1;
    const dir = await mkdtemp(join(this.#world.dir, 'image-'));
    const path = join(dir, 'meshca.db');
    await writeFile(path, this.image(this.#world.databasePath));
    await writeFile(`${path}-wal`, this.image(`${this.#world.databasePath}-wal`));
    try {
      const database = new DatabaseSync(path);
      try {
        const state = database.prepare('SELECT state FROM certificates WHERE serial = ?');
        for (const each of this.#journeys) {
          if (!each.handedOver) continue;
          const found = (state.get(each.serial) as { state: string } | undefined)?.state;
          if (each.released)
            this.#breaches.expect(
              found === 'issued',
              `a power loss would have left a released certificate ${found ?? 'unrecorded'}`,
            );
          else
            this.#breaches.expect(
              found !== undefined,
              'a power loss would have left a signed certificate unrecorded',
            );
        }
      } finally {
        database.close();
      }
    } catch (thrown) {
      this.#breaches.add(
        `a power loss would have left no usable database: ${(thrown as Error).message}`,
      );
    }
    await rm(dir, { recursive: true, force: true });
  }
}

/** strace is a process of its own here: it ends a moment after the server. */
async function traceEnded(path: string, pid: number): Promise<void> {
  for (const endMs = performance.now() + patienceMs; performance.now() < endMs; ) {
    const text = await readFile(path, 'latin1').catch(() => '');
    if (new RegExp(`^${pid} +\\+\\+\\+ (killed|exited)`, 'm').test(text.slice(-10_000))) return;
    await sleep(25);
  }
  throw new Error('strace did not end with the server: is it installed, and may it trace?');
}
