// Checks the format (biome), lints with types (oxlint) and checks types (tsc).
//
//   node scripts/lint.mjs [--fix]
import { format } from './format.mjs';
import { foreground, inRoot, isMain, main, projectNode } from './lib.mjs';
import { generate } from './gen-proto.mjs';
import { setup } from './setup.mjs';

/** @returns {Promise<number>} exit code of the first check that failed, or 0 */
export async function lint({ fix = false, types = true } = {}) {
  generate({ check: true, useStamp: true });
  const formatted = await format({ check: !fix });
  if (formatted !== 0) return formatted;
  const style = await foreground(projectNode, [
    inRoot('node_modules', 'oxlint', 'bin', 'oxlint'),
    '--type-aware',
    '--deny-warnings',
    ...(fix ? ['--fix'] : []),
    ...['src', 'sidecar', 'demo', 'drills', 'test', 'bench', 'scripts', 'softhsm'].map((folder) =>
      inRoot(folder),
    ),
  ]);
  if (style !== 0 || !types) return style;
  return foreground(projectNode, [
    inRoot('node_modules', 'typescript', 'bin', 'tsc'),
    '--project',
    inRoot(),
    '--noEmit',
    '--tsBuildInfoFile',
    inRoot('dist', '.tsbuildinfo-check'),
  ]);
}

if (isMain(import.meta.url)) {
  await main(async (args) => {
    setup({ quiet: true, purpose: 'build' });
    const code = await lint({ fix: args.includes('--fix') });
    if (code === 0) console.error('lint: no findings');
    return code;
  });
}
