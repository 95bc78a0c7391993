import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SimAgent } from '../support/sim-agent.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { OutageNode } from './outage-node.ts';
import { childrenOf } from './server-child.ts';
import { createWorld, trustDomain, type World } from './world.ts';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const workloadEntry = fileURLToPath(new URL(`./mtls-workload.${extension}`, import.meta.url));

/** Somebody does not read: a workload, an agent; then he reads, dies, is left behind by force, or by the deadline. */
export const laggard: Drill = {
  name: 'laggard',
  promise: 'an authority waits for each who has not confirmed, by name, until he has, can not come back, or is left behind on record',
  options: [],
  async run({ short, say, signal }) {
    const breaches = new Breaches();
    const ttl = short ? 12 : 30;
    const issuance = { minimumTtlSeconds: 2, defaultTtlSeconds: ttl, maximumTtlSeconds: ttl, agentTtlSeconds: ttl, serverTtlSeconds: 60, bundleRefreshHintSeconds: 1 };
    const figures: Record<string, number> = {};
    await using world = await createWorld({ signal, signers: 1, issuance, sections: { rotation: { automatic: false, retireMarginSeconds: 1, jwksCacheSeconds: 1 } } });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using near = new OutageNode(world, 'node-near');
    await using far = new OutageNode(world, 'node-far');
    for (const node of [near, far]) {
      await node.join({ port: world.port, lifeSeconds: ttl });
      await world.calls.admin('Entries/CreateEntries', { entries: [{ spiffeId: `spiffe://${trustDomain}/${node.name}`, parentId: node.agentId, selectors: [`unix:uid:${process.getuid?.() ?? 0}`] }] });
    }
    await using steady = await Workload.start(join(world.dir, near.name, 'w.sock'));
    await using stopped = await Workload.start(join(world.dir, near.name, 'w.sock'));
    await using distant = await Workload.start(join(world.dir, far.name, 'w.sock'));
    breaches.expect(steady.running && distant.running, 'a workload ended');

    say('one workload is stopped (SIGSTOP) while a root is rotated');
    stopped.signal('SIGSTOP');
    await rotate(world, 'root');
    const first = await namedLaggards(world, 'root', (each) => each.agentId === near.agentId && each.consumerId !== '', 20_000);
    breaches.expect(first.length === 1, `${first.length} consumers are named as lagging behind, stopped is one: ${JSON.stringify(first.map(({ description, state }) => [description, state]))}`);
    breaches.expect(first.some(({ description }) => description.includes(String(stopped.pid))), `the stopped workload (${stopped.pid}) is not named: ${first.map(({ description }) => description).join('; ')}`);
    await sleep(2_000, undefined, { signal });
    breaches.expect((await successor(world, 'root')) === 'published', 'the new root signs although a workload has not read it');
    const resumedMs = performance.now();
    stopped.signal('SIGCONT');
    await reaches(world, 'root', 'active', 30_000);
    figures['resumedToActiveSeconds'] = seconds(resumedMs);
    await done(world, 30_000);

    say('an agent is stopped while an intermediate is rotated; then it is killed');
    const agentPid = pidOf('agent run', far.name);
    process.kill(agentPid, 'SIGSTOP');
    await rotate(world, 'issuing');
    const second = await namedLaggards(world, 'issuing', (each) => each.agentId === far.agentId, 30_000);
    breaches.expect(second.length > 0 && second.every(({ agentId }) => agentId === far.agentId), `named are ${JSON.stringify(second.map(({ agentId }) => agentId))}`);
    breaches.expect((await successor(world, 'issuing')) === 'published', 'the new intermediate signs although an agent has not confirmed it');
    const until = Math.max(...second.map((each) => each.until));
    process.kill(agentPid, 'SIGKILL');
    await reaches(world, 'issuing', 'active', (ttl * 2 + 30) * 1000);
    figures['killedLeftOutAfterSeconds'] = round(Date.now() / 1000 - until, 1);
    breaches.expect(Date.now() / 1000 >= until, 'the killed agent was left out while a leaf that was issued through it was valid');
    await done(world, 30_000);

    say('a stopped workload is left behind by force');
    stopped.signal('SIGSTOP');
    await rotate(world, 'root');
    await namedLaggards(world, 'root', (each) => each.agentId === near.agentId && each.consumerId !== '', 20_000);
    await world.calls.admin('Authorities/ContinueRotation', { kind: 'root', force: true, reason: 'drill: it is to be replaced' });
    await reaches(world, 'root', 'active', 20_000);
    const forced = await lastActivation(world);
    breaches.expect(forced['without'] === 'forced' && forced['reason'] === 'drill: it is to be replaced' && forced['actor'] === `uid:${process.getuid?.() ?? 0}`, `the record of the forced step says ${JSON.stringify(forced)}`);
    breaches.expect(Array.isArray(forced['laggards']) && forced['laggards'].length > 0, 'the record of the forced step does not name who was left behind');
    stopped.signal('SIGCONT');
    await server.stop();

    say('past the deadline it goes on without the one who lags, as configured');
    figures['deadlineSeconds'] = await deadline(signal, breaches);
    return { figures: { ...figures, leafLifeSeconds: ttl }, broken: breaches.list };
  },
};

