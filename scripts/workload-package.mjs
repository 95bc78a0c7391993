// Builds the client library as a package of its own, in packages/workload: src/workload with what it
// needs of src/common, compiled for Node 20; its two contracts; its documentation and the licence.
// Nothing of that is in git there.
//
//   node scripts/workload-package.mjs     "npm pack" in packages/workload runs it first
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { capture, filesBelow, inRoot, isMain, main, projectNode, ScriptError } from './lib.mjs';
import { generate } from './gen-proto.mjs';
import { setup } from './setup.mjs';

const inPackage = (...parts) => inRoot('packages', 'workload', ...parts);

/** What the library loads at run time and for its documentation, by the path below the project. */
const copies = [
  'proto/spiffe/workload.proto',
  'proto/meshca/workload/v1/reports.proto',
  'proto/meshca/issuer/v1/issuer.proto',
  'docs/client-library.md',
  'LICENSE',
];

export function buildWorkloadPackage() {
  generate({ check: true });
  for (const folder of ['dist', 'proto', 'docs'])
    rmSync(inPackage(folder), { recursive: true, force: true });
  capture(projectNode, [
    inRoot('node_modules', 'typescript', 'bin', 'tsc'),
    '--project',
    inPackage(),
    '--pretty',
    'false',
  ]);
  removeUnreached(inPackage('dist'), ['workload/index.js', 'workload/index.d.ts']);
  for (const path of copies) {
    mkdirSync(dirname(inPackage(path)), { recursive: true });
    cpSync(inRoot(path), inPackage(path));
  }
}

/**
 * The compiler writes each file that it read, for types alone as well. What neither the library nor
 * its declarations import goes.
 */
function removeUnreached(folder, entries) {
  const reached = new Set(entries.map((entry) => join(folder, entry)));
  for (const path of reached)
    for (const specifier of importsOf(readFileSync(path, 'utf8')))
      reached.add(targetOf(join(dirname(path), specifier), path));
  const written = new Set(filesBelow(folder));
  const missing = [...reached].filter((path) => !written.has(path));
  if (missing.length > 0)
    throw new ScriptError(`the package would lack ${relative(folder, missing[0])}`);
  for (const path of written) if (!reached.has(path)) rmSync(path);
}

/** Relative imports of compiled code and declarations. */
const importsOf = (text) =>
  [...text.matchAll(/(?:\bfrom|\bimport\(?)\s*['"](\.[^'"]+)['"]/g)].map(([, path]) => path);

const targetOf = (target, importer) =>
  importer.endsWith('.d.ts') ? target.replace(/\.(js|ts)$/, '.d.ts') : target;

if (isMain(import.meta.url)) {
  await main(() => {
    setup({ quiet: true, purpose: 'build' });
    buildWorkloadPackage();
  });
}
