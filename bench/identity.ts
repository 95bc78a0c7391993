import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BenchChild } from './child.ts';
import { since, treeCpu } from './cpu.ts';
import { median, type Figure } from './figures.ts';
import { quantile } from './h2-load.ts';
import { startProduct, trustDomain, type AgentProcess, type Product } from './product.ts';
import { countSvids, untilServed, WorkloadStream } from './workload-client.ts';

export interface IdentityOptions {
  readonly execPath: string;
  readonly short: boolean;
  /** The user that this process, and so every client of the bench, runs as. */
  readonly uid: number;
}

/** Connect → SVID on a new connection, warm; and entry created → SVID on a waiting stream. */
export async function benchIdentity({
  execPath,
  short,
  uid,
}: IdentityOptions): Promise<readonly Figure[]> {
  await using product = await startProduct({ execPath });
  await using agent = await product.startAgent('identity');
  await product.admin('Entries/CreateEntries', { entries: [entry('waiting', agent.agentId, uid)] });
  await untilServed(agent.workloadSocket);
  const propagation = await benchPropagation(product, agent, uid, short ? 40 : 150);
  return [...(await benchLatency(agent, execPath, short)), propagation];
}

const entry = (id: string, parentId: string, uid: number): object => ({
  id,
  spiffeId: `spiffe://${trustDomain}/workload/${id}`,
  parentId,
  selectors: [`unix:uid:${uid}`],
});

/** Latencies of connections in rounds, and the CPU of the process that answered them. */
class Rounds {
  readonly #pid: number;
  readonly #connect: () => Promise<number[]>;
  readonly latencies: number[][] = [];
  #cpuMs = 0;

  constructor(pid: number, connect: () => Promise<number[]>) {
    this.#pid = pid;
    this.#connect = connect;
  }

  async run(): Promise<void> {
    const before = treeCpu(this.#pid);
    this.latencies.push(await this.#connect());
    this.#cpuMs += since(before, treeCpu(this.#pid)).mainMs;
  }

  /** All threads of the process, per connection. */
  get cpuMicros(): number {
    return (this.#cpuMs * 1000) / this.latencies.flat().length;
  }

  /** Per round, then the median, so that a machine that is busy for one round does not decide. */
  quantile(q: number): number {
    return median(this.latencies.map((round) => quantileOf(round, q)));
  }
}

const quantileOf = (latencies: readonly number[], q: number): number =>
  quantile(
    latencies.toSorted((a, b) => a - b),
    q,
  );

async function benchLatency(
  agent: AgentProcess,
  execPath: string,
  short: boolean,
): Promise<readonly Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-bare-'));
  try {
    using bareServer = new BenchChild('bare-handler', '--bare-handler', { execPath });
    using client = new BenchChild('workload-client', '--workload-child', { execPath });
    const bareSocket = join(dir, 's');
    await bareServer.ask({ path: bareSocket, bytes: 1300 });
    const connect = (path: string, count: number): Promise<number[]> => client.ask({ path, count });
    // let all three processes compile first
    for (const path of [agent.workloadSocket, bareSocket]) await connect(path, short ? 500 : 2000);
    const bare = new Rounds(bareServer.pid, () => connect(bareSocket, 300));
    const ours = new Rounds(agent.pid, () => connect(agent.workloadSocket, 300));
    for (let round = 0; round < (short ? 4 : 10); round++) {
      await bare.run();
      await ours.run();
    }
    const against = (q: number): number =>
      median(
        ours.latencies.map(
          (each, round) =>
            quantileOf(each, q) / quantileOf(bare.latencies[round] as readonly number[], q),
        ),
      );
    const detail = {
      'p50 ms': ours.quantile(0.5),
      'p99 ms': ours.quantile(0.99),
      'bare p50 ms': bare.quantile(0.5),
      'bare p99 ms': bare.quantile(0.99),
      'cpu µs': ours.cpuMicros,
      'bare cpu µs': bare.cpuMicros,
      connections: ours.latencies.flat().length,
    };
    return [
      {
        name: 'identity.connect.p50',
        what: 'connect → X509-SVID on a new connection, warm, against a bare grpc-js handler',
        ratio: against(0.5),
        goal: 1.5,
        detail,
      },
      {
        name: 'identity.connect.p99',
        what: 'the same at p99',
        ratio: against(0.99),
        goal: 1.3,
        detail,
      },
    ];
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function benchPropagation(
  product: Product,
  agent: { readonly agentId: string; readonly workloadSocket: string },
  uid: number,
  repetitions: number,
): Promise<Figure> {
  let held = -1;
  let failed: Error | undefined;
  let wake: () => void = () => {};
  using _stream = new WorkloadStream(
    agent.workloadSocket,
    (message) => {
      held = countSvids(message);
      wake();
    },
    (reason) => {
      failed = reason;
      wake();
    },
  );
  const holds = async (count: number): Promise<number> => {
    while (held !== count) {
      if (failed !== undefined) throw failed;
      await new Promise<void>((resolve) => (wake = resolve));
    }
    return performance.now();
  };
  await holds(1);
  const fromAnswer: number[] = [];
  const fromCall: number[] = [];
  for (let index = 0; index < repetitions; index++) {
    const calledMs = performance.now();
    const arrived = holds(2);
    await product.admin('Entries/CreateEntries', {
      entries: [entry(`e${index}`, agent.agentId, uid)],
    });
    const answeredMs = performance.now();
    const arrivedMs = await arrived;
    fromCall.push(arrivedMs - calledMs);
    fromAnswer.push(Math.max(arrivedMs - answeredMs, 0));
    await product.admin('Entries/DeleteEntries', { ids: [`e${index}`] });
    await holds(1);
  }
  const sorted = fromAnswer.toSorted((a, b) => a - b);
  return {
    name: 'identity.entry.p99',
    what: 'entry created (RPC answered) → X509-SVID on a waiting stream',
    ratio: quantile(sorted, 0.99),
    unit: 'ms',
    goal: 50,
    detail: {
      'p50 ms': quantile(sorted, 0.5),
      'p99 ms': quantile(sorted, 0.99),
      'p50 ms from the call': median(fromCall),
      repetitions,
    },
  };
}
