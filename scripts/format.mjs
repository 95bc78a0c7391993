// Formats every source file and JSON file of the project (biome).
//
//   node scripts/format.mjs [--check]     --check changes nothing and names what is not formatted
import { foreground, inRoot, isMain, main } from './lib.mjs';
import { setup } from './setup.mjs';

/** @returns {Promise<number>} 0, or 1 when `check` is set and a file is not formatted */
export async function format({ check = false } = {}) {
  const binary = inRoot('node_modules', '@biomejs', `cli-linux-${process.arch}`, 'biome');
  const code = await foreground(
    binary,
    ['format', ...(check ? [] : ['--write']), '--log-level=warn', '.'],
    { cwd: inRoot() },
  );
  if (code !== 0 && check) console.error('format: npm run format mends what is named above');
  return code;
}

if (isMain(import.meta.url)) {
  await main((args) => {
    setup({ quiet: true, purpose: 'build' });
    return format({ check: args.includes('--check') });
  });
}
