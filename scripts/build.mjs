// Compiles src/, sidecar/, demo/, drills/, test/ and bench/ to dist/, and bundles the product into dist/product. Does
// nothing when no input has changed since it last succeeded.
//
//   node scripts/build.mjs [--force]
import { chmodSync, existsSync, rmSync } from 'node:fs';
import { relative } from 'node:path';
import { bundle } from './bundle.mjs';
import { generate } from './gen-proto.mjs';
import {
  capture,
  digestOf,
  filesBelow,
  inRoot,
  isMain,
  main,
  projectNode,
  stampMatches,
  writeStamp,
} from './lib.mjs';
import { setup } from './setup.mjs';

const sources = ['src', 'sidecar', 'demo', 'drills', 'test', 'bench'];
const stamp = inRoot('dist', '.build-stamp');

export async function build({ quiet = false, force = false, checkGenerated = false } = {}) {
  const say = (line) => {
    if (!quiet) process.stderr.write(`build: ${line}\n`);
  };
  const { written, removed } = generate({ check: checkGenerated, useStamp: true });
  if (written.length + removed.length > 0)
    process.stderr.write(
      `build: proto types: ${written.length} written, ${removed.length} removed; commit them\n`,
    );

  const inputs = sources.flatMap((folder) =>
    filesBelow(inRoot(folder), (path) => path.endsWith('.ts')),
  );
  const digest = digestOf([
    ...inputs,
    inRoot('tsconfig.json'),
    inRoot('package.json'),
    inRoot('package-lock.json'),
    inRoot('scripts', 'bundle.mjs'),
  ]);
  if (!force && stampMatches(stamp, digest)) {
    say('up to date');
    return;
  }
  const started = Date.now();
  // a build that is interrupted from here on is not done, whatever the inputs are then
  rmSync(stamp, { force: true });
  removeOrphans();
  capture(projectNode, [
    inRoot('node_modules', 'typescript', 'bin', 'tsc'),
    '--project',
    inRoot(),
    '--pretty',
    'false',
  ]);
  await bundle();
  const entry = inRoot('dist', 'product', 'main.js');
  if (existsSync(entry)) chmodSync(entry, 0o755);
  writeStamp(stamp, digest);
  say(`compiled and bundled in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** Output whose source is gone would still be run or imported. */
function removeOrphans() {
  for (const folder of sources) {
    for (const path of filesBelow(inRoot('dist', folder), (name) =>
      /\.(js|js\.map|d\.ts)$/.test(name),
    )) {
      const source = inRoot(relative(inRoot('dist'), path).replace(/\.(js|js\.map|d\.ts)$/, '.ts'));
      if (existsSync(source)) continue;
      rmSync(path);
      // The compiler's record would otherwise hold that the file has been written already, should
      // the source come back.
      rmSync(inRoot('dist', '.tsbuildinfo'), { force: true });
    }
  }
}

if (isMain(import.meta.url)) {
  await main(async (args) => {
    setup({ quiet: true, purpose: 'build' });
    await build({ force: args.includes('--force') });
  });
}
