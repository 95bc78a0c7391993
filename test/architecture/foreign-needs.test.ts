import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
const folder = join(root, 'test', 'interop');
const { foreignNeeds } = (await import(join(root, 'scripts', 'foreign-needs.mjs'))) as {
  readonly foreignNeeds: (files: readonly string[]) => Set<string>;
};
const needsOf = (...names: readonly string[]): readonly string[] =>
  [...foreignNeeds(names.map((name) => join(folder, `${name}.interop.ts`)))].toSorted();

test('an interop file needs the foreign programs that it and its imports name', () => {
  assert.deepEqual(needsOf('crl-scale'), []);
  assert.deepEqual(needsOf('grpcurl'), ['grpcurl']);
  assert.deepEqual(needsOf('envoy'), ['envoy']);
  assert.deepEqual(needsOf('kubernetes'), ['apiServer', 'etcd']);
  assert.deepEqual(needsOf('file-targets', 'grpcurl'), ['caddy', 'envoy', 'grpcurl', 'traefik']);
});

test('every foreign program is needed by an interop file, and named by a literal', () => {
  const all = readdirSync(folder)
    .filter((name) => name.endsWith('.interop.ts'))
    .map((name) => name.replace('.interop.ts', ''));
  const needed = needsOf(...all);
  for (const name of ['acme', 'clients', 'controlPlanes', 'goClient', 'judges', 'spire', 'vectors'])
    assert.ok(needed.includes(name), name);
});

test('a program that is not named by a literal is refused', (context) => {
  const scratch = mkdtempSync(join(tmpdir(), 'meshca-needs-'));
  context.after(() => rmSync(scratch, { recursive: true, force: true }));
  const file = join(scratch, 'a.interop.ts');
  writeFileSync(file, 'foreignProgram(name)');
  assert.throws(() => foreignNeeds([file]), /does not say by a literal/);
});
