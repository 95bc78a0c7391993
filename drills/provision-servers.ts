import { chmodSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { certificatesFromPem } from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import {
  postgresUser,
  redisPassword,
  setFiles,
  startCaddy,
  startEnvoyFiles,
  startHaproxy,
  startNginx,
  startPostgres,
  startRedis,
  startTraefik,
  type RunningServer,
  type ServedDirectory,
} from '../test/support/servers/index.ts';
import { until } from '../test/support/until.ts';
import type { Language, Served } from './conversation.ts';
import type { OutageNode } from './outage-node.ts';
import { trustDomain, type World } from './world.ts';

type Start = (directory: ServedDirectory) => Promise<RunningServer>;

/** Where `npm run interop` put a program that the distribution has not. */
function foreign(name: 'envoy' | 'caddy' | 'traefik'): string {
  const programs = process.env['MESHCA_FOREIGN_PROGRAMS'];
  if (programs === undefined) throw new Error(`${name} is there with "npm run interop" alone`);
  return (JSON.parse(programs) as Record<string, readonly string[]>)[name]?.[0] ?? '';
}

const starts = {
  nginx: (directory) => startNginx(directory),
  haproxy: (directory) => startHaproxy(directory),
  postgresql: startPostgres,
  redis: startRedis,
  envoy: (directory) => startEnvoyFiles(directory, foreign('envoy')),
  caddy: (directory) => startCaddy(directory, foreign('caddy')),
  traefik: (directory) => startTraefik(directory, foreign('traefik')),
} as const satisfies Record<string, Start>;

export type ServerName = keyof typeof starts;
export const serverNames = Object.keys(starts) as readonly ServerName[];

/** Those of the distribution, or what the option names. */
export function chosenServers(option: string | undefined): readonly ServerName[] {
  if (option === undefined) return ['nginx', 'haproxy', 'postgresql', 'redis'];
  const names = option.split(',');
  const unknown = names.find((name) => !(name in starts));
  if (unknown !== undefined) throw new Error(`there is no server ${unknown}`);
  return names as readonly ServerName[];
}

const languages: Readonly<Partial<Record<ServerName, Language>>> = {
  postgresql: 'postgresql',
  redis: 'redis',
};

/** The directory of a target, which the agent writes. */
class AgentDirectory implements ServedDirectory {
  readonly path: string;

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), 'meshca-target-'));
    // servers may be of another user
    chmodSync(this.path, 0o755);
  }

  get currentSerial(): string {
    return basename(readlinkSync(join(this.path, 'current'))).replace(/^\d+-/, '');
  }

  file(kind: keyof typeof setFiles): string {
    return join(this.path, 'current', setFiles[kind]);
  }
}

/** One server with its target. */
export class ProvisionServer {
  readonly name: ServerName;
  readonly directory: ServedDirectory;
  running: RunningServer | undefined;

  constructor(name: ServerName) {
    this.name = name;
    this.directory = new AgentDirectory();
  }

  get spiffeId(): string {
    return `spiffe://${trustDomain}/server/${this.name}`;
  }

  get pidFile(): string {
    if (this.running === undefined) throw new Error(`${this.name} does not run`);
    return (this.running.driver.settings as { readonly pidFile: string }).pidFile;
  }

  /** Whether the set that is served has these roots and no others. */
  hasExactly(rootsDer: readonly Buffer[]): boolean {
    const held = unwrap(certificatesFromPem(readFileSync(this.directory.file('ca'), 'utf8')));
    return (
      held.length === rootsDer.length &&
      rootsDer.every((root) => held.some((each) => each.equals(root)))
    );
  }

  /** Its part of the configuration. Before the server runs, nobody is told of a set. */
  target(limitSeconds: number): object {
    const owner = this.name === 'postgresql' ? postgresUser : undefined;
    const { running } = this;
    return {
      name: this.name,
      directory: this.directory.path,
      directoryMode: '0755',
      ...(owner === undefined ? {} : { owner, group: owner, keyMode: '0600' }),
      driver:
        running === undefined
          ? { type: 'none' }
          : { type: running.driver.type, ...running.driver.settings, timeoutSeconds: limitSeconds },
      ...(running === undefined ? {} : { listeners: [running.listener] }),
      proof: { handshakes: 5, timeoutSeconds: limitSeconds },
      graceSeconds: 5,
    };
  }
}

/** The servers of one node, with the targets of its agent. Owner of their processes and directories. */
export class ProvisionServers implements AsyncDisposable {
  /** For each step of a driver, and for a proof. */
  readonly limitSeconds = 5;
  readonly #servers: readonly ProvisionServer[];

  private constructor(servers: readonly ProvisionServer[]) {
    this.#servers = servers;
  }

  /** The agent joins and writes first sets; then the servers start, and the agent learns of them. */
  static async start(
    world: World,
    node: OutageNode,
    plan: {
      readonly servers: readonly ServerName[];
      readonly lifeSeconds: number;
      /** Of all certificates; default: that of an entry. */
      readonly profile?: string;
    },
  ): Promise<ProvisionServers> {
    const servers = new ProvisionServers(plan.servers.map((name) => new ProvisionServer(name)));
    try {
      await servers.#start(world, node, plan);
      return servers;
    } catch (thrown) {
      await servers[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  async #start(
    world: World,
    node: OutageNode,
    { lifeSeconds, profile = '' }: { readonly lifeSeconds: number; readonly profile?: string },
  ): Promise<void> {
    const targets = (): readonly object[] =>
      this.#servers.map((server) => server.target(this.limitSeconds));
    await node.join({ port: world.port, lifeSeconds, sections: { targets: targets() } });
    await world.calls.admin('Entries/CreateEntries', {
      entries: [
        ...this.#servers.map(({ name, spiffeId }) => ({
          spiffeId,
          parentId: node.agentId,
          selectors: [`target:name:${name}`],
          profile,
        })),
        {
          spiffeId: `spiffe://${trustDomain}/client`,
          parentId: node.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
          profile,
        },
      ],
    });
    for (const server of this.#servers) {
      await until(
        async () => (await node.target(server.name)).state === 'applied',
        `the first set for ${server.name}`,
      );
      server.running = await starts[server.name](server.directory);
    }
    await node.reconfigure({ port: world.port, lifeSeconds, sections: { targets: targets() } });
    for (const { name } of this.#servers)
      await until(async () => (await node.target(name)).state === 'proven', `${name} is proven`);
  }

  all(): readonly ProvisionServer[] {
    return this.#servers;
  }

  get served(): readonly Served[] {
    return this.#servers.flatMap(({ name, running, spiffeId }) =>
      running === undefined
        ? []
        : [
            {
              name,
              spiffeId,
              listener: running.listener,
              language: languages[name] ?? 'http',
              password: name === 'redis' ? redisPassword : '',
            },
          ],
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#servers.map(async ({ running }) => running?.[Symbol.asyncDispose]()));
    for (const { directory } of this.#servers)
      rmSync(directory.path, { recursive: true, force: true });
  }
}
