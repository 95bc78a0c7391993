import { serverId } from '../src/common/spiffe/index.ts';
import type { AgentCaller, SyncSession } from '../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
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
  let received = 0;
  let all: () => void = () => {};
  const callers: AgentCaller[] = [];
  for (let index = 0; index < streams; index++) {
    const { caller } = await w.joinAgent(`n${index}`, ['node:zone:bench']);
    callers.push(caller);
    const session: SyncSession = {
      send: (message) => {
        if (
          message.kind === 'entries' &&
          message.upserts.some((entry) => entry.id.startsWith('change'))
        ) {
          received += 1;
          if (received === streams) all();
        }
        return true;
      },
      close: (error) => {
        if (error.code !== 'SHUTTING_DOWN') throw error;
      },
    };
    await w.services.sync.open(
      caller,
      {
        protocolVersion: 1,
        agentVersion: 'bench',
        capabilities: [],
        position: undefined,
        bundleSequence: 1,
        survivedOutageSeconds: 0,
      },
      session,
    );
  }
  await w.services.sync.settled();
  const change = async (name: string, parentId: string, expected: number): Promise<number> => {
    received = streams - expected;
    const done = new Promise<void>((resolve) => (all = resolve));
    const startedMs = performance.now();
    await w.services.entries.create(local, [
      entryInput({ id: name, spiffeId: id(`/${name}`), parentId }),
    ]);
    await done;
    return performance.now() - startedMs;
  };
  const everyone: number[] = [];
  const one: number[] = [];
  for (let round = 0; round < (short ? 10 : 30); round++) {
    one.push(await change(`change-one-${round}`, agentId('n0'), 1));
    everyone.push(await change(`change-all-${round}`, shared, streams));
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
