// Installs what is missing, builds, and starts the demonstration: a CA, an agent and two workloads
// in mTLS.
//
//   npm start [-- ARGUMENT...]
import { build } from './build.mjs';
import { foreground, inRoot, main, projectNode } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async (args) => {
  setup({ quiet: true, purpose: 'start' });
  await build({ quiet: true });
  return foreground(projectNode, [inRoot('dist', 'demo', 'main.js'), ...args], { tethered: true });
});
