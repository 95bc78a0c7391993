import { BenchChild } from './child.ts';
import { residentMiB } from './cpu.ts';
import type { Figure } from './figures.ts';
import { startProduct, trustDomain, type AgentProcess, type Product } from './product.ts';
import { countSvids, untilServed, WorkloadStream } from './workload-client.ts';

export interface MemoryOptions {
  readonly execPath: string;
  readonly short: boolean;
  readonly uid: number;
}

const svids = 1000;

/**
 * Resident memory of an agent above that of a process with the same imports: after start, with
 * 1,000 SVIDs in hand of a workload, after 10,000 short connections.
 */
export async function benchMemory({
  execPath,
  short,
  uid,
}: MemoryOptions): Promise<readonly Figure[]> {
  const connections = short ? 3000 : 10_000;
  using bareProcess = new BenchChild('bare-agent', '--bare-agent', { execPath, nodeFlags: [] });
  await bareProcess.ask({});
  await pause(3);
  const bare = residentMiB(bareProcess.pid);
  await using product = await startProduct({ execPath });
  await using agent = await product.startAgent('memory', { config: { svid: { prefetch: 0 } } });
  await pause(3);
  const started = residentMiB(agent.pid);
  const holding = await withManySvids(product, agent, uid);
  // a fresh agent: memory that a thousand SVIDs left behind does not count as that of connections
  await using second = await product.startAgent('connections');
  const connected = await afterConnections(product, second, { execPath, uid, connections });

  const figure = (
    name: string,
    what: string,
    [now, goal]: readonly [now: number, goal: number],
    over: Readonly<Record<string, number>> = {},
  ): Figure => ({
    name,
    what: `${what}, resident memory above a process with the same imports`,
    ratio: now - bare,
    unit: 'MiB',
    goal,
    detail: { 'agent MiB': now, 'bare MiB': bare, ...over },
  });
  return [
    figure('memory.start', 'agent after start', [started, 20]),
    figure('memory.svids', `agent whose workload holds ${svids} SVIDs`, [holding, 45], { svids }),
    figure('memory.connections', `agent after ${connections} short connections`, [connected, 60], {
      connections,
    }),
  ];
}

/** MiB of the agent while a workload holds 1,000 SVIDs. The entries are deleted afterwards. */
async function withManySvids(product: Product, agent: AgentProcess, uid: number): Promise<number> {
  for (let first = 0; first < svids; first += 250) {
    const entries = Array.from({ length: 250 }, (_, index) => ({
      id: `m${first + index}`,
      spiffeId: `spiffe://${trustDomain}/ns/shop/sa/service-${first + index}`,
      parentId: agent.agentId,
      selectors: [`unix:uid:${uid}`],
    }));
    const { results } = await product.admin('Entries/CreateEntries', { entries });
    if (results.length !== entries.length) throw new Error('entries of the bench were refused');
  }
  await untilServed(agent.workloadSocket);
  const holding = await whileAllAreHeld(agent);
  const ids = Array.from({ length: svids - 1 }, (_, index) => `m${index + 1}`);
  await product.admin('Entries/DeleteEntries', { ids: ids.slice(0, 500) });
  await product.admin('Entries/DeleteEntries', { ids: ids.slice(500) });
  return holding;
}

async function whileAllAreHeld({ workloadSocket, pid }: AgentProcess): Promise<number> {
  using _stream = await new Promise<WorkloadStream>((resolve, reject) => {
    const stream: WorkloadStream = new WorkloadStream(
      workloadSocket,
      (message) => {
        if (countSvids(message) === svids) resolve(stream);
      },
      reject,
    );
    setTimeout(
      () => reject(new Error(`a workload did not get ${svids} SVIDs in time`)),
      60_000,
    ).unref();
  });
  await pause(3);
  return residentMiB(pid);
}

/** MiB of an agent after many short connections of one workload. */
async function afterConnections(
  product: Product,
  { agentId, workloadSocket, pid }: AgentProcess,
  options: { readonly execPath: string; readonly uid: number; readonly connections: number },
): Promise<number> {
  const { execPath, uid, connections } = options;
  await product.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'c',
        spiffeId: `spiffe://${trustDomain}/connections`,
        parentId: agentId,
        selectors: [`unix:uid:${uid}`],
      },
    ],
  });
  using client = new BenchChild('workload-client', '--workload-child', { execPath });
  await untilServed(workloadSocket);
  await client.ask({ path: workloadSocket, count: connections });
  await pause(1);
  return residentMiB(pid);
}

const pause = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));
