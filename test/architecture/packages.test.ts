import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { closure, loadGraph, root } from './graph.ts';

interface PackageFile {
  readonly version: string;
  readonly license: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const read = (path: string): PackageFile =>
  JSON.parse(readFileSync(join(root, path), 'utf8')) as PackageFile;

test('the client library depends on what it loads, and on nothing else', () => {
  const loaded = [...closure(loadGraph(['src', 'sidecar']), 'src/workload/index.ts').keys()]
    .filter((target) => target.startsWith('npm:'))
    .map((target) => target.slice('npm:'.length));
  const { dependencies } = read('packages/workload/package.json');
  assert.deepEqual(Object.keys(dependencies).sort(), loaded.sort());
});

test('the client library has the version, licence and dependencies of the product', () => {
  const product = read('package.json');
  const library = read('packages/workload/package.json');
  assert.deepEqual([library.version, library.license], [product.version, product.license]);
  for (const [name, range] of Object.entries(library.dependencies))
    assert.equal(range, product.dependencies[name], name);
});

test('what starts as a process or thread of its own is bundled', () => {
  const bundled = readFileSync(join(root, 'scripts', 'bundle.mjs'), 'utf8');
  const started = ['src', 'sidecar']
    .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
    .filter((path) =>
      /\bparentPort\b|process\.(send\b|on\('message')/.test(readFileSync(join(root, path), 'utf8')),
    );
  assert.ok(started.length >= 4, started.join());
  for (const path of started) assert.ok(bundled.includes(path.replace(/\.ts$/, '.js')), path);
});
