import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { version } from './version.ts';

/** One finding on the machine that a server or agent is to run on. */
export interface MachineCheck {
  readonly what: string;
  readonly state: 'ok' | 'warning' | 'failed';
  readonly text: string;
  readonly next?: string;
}

const oldestNode = [24, 15] as const;

export function versionCheck(node: string): MachineCheck {
  const [major = 0, minor = 0] = node.replace(/^v/, '').split('.').map(Number);
  const isOld = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1]);
  const text = `meshca ${version}, Node ${node}`;
  return isOld
    ? {
        what: 'versions',
        state: 'failed',
        text,
        next: `Use Node ${oldestNode.join('.')} or later.`,
      }
    : { what: 'versions', state: 'ok', text };
}

/** Checks that a directory exists and is closed to others, or can be made. */
export function directoryCheck(what: string, path: string, uid: number): MachineCheck {
  const failed = (text: string, next: string): MachineCheck => ({
    what,
    state: 'failed',
    text: `${path} ${text}`,
    next,
  });
  if (!existsSync(path)) {
    let above = dirname(path);
    while (!existsSync(above)) above = dirname(above);
    return statSync(above).isDirectory() && isWritable(above)
      ? { what, state: 'ok', text: `${path} is made at the first start` }
      : failed(
          `is not there and can not be made in ${above}`,
          'Make it, owned by the user of the process, with mode 0700.',
        );
  }
  const { mode, uid: owner } = statSync(path);
  if (!statSync(path).isDirectory()) return failed('is no directory', 'Name another path.');
  if (!isWritable(path))
    return failed(
      `is not writable for uid ${uid}`,
      'Run this as the user of the process, or change the owner of the directory.',
    );
  if ((mode & 0o022) !== 0 || (owner !== uid && uid !== 0))
    return failed(
      `is open to others (owner ${owner}, mode ${(mode & 0o7777).toString(8)})`,
      'Give it to the user of the process with mode 0700; what others have put into it must go.',
    );
  return { what, state: 'ok', text: `${path} is there and writable` };
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Checks that the port can be bound now. 0 stands for any port. */
export function portCheck(what: string, address: string, port: number): Promise<MachineCheck> {
  const shown = `${address}:${port}`;
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code }: NodeJS.ErrnoException) => {
      resolve(
        code === 'EADDRINUSE'
          ? {
              what,
              state: 'warning',
              text: `${shown} is in use`,
              next: 'That is right while the server or agent runs; otherwise another process has it.',
            }
          : {
              what,
              state: 'failed',
              text: `${shown} can not be bound (${code ?? 'error'})`,
              next: 'Name an address of this machine, and a port from 1024 on or CAP_NET_BIND_SERVICE.',
            },
      );
    });
    server.listen({ host: address, port, exclusive: true }, () => {
      server.close(() => resolve({ what, state: 'ok', text: `${shown} is free` }));
    });
  });
}

/** Checks that the clock is not behind instants that were written before. */
export function clockCheck(now: number, written: readonly string[]): MachineCheck {
  const newest = written.reduce(
    (latest, path) => (existsSync(path) ? Math.max(latest, statSync(path).mtimeMs / 1000) : latest),
    0,
  );
  const shown = new Date(now * 1000).toISOString();
  const built = 1_735_689_600;
  if (now < built || newest > now + 60)
    return {
      what: 'clock',
      state: 'failed',
      text:
        now < built
          ? `${shown} is before this release was made`
          : `${shown} is before the last write, ${new Date(newest * 1000).toISOString()}`,
      next: 'Set the clock; run a time service such as chrony.',
    };
  return { what: 'clock', state: 'ok', text: shown };
}

/** Checks for CAP_SYS_PTRACE (capabilities(7)), the right to inspect processes of other users. */
export function ptraceCheck(status = readFileSync('/proc/self/status', 'utf8')): MachineCheck {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return (effective >> 19n) & 1n
    ? { what: 'capabilities', state: 'ok', text: 'CAP_SYS_PTRACE' }
    : {
        what: 'capabilities',
        state: 'warning',
        text: 'no CAP_SYS_PTRACE: path and hash of processes of other users stay unknown',
        next: 'Run the agent as root or with AmbientCapabilities=CAP_SYS_PTRACE; see deploy/.',
      };
}
