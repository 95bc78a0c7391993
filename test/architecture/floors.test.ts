import assert from 'node:assert/strict';
import test from 'node:test';
import { closure, cycles, loadGraph, type Graph } from './graph.ts';
import { floorViolations, partOf } from './rules.ts';

const graph = loadGraph(['src', 'sidecar', 'demo']);
const ours: Graph = new Map(
  [...graph].filter(([path]) => !path.startsWith('src/common/wire/generated/')),
);

const pkcs11 = ['npm:pkcs11js', 'npm:graphene-pk11'];
const sql = ['npm:kysely', 'node:sqlite', 'npm:pg'];

/** Where `process` may be read: the edges of processes, each with what it needs it for. */
const processEdges = new Set([
  'src/main.ts', // arguments, environment, signals, exit code
  'sidecar/main.ts', // the same for the agent
  'src/hsm/signer-process.ts', // the channel to the parent, and its end
  'src/hsm/token-admin-process.ts', // the same
  'sidecar/attest/unix/inspector-child.ts', // the same
  'src/workload/environment.ts', // SPIFFE_ENDPOINT_SOCKET, as the standard asks of a library
]);
const isProcessEdge = (path: string): boolean => processEdges.has(path) || path.startsWith('demo/');

/** How an entry comes to load what it must not, one line each. */
function ways(
  entry: string,
  forbidden: readonly string[],
  options?: { dynamic: boolean },
): readonly string[] {
  const reached = closure(graph, entry, options);
  return forbidden.flatMap((name) => reached.get(name)?.join(' > ') ?? []);
}

test('the sources were read and resolved', () => {
  assert.ok(graph.size > 30, `${graph.size} files`);
  assert.ok(
    [...graph.values()].some(({ edges }) =>
      edges.some(({ target }) => target === 'src/common/errors/index.ts'),
    ),
  );
  assert.ok(
    [...graph.values()].some(({ edges }) => edges.some(({ target }) => pkcs11.includes(target))),
    'PKCS#11 is imported somewhere',
  );
});

test('imports only go down the floors, and guests import src/common only', () => {
  assert.deepEqual(floorViolations(graph), []);
});

test('no two folders import each other, directly or in a circle', () => {
  assert.deepEqual(cycles(ours, partOf), []);
});

test('PKCS#11 packages are imported by src/hsm only, SQL packages by src/store only', () => {
  const stray = [...graph.values()].flatMap(({ path, edges }) =>
    edges
      .filter(
        ({ target }) =>
          (pkcs11.includes(target) && !path.startsWith('src/hsm/')) ||
          (sql.includes(target) && !path.startsWith('src/store/')),
      )
      .map(({ target }) => `${path} imports ${target}`),
  );
  assert.deepEqual(stray, []);
});

test('the agent can load neither PKCS#11 nor SQL', () => {
  // Every file of the agent, so that the rule holds before and beside its entry.
  for (const path of graph.keys()) {
    if (path.startsWith('sidecar/')) assert.deepEqual(ways(path, [...pkcs11, ...sql]), []);
  }
});

test('the command line and the client library can load neither PKCS#11 nor SQL', () => {
  for (const path of graph.keys()) {
    if (/^src\/(cli|workload)\//.test(path)) assert.deepEqual(ways(path, [...pkcs11, ...sql]), []);
  }
});

test('the command line and the client library load no native code', () => {
  for (const path of graph.keys()) {
    if (/^src\/(cli|workload)\//.test(path)) assert.deepEqual(ways(path, ['npm:koffi']), []);
  }
  assert.notDeepEqual(ways('src/common/unix/peer-credentials.ts', ['npm:koffi']), []);
});

test('what every command loads at its start holds neither PKCS#11 nor SQL', () => {
  if (graph.has('src/main.ts'))
    assert.deepEqual(ways('src/main.ts', [...pkcs11, ...sql], { dynamic: false }), []);
});

test('the main process of the server can not load PKCS#11: only the forked signer does', () => {
  const entries = [...graph.keys()].filter(
    (path) => path === 'src/compose.ts' || /^src\/(compose|server|services|issuance)\//.test(path),
  );
  assert.ok(entries.length > 0);
  for (const path of entries) assert.deepEqual(ways(path, pkcs11), []);
  assert.notDeepEqual(ways('src/hsm/signer-process.ts', pkcs11), []);
});

test('each import names what it imports', () => {
  assert.deepEqual(
    [...graph.values()].filter(({ unknownImports }) => unknownImports > 0).map(({ path }) => path),
    [],
  );
});

test('nothing is exported by default', () => {
  assert.deepEqual(
    [...ours.values()].filter(({ defaultExport }) => defaultExport).map(({ path }) => path),
    [],
  );
});

test('process is read at process edges only', () => {
  assert.deepEqual(
    [...ours.values()]
      .filter(({ path, readsProcess }) => readsProcess && !isProcessEdge(path))
      .map(({ path }) => path),
    [],
  );
});

test('files are named in kebab-case', () => {
  assert.deepEqual(
    [...ours.keys()].filter((path) => !/^[a-z0-9/-]+\.ts$/.test(path)),
    [],
  );
});
