// A process that holds the lock of an agent's data directory: prints `held`, starts a child of its
// own that lives on, prints that one's process ID, and waits. Arguments: the directory.
import { spawn } from 'node:child_process';
import { lockDirectory } from '../../../../sidecar/state/index.ts';

await lockDirectory(process.argv[2] as string, {
  pid: process.pid,
  now: Math.floor(Date.now() / 1000),
});
const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
  detached: true,
  stdio: 'ignore',
});
process.stdout.write(`held\n${child.pid}\n`);
setInterval(() => {}, 1000);
