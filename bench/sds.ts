import { residentMiB, treeCpu } from './cpu.ts';
import { BenchChild } from './child.ts';
import { median, type Figure } from './figures.ts';
import { quantile } from './h2-load.ts';
import { startProduct, trustDomain } from './product.ts';
import type { UpdateTimes } from './sds-streams.ts';
import { untilServed, type SocketApiName } from './workload-client.ts';

export interface SdsOptions {
  readonly execPath: string;
  readonly short: boolean;
  readonly uid: number;
}

const streams = 1000;

/**
 * Connect → secret by secret discovery against connect → SVID by the Workload API, on the same agent;
 * new roots on 1,000 streams; and the memory of a stream.
 */
export async function benchSds({ execPath, short, uid }: SdsOptions): Promise<readonly Figure[]> {
  await using product = await startProduct({ execPath });
  await using agent = await product.startAgent('sds');
  await product.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'proxy',
        spiffeId: `spiffe://${trustDomain}/proxy`,
        parentId: agent.agentId,
        selectors: [`unix:uid:${uid}`],
      },
    ],
  });
  await untilServed(agent.workloadSocket);
  const connect = await benchConnect(agent.workloadSocket, execPath, short);
  // what the connections before have left behind must not count as that of the streams
  await using second = await product.startAgent('streams');
  await product.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'held',
        spiffeId: `spiffe://${trustDomain}/held`,
        parentId: second.agentId,
        selectors: [`unix:uid:${uid}`],
      },
    ],
  });
  await untilServed(second.workloadSocket);
  const beforeMiB = residentMiB(second.pid);
  using client = new BenchChild('sds-streams', '--sds-child', { execPath });
  await client.ask({ type: 'hold', path: second.workloadSocket, streams });
  const kib = ((residentMiB(second.pid) - beforeMiB) * 1024) / streams;
  const beforeMs = treeCpu(second.pid).mainMs;
  const updated = client.ask<UpdateTimes>({ type: 'update' });
  await product.admin('Authorities/RotateAuthorities', { kind: 'root', reason: 'bench' });
  const { firstMs, lastMs } = await updated;
  const cpuMs = treeCpu(second.pid).mainMs - beforeMs;
  return [
    connect,
    {
      name: 'sds.update.last',
      what: `new roots: the first of ${streams} streams has them → the last has acknowledged them`,
      ratio: lastMs - firstMs,
      unit: 'ms',
      goal: 1000,
      // what a busy machine does not change
      detail: { streams, 'CPU of the agent ms': cpuMs },
    },
    {
      name: 'sds.memory',
      what: 'resident memory of an agent for one open stream',
      ratio: kib,
      unit: 'KiB',
      detail: { streams, 'agent MiB before': beforeMiB },
    },
  ];
}

async function benchConnect(path: string, execPath: string, short: boolean): Promise<Figure> {
  using client = new BenchChild('workload-client', '--workload-child', { execPath });
  const connect = (api: SocketApiName, count: number): Promise<number[]> =>
    client.ask({ path, count, api });
  const apis = ['workload', 'sds'] as const;
  // let both processes compile first
  for (const api of apis) await connect(api, short ? 500 : 2000);
  const rounds: Record<SocketApiName, number[][]> = { sds: [], workload: [] };
  for (let round = 0; round < (short ? 5 : 10); round++)
    // each goes first in turn
    for (const api of round % 2 === 0 ? apis : [...apis].reverse())
      rounds[api].push(await connect(api, 300));
  const of = (api: SocketApiName, q: number): readonly number[] =>
    rounds[api].map((each) =>
      quantile(
        each.toSorted((a, b) => a - b),
        q,
      ),
    );
  const [sds, workload] = [of('sds', 0.99), of('workload', 0.99)];
  return {
    name: 'sds.connect.p99',
    what: 'connect → secret by SDS on a new connection, against connect → X509-SVID, at p99',
    // per round, then the median, so that a machine that is busy for one round does not decide
    ratio: median(sds.map((each, round) => each / (workload[round] as number))),
    goal: 1.3,
    detail: {
      'p50 ms': median(of('sds', 0.5)),
      'p99 ms': median(sds),
      'workload p50 ms': median(of('workload', 0.5)),
      'workload p99 ms': median(workload),
      connections: rounds.sds.flat().length,
    },
  };
}
