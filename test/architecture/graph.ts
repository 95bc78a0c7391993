import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { scan, type Import, type Scan } from './scan.ts';

export interface Edge extends Import {
  /**
   * Path of the file below the root, or `npm:NAME`, `node:NAME`, `file:#…` for what is not ours or
   * not a module.
   */
  readonly target: string;
}

export interface Source extends Scan {
  readonly path: string;
  readonly lines: number;
  readonly edges: readonly Edge[];
}

/** Every module by its path below the root, with forward slashes. */
export type Graph = ReadonlyMap<string, Source>;

export const root = dirname(
  dirname(fileURLToPath(import.meta.resolve('#softhsm/module-path.mjs'))),
);

/** Reads the .ts files below the given folders of the project. */
export function loadGraph(folders: readonly string[]): Graph {
  const files = folders
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  return buildGraph(new Map(files.map((path) => [path, readFileSync(join(root, path), 'utf8')])));
}

/**
 * Scans and resolves. A relative import that leads to none of the files is an error: its floor
 * could not be told.
 */
export function buildGraph(files: ReadonlyMap<string, string>): Graph {
  return new Map(
    [...files].map(([path, text]) => {
      const found = scan(text);
      const edges = found.imports.map(
        (each): Edge => ({ ...each, target: resolve(path, each.specifier, files) }),
      );
      return [path, { ...found, path, lines: text.split('\n').length - 1, edges }];
    }),
  );
}

function resolve(from: string, specifier: string, files: ReadonlyMap<string, string>): string {
  if (specifier.startsWith('.')) {
    const target = posix.normalize(posix.join(posix.dirname(from), specifier));
    if (!files.has(target))
      throw new Error(`${from} imports ${specifier}, which is not a source file of this project`);
    return target;
  }
  if (specifier.startsWith('#')) return `file:${specifier}`;
  if (specifier.startsWith('/') || specifier.includes('://'))
    throw new Error(`${from} imports ${specifier}: use a relative path`);
  if (specifier.startsWith('node:')) return specifier;
  const [scope, name] = specifier.split('/');
  return `npm:${specifier.startsWith('@') ? `${scope}/${name}` : scope}`;
}

/**
 * Everything that a process may load when it starts at `entry`: files and packages, each with the
 * way that leads there. Types don't load. What is forked is another process and no import.
 */
export function closure(
  graph: Graph,
  entry: string,
  { dynamic = true } = {},
): ReadonlyMap<string, readonly string[]> {
  const ways = new Map<string, readonly string[]>([[entry, [entry]]]);
  for (const [path, way] of ways) {
    for (const edge of graph.get(path)?.edges ?? []) {
      if (edge.kind === 'type' || (edge.kind === 'dynamic' && !dynamic) || ways.has(edge.target))
        continue;
      ways.set(edge.target, [...way, edge.target]);
    }
  }
  return ways;
}

/** One circle of nodes per strongly connected part, or none. `nodeOf` maps a file to its folder. */
export function cycles(
  graph: Graph,
  nodeOf: (path: string) => string,
): readonly (readonly string[])[] {
  const next = new Map<string, Set<string>>();
  for (const source of graph.values()) {
    const from = nodeOf(source.path);
    const targets = next.get(from) ?? new Set();
    next.set(from, targets);
    for (const { target } of source.edges)
      if (graph.has(target) && nodeOf(target) !== from) targets.add(nodeOf(target));
  }
  const found = new Map<string, readonly string[]>();
  for (const start of next.keys()) {
    const circle = wayBack(next, start);
    if (circle !== undefined) found.set([...circle].sort().join(' '), circle);
  }
  return [...found.values()];
}

/** The shortest way from a node back to itself. */
function wayBack(
  next: ReadonlyMap<string, ReadonlySet<string>>,
  start: string,
): readonly string[] | undefined {
  const ways = new Map<string, readonly string[]>();
  const queue: (readonly string[])[] = [[start]];
  for (const way of queue) {
    for (const target of next.get(way.at(-1) as string) ?? []) {
      if (target === start) return way;
      if (ways.has(target)) continue;
      ways.set(target, [...way, target]);
      queue.push([...way, target]);
    }
  }
  return undefined;
}
