import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../support/until.ts';

/** What a program printed, and how it ended. */
export interface ProgramEnd {
  readonly code: number | null;
  readonly output: string;
}

/** A program that runs on until it is ended. */
export interface RunningProgram extends AsyncDisposable {
  readonly output: () => string;
  readonly hasEnded: () => boolean;
}

interface NetworkOptions {
  /** A folder like `/`, whose packages each machine has. */
  readonly packages: string;
  /** Name of a program of each machine → where it is. */
  readonly programs: Readonly<Record<string, string>>;
}

/**
 * Machines on one wire, by namespaces of Linux: each has an address, its own ports, and its own
 * `/etc`, `/usr` and `/var`, so that programs run as their guides say. The first address is that of
 * this process. A namespace lives as long as its holder, which ends with this process.
 */
export class Network implements AsyncDisposable {
  readonly address: string;
  readonly #prefix: string;
  readonly #options: NetworkOptions;
  readonly #dir = mkdtempSync(join(tmpdir(), 'meshca-network-'));
  readonly #wire: Namespace;
  readonly #machines: Machine[] = [];
  #next = 2;

  private constructor(prefix: string, wire: Namespace, options: NetworkOptions) {
    this.#prefix = prefix;
    this.#wire = wire;
    this.#options = options;
    this.address = `${prefix}.1`;
  }

  static async open(options: NetworkOptions): Promise<Network> {
    const network = new Network(freePrefix(), await Namespace.open(['-n'], 'true'), options);
    await network.#onWire('ip link add wire type bridge && ip link set wire up');
    await run('ip', [
      'link',
      'add',
      endOfWire,
      'type',
      'veth',
      'peer',
      'name',
      'host',
      'netns',
      network.#pid,
    ]);
    await network.#onWire('ip link set host master wire up');
    await run('ip', ['address', 'add', `${network.address}/24`, 'dev', endOfWire]);
    await run('ip', ['link', 'set', endOfWire, 'up']);
    return network;
  }

  /** In CIDR notation. */
  get range(): string {
    return `${this.#prefix}.0/24`;
  }

