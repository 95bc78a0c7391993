import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PkiError } from '../src/common/errors/index.ts';

/**
 * The folder of the demonstration, so that a second start has the same trust domain, keys and
 * agent.
 */
export interface DemoHome {
  readonly root: string;
  readonly server: string;
  readonly agent: string;
  readonly hsm: string;
  readonly bin: string;
  readonly log: string;
  /** Sockets, lock and list of processes of one run. */
  readonly run: string;
}

export function openHome(root: string): DemoHome {
  const home: DemoHome = {
    root,
    server: join(root, 'server'),
    agent: join(root, 'agent'),
    hsm: join(root, 'hsm'),
    bin: join(root, 'bin'),
    log: join(root, 'log'),
    run: join(root, 'run'),
  };
  for (const [path, mode] of [
    [root, 0o711],
    [home.server, 0o700],
    [home.agent, 0o700],
    [home.hsm, 0o700],
    [home.bin, 0o711],
    [home.log, 0o700],
    [home.run, 0o711],
  ] as const) {
    try {
      mkdirSync(path, { recursive: true, mode });
      // workloads of other users can reach the socket and their binary, but read nothing else
      chmodSync(path, mode);
    } catch (thrown) {
      throw new PkiError(
        'DEMO_PART_FAILED',
        `the folder ${path} can not be made (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
        {
          cause: thrown,
          next: 'Name a folder on a disk that can be written: --home DIR, or MESHCA_HOME.',
        },
      );
    }
  }
  return home;
}

export interface RunningProcess {
  readonly name: string;
  readonly pid: number;
  /**
   * Field 22 of /proc/PID/stat, which distinguishes a process from a later one with the same ID.
   */
  readonly startTicks: string;
}

/** The start time of a living process. Undefined if it has exited or is a zombie. */
export function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // the name in parentheses may contain blanks and parentheses
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

const isAlive = ({ pid, startTicks }: RunningProcess): boolean => startTicksOf(pid) === startTicks;

interface RunFile {
  readonly owner: RunningProcess;
  readonly children: readonly RunningProcess[];
}

/**
 * The lock of a home, and the list of processes that a next start must end if this one is killed.
 * Owner of run/demo.json.
 */
export class RunRecord {
  readonly #path: string;
  readonly #lockPath: string;
  readonly #owner: RunningProcess;
  readonly #children = new Map<number, RunningProcess>();

  private constructor(home: DemoHome, owner: RunningProcess) {
    this.#path = join(home.run, 'demo.json');
    this.#lockPath = join(home.run, 'demo.lock');
    this.#owner = owner;
  }

  /** Takes the lock, after it has ended what a killed demonstration left. Throws DEMO_RUNNING. */
  static async acquire(
    home: DemoHome,
    pid: number,
  ): Promise<{ readonly record: RunRecord; readonly recovered: readonly string[] }> {
    const owner: RunningProcess = { name: 'demo', pid, startTicks: startTicksOf(pid) ?? '' };
    const record = new RunRecord(home, owner);
    record.#lock(home);
    const recovered = await endLeftovers(readRun(record.#path)?.children ?? []);
    record.#write();
    return { record, recovered };
  }

  add(name: string, pid: number): void {
    const startTicks = startTicksOf(pid);
    if (startTicks === undefined) return;
    this.#children.set(pid, { name, pid, startTicks });
    this.#write();
  }

  remove(pid: number): void {
    this.#children.delete(pid);
    this.#write();
  }

  /**
   * Whether the folder still exists and is ours: neither deleted, nor taken by another
   * demonstration after that.
   */
  intact(): boolean {
    const holder = readJson<RunningProcess>(this.#lockPath);
    return holder?.pid === this.#owner.pid && holder.startTicks === this.#owner.startTicks;
  }

  release(): void {
    // another demonstration may own the folder now, and its files must stay
    if (!this.intact()) return;
    rmSync(this.#path, { force: true });
    rmSync(this.#lockPath, { force: true });
  }

  #lock(home: DemoHome): void {
    for (;;) {
      try {
        writeNew(this.#lockPath, JSON.stringify(this.#owner));
        return;
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown;
      }
      const holder = readJson<RunningProcess>(this.#lockPath);
      if (holder !== undefined && isAlive(holder)) {
        throw new PkiError(
          'DEMO_RUNNING',
          `a demonstration already runs here (process ${holder.pid}, folder ${home.root})`,
        );
      }
      // moved aside rather than removed, so that of two that see the same dead lock only one
      // succeeds
      const aside = `${this.#lockPath}.${this.#owner.pid}`;
      try {
        renameSync(this.#lockPath, aside);
        rmSync(aside, { force: true });
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
      }
    }
  }

  #write(): void {
    const run: RunFile = { owner: this.#owner, children: [...this.#children.values()] };
    try {
      writeDurably(this.#path, JSON.stringify(run));
    } catch (thrown) {
      // the folder was deleted: `intact` reports that and everything is ended in order, which must
      // not fail here
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
    }
  }
}

/**
 * SIGTERM, then SIGKILL, for exactly the processes that were recorded: an ID that was given away
 * meanwhile is left alone.
 */
async function endLeftovers(children: readonly RunningProcess[]): Promise<readonly string[]> {
  const alive = children.filter(isAlive);
  const signal = (name: 'SIGTERM' | 'SIGKILL'): void => {
    for (const child of alive) {
      if (!isAlive(child)) continue;
      try {
        process.kill(child.pid, name);
      } catch {
        // it exited between the two calls
      }
    }
  };
  signal('SIGTERM');
  for (let waited = 0; waited < 3000 && alive.some(isAlive); waited += 50)
    await new Promise((resolve) => setTimeout(resolve, 50));
  signal('SIGKILL');
  for (let waited = 0; waited < 2000 && alive.some(isAlive); waited += 50)
    await new Promise((resolve) => setTimeout(resolve, 50));
  return alive.map(({ name }) => name);
}

const readRun = (path: string): RunFile | undefined => readJson<RunFile>(path);

export function readJson<T>(path: string): T | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

function writeNew(path: string, text: string): void {
  const handle = openSync(path, 'wx', 0o600);
  writeFileSync(handle, text);
  closeSync(handle);
}

export function writeDurably(path: string, text: string, mode = 0o600): void {
  const handle = openSync(`${path}.new`, 'w', mode);
  writeFileSync(handle, text);
  fsyncSync(handle);
  closeSync(handle);
  renameSync(`${path}.new`, path);
}
