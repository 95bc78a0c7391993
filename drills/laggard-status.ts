import { patienceMs, until } from '../test/support/until.ts';
import { round } from './drill.ts';
import type { World } from './world.ts';

/** A consumer that an authority waits for, as the status of rotation names it. */
export interface Lag {
  readonly agentId: string;
  readonly consumerId: string;
  readonly spiffeId: string;
  readonly description: string;
  readonly holds: readonly string[];
  readonly lastSeenAt: number;
  readonly state: string;
  readonly until: number;
}

/** The ID of the newest successor, by world and kind. */
const successors = new WeakMap<World, Map<string, string>>();

export async function rotate(world: World, kind: string): Promise<void> {
  const { operations } = await world.calls.admin('Authorities/RotateAuthorities', {
    kind,
    reason: 'drill',
  });
  const known = successors.get(world) ?? new Map<string, string>();
  known.set(
    kind,
    (operations as { kind: string; successorId: string }[]).find((each) => each.kind === kind)
      ?.successorId ?? '',
  );
  successors.set(world, known);
}

export async function progress(world: World, kind: string): Promise<any> {
  const id = successors.get(world)?.get(kind);
  return (await world.calls.admin('Authorities/GetRotationStatus'))['authorities'].find(
    (each: any) => each.authority.id === id,
  );
}

export const signing = async (world: World, kind: string): Promise<string> =>
  (await world.calls.admin('Authorities/GetRotationStatus'))['authorities'].find(
    (each: any) => each.authority.kind === kind && each.authority.state === 'active',
  ).authority.id;

export const successor = async (world: World, kind: string): Promise<string> =>
  (await progress(world, kind))?.authority.state ?? 'none';

export const reaches = (
  world: World,
  kind: string,
  state: string,
  withinMs = patienceMs,
): Promise<void> =>
  until(
    async () => (await successor(world, kind)) === state,
    `the new ${kind} authority is ${state}`,
    withinMs,
  );

/** Nothing is under way, and nothing follows: the intermediate stands under the root that signs. */
export const done = (world: World, withinMs = patienceMs): Promise<void> =>
  until(
    async () => {
      const status = await world.calls.admin('Authorities/GetRotationStatus');
      const active = (kind: string): any =>
        status['authorities'].find(
          ({ authority }: any) => authority.kind === kind && authority.state === 'active',
        )?.authority;
      return (
        status['operations'].length === 0 && active('issuing')?.parentId === active('root')?.id
      );
    },
    'nothing is under way',
    withinMs,
  );

/** Waits until each consumer of the node has confirmed what it was given. */
export const confirmed = (world: World, spiffeId: string, consumers: number): Promise<void> =>
  until(async () => {
    const agent = await world.calls.admin('Agents/GetAgent', { spiffeId });
    const states: readonly any[] = agent['consumers'];
    return states.length >= consumers && states.every(({ state }) => state === 'confirmed');
  }, `the consumers of ${spiffeId} have confirmed`);

/** Waits until all who lag are of that kind, and there is one. */
export async function namedLaggards(
  world: World,
  kind: string,
  expected: (each: Lag) => boolean,
): Promise<readonly Lag[]> {
  let laggards: readonly Lag[] = [];
  await until(
    async () => {
      const { authority, confirmation } = (await progress(world, kind)) ?? {
        authority: { state: '' },
      };
      laggards = confirmation?.laggards ?? [];
      return authority.state === 'published' && laggards.length > 0 && laggards.every(expected);
    },
    `only the expected lag behind: ${JSON.stringify(laggards)}`,
  );
  return laggards;
}

/**
 * Resolves when the server, as it decides now, lets the successor wait with one of these notes.
 * While it decides so, it does not activate the successor.
 */
export const decidesToWait = (
  world: World,
  kind: string,
  codes: readonly string[],
): Promise<void> =>
  until(
    async () => {
      const id = successors.get(world)?.get(kind);
      const { notes } = await world.calls.admin('Authorities/GetRotationStatus');
      return (notes as { code: string; authorityId: string }[]).some(
        ({ code, authorityId }) => authorityId === id && codes.includes(code),
      );
    },
    `the new ${kind} authority waits: ${codes.join(', ')}`,
  );

export async function lastActivation(world: World): Promise<Record<string, unknown>> {
  const { records } = await world.calls.admin('Audit/ListAuditRecords', {
    page: { size: 1000 },
    kind: 'authority.active',
  });
  const { detail, actor } = JSON.parse(
    (records.at(-1).canonical as Buffer).toString('utf8').split('\n')[1] as string,
  );
  return { ...detail, actor };
}

export const seconds = (sinceMs: number): number => round((performance.now() - sinceMs) / 1000, 1);
