import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { productEntry } from '../test/support/product.ts';
import { childrenOf, residentMiB, treeCpu } from './cpu.ts';
import { median, type Figure } from './figures.ts';
import { startProduct } from './product.ts';

interface Round {
  readonly bareMs: number;
  readonly commandMs: number;
  readonly serverMs: number;
  readonly agentMs: number;
  readonly serverMiB: number;
  readonly agentMiB: number;
  readonly signerMiB: number;
}

/**
 * CPU time until server and agent are ready, and of a command, each as a multiple of a bare Node;
 * resident memory of the idle processes. A server's start is its first one.
 */
export async function benchStartCost({
  execPath,
  short,
}: {
  readonly execPath: string;
  readonly short: boolean;
}): Promise<readonly Figure[]> {
  const rounds: Round[] = [];
  for (let round = 0; round < (short ? 1 : 5); round += 1) rounds.push(await measured(execPath));
  const middle = (field: keyof Round): number => median(rounds.map((round) => round[field]));
  const bareMs = middle('bareMs');
  const cpu = (name: string, what: string, ms: number): Figure => ({
    name: `start.cpu.${name}`,
    what: `${what}, CPU against that of a bare Node`,
    ratio: ms / bareMs,
    detail: { ms, 'bare ms': bareMs },
  });
  const memory = (name: string, what: string, goal: number, ratio: number): Figure => ({
    name: `start.memory.${name}`,
    what: `${what}, resident memory when idle`,
    ratio,
    unit: 'MiB',
    goal,
    detail: {},
  });
  return [
    cpu('server', 'first start of a server until it is ready', middle('serverMs')),
    cpu('agent', 'first start of an agent until it is ready', middle('agentMs')),
    cpu('command', '"meshca authority list"', middle('commandMs')),
    memory('server', 'server after its start', 100, middle('serverMiB')),
    memory('agent', 'agent after its start', 76, middle('agentMiB')),
    memory('signer', 'signer process', 50, middle('signerMiB')),
  ];
}

async function measured(execPath: string): Promise<Round> {
  const bareMs = commandMs(execPath, ['-e', '0']);
  await using product = await startProduct({ execPath });
  const serverMs = treeCpu(product.serverPid).mainMs;
  await pause(8);
  const serverMiB = residentMiB(product.serverPid);
  const socket = join(product.dir, 'admin.sock');
  const list = ['authority', 'list', '--server-socket', socket];
  const listMs = commandMs(execPath, [productEntry, ...list]);
  await using agent = await product.startAgent('start');
  const agentMs = treeCpu(agent.pid).mainMs;
  await pause(8);
  return {
    bareMs,
    commandMs: listMs,
    serverMs,
    agentMs,
    serverMiB,
    agentMiB: residentMiB(agent.pid),
    signerMiB: median(childrenOf(product.serverPid).map(residentMiB)),
  };
}

const commandRuns = 10;

/** CPU milliseconds of a command that ends by itself. */
function commandMs(execPath: string, args: readonly string[]): number {
  const before = endedChildrenMs();
  for (let run = 0; run < commandRuns; run += 1) {
    const { status, stderr } = spawnSync(execPath, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`a command of the bench failed: ${stderr}`);
  }
  return (endedChildrenMs() - before) / commandRuns;
}

/** CPU time of the children that have ended, in ticks of 10 ms (proc_pid_stat(5): cutime, cstime). */
function endedChildrenMs(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

const pause = (seconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, seconds * 1000));
