// Runs a compiled entry of this project on its own Node, after setting up and building what is
// missing.
//
//   node scripts/run.mjs PATH [ARGUMENT...]      PATH is below dist/, for instance product/main.js
//
// Nothing but the program writes to stdout. Signals reach it, and its exit code is passed through.
import { existsSync } from 'node:fs';
import { build } from './build.mjs';
import { foreground, inRoot, main, projectNode, ScriptError } from './lib.mjs';
import { setup } from './setup.mjs';

const callersFolder = () => {
  const folder =
    process.env['npm_lifecycle_event'] === undefined ? undefined : process.env['INIT_CWD'];
  return folder !== undefined && existsSync(folder) ? folder : process.cwd();
};

await main(async ([path, ...args]) => {
  if (path === undefined)
    throw new ScriptError('say what to run: node scripts/run.mjs product/main.js --help');
  setup({ quiet: true });
  await build({ quiet: true });
  const entry = inRoot('dist', path);
  if (!existsSync(entry))
    throw new ScriptError(`there is no ${path.replace(/\.js$/, '.ts')} in this project`);
  // npm changes to the project's folder; paths are relative to where the person stands
  return foreground(projectNode, [entry, ...args], {
    cwd: callersFolder(),
    tethered: path === 'product/main.js',
  });
});
