import type { Graph } from './graph.ts';

/**
 * Lowest first. A file may import from its own folder, from the other folders of its group, and
 * from lower floors.
 */
export const floors: readonly (readonly string[])[] = [
  ['src/common/errors', 'src/common/runtime', 'src/common/unix'],
  ['src/common/spiffe'],
  ['src/common/x509', 'src/common/tlog', 'src/common/ssh-signature'],
  ['src/common/approval', 'src/common/policy'],
  ['src/common/validation'],
  ['src/common/wire'],
  ['src/domain'],
  ['src/certs'],
  ['src/hsm', 'src/store'],
  ['src/ledger'],
  ['src/issuance'],
  ['src/audit'],
  ['src/services'],
  ['src/api'],
  ['src/server'],
  ['src/config'],
  ['src/compose'],
];

/** Folders of one floor that must not know each other. */
const blind: readonly (readonly [string, string])[] = [['src/hsm', 'src/store']];

/** From src/ these import src/common/ only, beside what `alsoFrom` names. */
const guests: Readonly<Record<string, readonly string[]>> = {
  sidecar: [],
  'src/cli': [],
  // Runs on a machine with nothing but the token: no server, no database.
  'src/ceremony': ['src/certs', 'src/hsm'],
  'src/workload': [],
  // The demonstration is a user of the library and starts the real processes.
  demo: ['src/workload'],
};

/** The process edge: the only file that may import everything. */
const entry = 'src/main.ts';

const inside = (path: string, place: string): boolean =>
  path === `${place}.ts` || path.startsWith(`${place}/`);

function floorOf(path: string): { readonly level: number; readonly place: string } | undefined {
  for (const [level, places] of floors.entries()) {
    const place = places.find((each) => inside(path, each));
    if (place !== undefined) return { level, place };
  }
  return undefined;
}

const guestOf = (path: string): string | undefined =>
  Object.keys(guests).find((place) => inside(path, place));

/** One line per import that goes up, sideways, or from a place that has no floor. */
export function floorViolations(graph: Graph): readonly string[] {
  const found: string[] = [];
  for (const { path, edges } of graph.values()) {
    if (path === entry) continue;
    const from = floorOf(path);
    const guest = guestOf(path);
    if (from === undefined && guest === undefined) {
      found.push(`${path} stands on no floor: name its folder in test/architecture/rules.ts`);
      continue;
    }
    for (const { target } of edges) {
      if (!graph.has(target)) continue;
      const reason = guest === undefined ? upward(from, target) : foreign(guest, target);
      if (reason !== undefined) found.push(`${path} imports ${target}: ${reason}`);
    }
  }
  return found;
}

function upward(from: ReturnType<typeof floorOf>, target: string): string | undefined {
  const to = floorOf(target);
  if (from === undefined) return undefined;
  if (to === undefined) return 'which has no floor below';
  if (to.level > from.level) return `${from.place} lies below ${to.place}`;
  if (
    blind.some(
      (pair) => pair.includes(from.place) && pair.includes(to.place) && from.place !== to.place,
    )
  )
    return `${from.place} and ${to.place} are blind to each other`;
  return undefined;
}

function foreign(guest: string, target: string): string | undefined {
  const allowed = [guest, 'src/common', ...(guests[guest] ?? [])];
  return allowed.some((place) => inside(target, place))
    ? undefined
    : `only ${allowed.slice(1).join(' and ')} may be imported there`;
}

/**
 * Folder for the search for circles: the parts of src/, src/common/ and sidecar/; a file at their
 * top counts for itself.
 */
export function partOf(path: string): string {
  const parts = path.split('/');
  const depth = path.startsWith('src/common/') ? 3 : 2;
  return parts.length > depth ? parts.slice(0, depth).join('/') : path;
}
