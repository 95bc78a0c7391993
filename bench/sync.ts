import { serverId } from '../src/common/spiffe/index.ts';
import type { SyncSession } from '../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  type ServicesWorld,
} from '../test/support/services-world.ts';
import { median, type Figure } from './figures.ts';

/**
 * One change of an entry to many agents at once, in one process: what the service costs, without
 * network and keys.
 */
export async function benchSync({
  short,
}: {
  readonly short: boolean;
}): Promise<readonly Figure[]> {
  const streams = short ? 200 : 500;
  await using w = await createServicesWorld({
    attestationRate: { perSecond: 100_000, burst: 100_000 },
  });
  const shared = id('/nodes/all');
  await w.services.entries.create(local, [
    entryInput({
      id: 'set',
      spiffeId: shared,
      parentId: serverId(w.settings.trustDomain).toString(),
      selectors: [{ type: 'node', value: 'zone:bench' }],
    }),
  ]);
  const receivers = new Receivers(w);
  for (let index = 0; index < streams; index++) await receivers.add(`n${index}`);
  await w.services.sync.settled();
  const everyone: number[] = [];
  const one: number[] = [];
  for (let round = 0; round < (short ? 10 : 30); round++) {
    one.push(await receivers.change(`change-one-${round}`, agentId('n0'), 1));
    everyone.push(await receivers.change(`change-all-${round}`, shared, streams));
  }
  return [
    {
      name: 'sync.fanout',
      what: `one entry changed → the last of ${streams} agents of a node set has it, against a change for one of them`,
      ratio: median(everyone) / median(one),
      detail: {
        'all ms': median(everyone),
        'one ms': median(one),
        'µs per agent': (median(everyone) * 1000) / streams,
        streams,
      },
    },
  ];
}

/** Agents of one node set, with their sync sessions. Counts who has received a change. */
class Receivers {
  readonly #w: ServicesWorld;
  #missing = 0;
  #all: () => void = () => {};

  constructor(w: ServicesWorld) {
    this.#w = w;
  }

  async add(name: string): Promise<void> {
    const { caller } = await this.#w.joinAgent(name, ['node:zone:bench']);
    await this.#w.services.sync.open(
      caller,
      {
        protocolVersion: 1,
        agentVersion: 'bench',
        capabilities: [],
        position: undefined,
        bundleSequence: 1,
        survivedOutageSeconds: 0,
      },
      this.#session(),
    );
  }

  /** Creates an entry. Resolves to the milliseconds until `expected` agents have it. */
  async change(name: string, parentId: string, expected: number): Promise<number> {
    this.#missing = expected;
    const done = new Promise<void>((resolve) => (this.#all = resolve));
    const startedMs = performance.now();
    await this.#w.services.entries.create(local, [
      entryInput({ id: name, spiffeId: id(`/${name}`), parentId }),
    ]);
    await done;
    return performance.now() - startedMs;
  }

  #session(): SyncSession {
    return {
      send: (message) => {
        if (
          message.kind === 'entries' &&
          message.upserts.some((entry) => entry.id.startsWith('change'))
        ) {
          this.#missing -= 1;
          if (this.#missing === 0) this.#all();
        }
        return true;
      },
      close: (error) => {
        if (error.code !== 'SHUTTING_DOWN') throw error;
      },
    };
  }
}