  /** Adds a machine. The network owns it. */
  async add(): Promise<Machine> {
    const number = this.#next;
    this.#next += 1;
    const dir = join(this.#dir, String(number));
    mkdirSync(dir);
    const namespace = await Namespace.open(
      ['-n', '-m'],
      filesOf(dir, this.#options.packages, this.#options.programs),
    );
    const address = `${this.#prefix}.${number}`;
    const machine = new Machine(address, namespace);
    this.#machines.push(machine);
    const pid = String(namespace.pid);
    await this.#onWire(
      `ip link add to${number} type veth peer name eth0 netns ${pid}; ip link set to${number} master wire up`,
    );
    await machine.must(
      `ip address add ${address}/24 dev eth0; ip link set eth0 up; ip link set lo up`,
    );
    return machine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const machine of this.#machines) await machine[Symbol.asyncDispose]();
    await run('ip', ['link', 'delete', endOfWire]);
    await this.#wire[Symbol.asyncDispose]();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  get #pid(): string {
    return String(this.#wire.pid);
  }

  #onWire(script: string): Promise<string> {
    return run('nsenter', ['-t', this.#pid, '-n', 'sh', '-ec', script]);
  }
}

/** One machine of a network. Owner of the programs that run on it. */
export class Machine implements AsyncDisposable {
  readonly address: string;
  readonly #namespace: Namespace;
  readonly #programs = new Set<RunningProgram>();

  constructor(address: string, namespace: Namespace) {
    this.address = address;
    this.#namespace = namespace;
  }

  /** Runs a script of the shell to its end, in the home of this machine. */
  async run(
    script: string,
    environment: Readonly<Record<string, string>> = {},
  ): Promise<ProgramEnd> {
    const child = this.#spawn(script, environment);
    let [output, ended] = ['', false];
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (bytes: Buffer) => (output += bytes.toString()));
    child.once('close', () => (ended = true));
    await until(() => ended, `the end of ${script}`).catch((thrown: unknown) => {
      endGroup(child);
      throw new Error(`${String(thrown)}\n${output.slice(-4000)}`);
    });
    return { code: child.exitCode, output };
  }

  /** @throws Error if it ends with another code than 0 */
  async must(script: string, environment: Readonly<Record<string, string>> = {}): Promise<string> {
    const { code, output } = await this.run(script, environment);
    if (code !== 0) throw new Error(`${script}\nended with ${code}: ${output.slice(-4000)}`);
    return output;
  }

  async write(path: string, text: string): Promise<void> {
    await this.must('mkdir -p "$(dirname "$FILE")" && printf %s "$TEXT" > "$FILE"', {
      FILE: path,
      TEXT: text,
    });
  }

  /** @param script the last command of it is an `exec` */
  start(script: string, environment: Readonly<Record<string, string>> = {}): RunningProgram {
    const child = this.#spawn(script, environment);
    let [output, ended] = ['', false];
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (bytes: Buffer) => (output += bytes.toString()));
    child.once('close', () => (ended = true));
    const program: RunningProgram = {
      output: () => output,
      hasEnded: () => ended,
      [Symbol.asyncDispose]: async () => {
        endGroup(child);
        await until(() => ended, 'a program of a machine ends');
        this.#programs.delete(program);
      },
    };
    this.#programs.add(program);
    return program;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of [...this.#programs]) await program[Symbol.asyncDispose]();
    await this.#namespace[Symbol.asyncDispose]();
  }

  #spawn(script: string, environment: Readonly<Record<string, string>>): ChildProcess {
    const enter = ['-t', String(this.#namespace.pid), '-n', '-m'];
    return spawn(
      'nsenter',
      [...enter, 'setpriv', '--pdeathsig', 'KILL', 'sh', '-ec', `cd ${home}\n${script}`],
      {
        env: { PATH: path, HOME: home, LANG: 'C.UTF-8', ...environment },
        // a group of its own, which ends as a whole: servers have workers
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
  }
}

function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

/** The interface of this process on its wire. */
const endOfWire = `meshca${process.pid}`;
const home = '/var/home';
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Namespaces that live as long as the process that holds them: it ends with its input. */
class Namespace implements AsyncDisposable {
  readonly pid: number;
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.pid = holder.pid as number;
  }

  /** @param prepare a script that runs in them first */
  static async open(kinds: readonly string[], prepare: string): Promise<Namespace> {
    const script = `${prepare}\necho ready\nexec cat`;
    const holder = spawn('unshare', [...kinds, 'sh', '-ec', script], { stdio: 'pipe' });
    let [output, errors] = ['', ''];
    holder.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
    holder.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
    await until(() => {
      if (holder.exitCode !== null) throw new Error(`no namespace (needs root): ${errors}`);
      return output.includes('ready');
    }, 'a namespace is made');
    return new Namespace(holder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.kill('SIGKILL');
    await until(
      () => this.#holder.signalCode !== null || this.#holder.exitCode !== null,
      'it ends',
    );
  }
}

/** Layers above the files of this system; what a machine writes is its own, and in memory. */
function filesOf(
  dir: string,
  packages: string,
  programs: Readonly<Record<string, string>>,
): string {
  const layers = ['etc', 'usr', 'var'].map((name) => {
    const below = [`/${name}`, join(packages, name)].filter((each) => existsSync(each)).join(':');
    const [upper, work] = [join(dir, `${name}-upper`), join(dir, `${name}-work`)];
    return `mkdir ${upper} ${work}
mount -t overlay overlay -o lowerdir=${below},upperdir=${upper},workdir=${work} /${name}`;
  });
  const links = Object.entries(programs).map(
    ([name, target]) => `ln -sf ${target} /usr/local/bin/${name}`,
  );
  return [`mount -t tmpfs tmpfs ${dir}`, ...layers, `mkdir -p ${home}`, ...links].join('\n');
}

/** The first three numbers of a network that this machine is not in. */
function freePrefix(): string {
  const used = Object.values(networkInterfaces()).flatMap((each) =>
    (each ?? []).map(({ address }) => address),
  );
  for (let at = 0; at < 128; at += 1) {
    const prefix = `10.${128 + ((process.pid + at) % 120)}.${(process.pid >> 7) & 255}`;
    if (!used.some((address) => address.startsWith(`${prefix}.`))) return prefix;
  }
  throw new Error('no network is free');
}

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) =>
    execFile(program, args, (error, stdout, stderr) =>
      error === null
        ? resolve(stdout)
        : reject(new Error(`${program} ${args.join(' ')}: ${stderr}`, { cause: error })),
    ),
  );
}