/** A deadline a few seconds ahead: the margin is all of the intermediate's life but that. */
async function deadline(signal: AbortSignal, breaches: Breaches): Promise<number> {
  const ttl = 60;
  const ahead = 25;
  const startedMs = performance.now();
  await using world = await createWorld({
    signal, signers: 1, issuance: { minimumTtlSeconds: 2, defaultTtlSeconds: ttl, maximumTtlSeconds: ttl, agentTtlSeconds: ttl, serverTtlSeconds: ttl, bundleRefreshHintSeconds: 1 },
    sections: { authorities: { issuing: { lifeDays: 1 } }, rotation: { automatic: false, retireMarginSeconds: 1, jwksCacheSeconds: 1, onDeadline: 'proceed', marginSeconds: 86_400 - ttl - ahead } },
  });
  const server = world.start();
  await server.ready;
  await world.calls.learnRoots();
  await using agent = await SimAgent.join({ rootsDer: world.calls.rootsDer, port: world.port, joinAgent: (name) => world.calls.joinAgent(name) }, 'sim', []);
  agent.freeze();
  await rotate(world, 'issuing');
  await namedLaggards(world, 'issuing', (each) => each.agentId === agent.credential.spiffeId, 20_000);
  await reaches(world, 'issuing', 'active', (ahead + 30) * 1000);
  const record = await lastActivation(world);
  breaches.expect(record['without'] === 'deadline' && Array.isArray(record['laggards']) && record['laggards'].includes(agent.credential.spiffeId), `the record of the step past the deadline says ${JSON.stringify(record)}`);
  await server.stop();
  return seconds(startedMs);
}

interface Lag {
  readonly agentId: string;
  readonly consumerId: string;
  readonly description: string;
  readonly state: string;
  readonly until: number;
}

const successors = new WeakMap<World, Map<string, string>>();

async function rotate(world: World, kind: string): Promise<void> {
  const { operations } = await world.calls.admin('Authorities/RotateAuthorities', { kind, reason: 'drill' });
  const known = successors.get(world) ?? new Map<string, string>();
  known.set(kind, (operations as { kind: string; successorId: string }[]).find((each) => each.kind === kind)?.successorId ?? '');
  successors.set(world, known);
}

async function progress(world: World, kind: string): Promise<any> {
  const id = successors.get(world)?.get(kind);
  return (await world.calls.admin('Authorities/GetRotationStatus'))['authorities'].find((each: any) => each.authority.id === id);
}

const successor = async (world: World, kind: string): Promise<string> => (await progress(world, kind))?.authority.state ?? 'none';

const reaches = (world: World, kind: string, state: string, withinMs: number): Promise<void> => eventually(async () => (await successor(world, kind)) === state, withinMs, `the new ${kind} authority is ${state}`);
const done = (world: World, withinMs: number): Promise<void> => eventually(async () => (await world.calls.admin('Authorities/GetRotationStatus'))['operations'].length === 0, withinMs, 'nothing is under way');

/** Waits until all who lag are of that kind, and there is one. */
async function namedLaggards(world: World, kind: string, expected: (each: Lag) => boolean, withinMs: number): Promise<readonly Lag[]> {
  let laggards: readonly Lag[] = [];
  await eventually(async () => {
    const { authority, confirmation } = (await progress(world, kind)) ?? { authority: { state: '' } };
    laggards = confirmation?.laggards ?? [];
    return authority.state === 'published' && laggards.length > 0 && laggards.every(expected);
  }, withinMs, `only the expected lag behind: ${JSON.stringify(laggards)}`);
  return laggards;
}

async function lastActivation(world: World): Promise<Record<string, unknown>> {
  const { records } = await world.calls.admin('Audit/ListAuditRecords', { page: { size: 1000 }, kind: 'authority.active' });
  const { detail, actor } = JSON.parse((records.at(-1).canonical as Buffer).toString('utf8').split('\n')[1] as string);
  return { ...detail, actor };
}

async function eventually(check: () => Promise<boolean>, withinMs: number, what: string): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await check())) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs / 1000} s: ${what}`);
    await sleep(100);
  }
}

const seconds = (sinceMs: number): number => round((performance.now() - sinceMs) / 1000, 1);

function pidOf(...words: readonly string[]): number {
  const found = childrenOf(process.pid).find((pid) => {
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return words.every((word) => line.includes(word));
  });
  if (found === undefined) throw new Error(`no process of ours has ${words.join(' and ')} in its command line`);
  return found;
}

/** Owner of one workload process. */
class Workload implements AsyncDisposable {
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(socketPath: string): Promise<Workload> {
    const child = fork(workloadEntry, [socketPath, '500'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [], detached: true });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code, signal) => reject(new Error(`a workload ended before it listened (${signal ?? code})`)));
    });
    return new Workload(child);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.running) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
