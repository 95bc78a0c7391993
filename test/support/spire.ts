import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import { webPair } from './bundle-endpoint.ts';
import { freePorts } from './ports.ts';
import type { TestAuthority } from './test-pki.ts';
import { patienceMs, until } from './until.ts';

const execute = promisify(execFile);

export interface SpirePrograms {
  readonly server: string;
  readonly agent: string;
}

export interface SpireOptions {
  readonly programs: SpirePrograms;
  readonly trustDomain: string;
  /** How its own bundle endpoint proves itself. */
  readonly profile: 'https_spiffe' | 'https_web';
  /** Above endpoints of the profile https_web, its own and those that it asks. */
  readonly webRoot: TestAuthority;
}

/** Where SPIRE finds the bundle endpoint of a trust domain that it is to trust. */
export type SpirePartner =
  | {
      readonly trustDomain: string;
      readonly url: string;
      readonly profile: 'https_web';
    }
  | {
      readonly trustDomain: string;
      readonly url: string;
      readonly profile: 'https_spiffe';
      readonly endpointId: string;
      /** Its bundle document, which verifies the endpoint the first time. */
      readonly document: string;
    };

/** A real SPIRE server with one agent, attested by a join token. Owner of both processes. */
export class Spire implements AsyncDisposable {
  readonly trustDomain: string;
  readonly endpointUrl: string;
  readonly endpointId: string;
  /** Of the agent: Workload API and secret discovery. */
  readonly socketPath: string;
  readonly #dir: string;
  readonly #options: SpireOptions;
  readonly #ports: readonly number[];
  readonly #children: Watched[] = [];
  #parentId = '';

  private constructor(dir: string, ports: readonly number[], options: SpireOptions) {
    this.trustDomain = options.trustDomain;
    this.endpointUrl = `https://localhost:${ports[1]}/`;
    this.endpointId = `spiffe://${options.trustDomain}/spire/server`;
    this.socketPath = join(dir, 'agent.sock');
    this.#dir = dir;
    this.#options = options;
    this.#ports = ports;
  }

  static async start(options: SpireOptions): Promise<Spire> {
    const dir = await mkdtemp(join(tmpdir(), 'meshca-spire-'));
    const spire = new Spire(dir, await freePorts(2), options);
    try {
      await spire.#startServer();
      await spire.#startAgent();
    } catch (thrown) {
      await spire[Symbol.asyncDispose]();
      throw thrown;
    }
    return spire;
  }

  /** A command of the server. Fails with the end of a log if one of the processes has ended. */
  async cli(...args: readonly string[]): Promise<string> {
    this.#requireAlive();
    const command = [...args, '-socketPath', join(this.#dir, 'server.sock')];
    const { stdout } = await execute(this.#options.programs.server, command, {
      timeout: patienceMs,
    });
    return stdout;
  }

  /** Its own bundle document. */
  document(): Promise<string> {
    return this.cli('bundle', 'show', '-format', 'spiffe');
  }

  /** The bundle document of a trust domain that it trusts. */
  held(trustDomain: string): Promise<string> {
    return this.cli('bundle', 'list', '-id', `spiffe://${trustDomain}`, '-format', 'spiffe');
  }

  async trust(partner: SpirePartner): Promise<void> {
    const spiffe = partner.profile === 'https_spiffe';
    const path = join(this.#dir, `${partner.trustDomain}.json`);
    if (spiffe) await writeFile(path, partner.document);
    await this.cli(
      ...['federation', 'create', '-trustDomain', partner.trustDomain],
      ...['-bundleEndpointURL', partner.url, '-bundleEndpointProfile', partner.profile],
      ...(spiffe
        ? [
            ...['-endpointSpiffeID', partner.endpointId],
            ...['-trustDomainBundlePath', path, '-trustDomainBundleFormat', 'spiffe'],
          ]
        : []),
    );
    await until(async () => {
      await this.cli('federation', 'refresh', '-id', `spiffe://${partner.trustDomain}`);
      return (await this.held(partner.trustDomain)).includes('x509-svid');
    }, `SPIRE has the bundle of ${partner.trustDomain}`);
  }

  /** Its entries keep their identities, and lose the bundle. */
  async distrust(trustDomain: string): Promise<void> {
    const id = ['-id', `spiffe://${trustDomain}`];
    await this.cli('federation', 'delete', ...id);
    await this.cli('bundle', 'delete', ...id, '-mode', 'dissociate');
  }

  /** An entry for every process of this user. */
  async entry(path: string, federatesWith: readonly string[]): Promise<void> {
    await this.cli(
      ...['entry', 'create', '-parentID', this.#parentId],
      ...['-spiffeID', `spiffe://${this.trustDomain}/${path}`],
      ...['-selector', `unix:uid:${process.getuid?.() ?? 0}`],
      ...federatesWith.flatMap((name) => ['-federatesWith', `spiffe://${name}`]),
    );
  }

  /** Makes a root that signs nothing yet. */
  async prepareRoot(): Promise<RootChange> {
    const { prepared_authority: prepared } = await this.#authority('prepare');
    const { active } = await this.#authority('show');
    if (prepared === undefined || active === undefined) throw new Error('no authority was made');
    return { next: prepared.authority_id, old: active.authority_id };
  }

  async activateRoot({ next }: RootChange): Promise<void> {
    await this.#authority('activate', next);
  }

  /**
   * Withdraws the old root. Its agent replaces its own certificate first. It also drops what it holds
   * below a tainted root at once, and has nothing for a moment: let workloads renew before.
   */
  async withdrawRoot({ old }: RootChange): Promise<void> {
    const before = await this.#agentSerial();
    await this.#authority('taint', old);
    await until(async () => (await this.#agentSerial()) !== before, "the agent's new certificate");
    await this.#authority('revoke', old);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children.toReversed()) await child.end();
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #authority(verb: string, id?: string): Promise<AuthorityAnswer> {
    const args = id === undefined ? [] : ['-authorityID', id];
    return JSON.parse(await this.cli('localauthority', 'x509', verb, ...args, '-output', 'json'));
  }

  async #agentSerial(): Promise<string> {
    const { agents } = JSON.parse(await this.cli('agent', 'list', '-output', 'json')) as {
      readonly agents: readonly { readonly x509svid_serial_number: string }[];
    };
    return agents[0]?.x509svid_serial_number ?? '';
  }

  async #startServer(): Promise<void> {
    const file = (name: string): string => join(this.#dir, name);
    const { webRoot, programs } = this.#options;
    const pair = webPair(webRoot);
    await mkdir(file('server'));
    await writeFile(file('web.pem'), pair.cert);
    await writeFile(file('web.key'), pair.key, { mode: 0o600 });
    await writeFile(file('ca.pem'), certificatesToPem([webRoot.certificateDer]));
    await writeFile(
      file('server.conf'),
      serverConfiguration(this.#dir, this.#ports, this.#options),
    );
    // the CAs of the web, for this process alone
    const environment = { SSL_CERT_FILE: file('ca.pem'), SSL_CERT_DIR: file('none') };
    this.#run(programs.server, ['run', '-config', file('server.conf')], environment);
    await this.#healthy(() => this.cli('healthcheck'), 'the SPIRE server');
  }

  async #startAgent(): Promise<void> {
    const file = (name: string): string => join(this.#dir, name);
    const { agent } = this.#options.programs;
    const token = /Token: (\S+)/.exec(await this.cli('token', 'generate'))?.[1] ?? '';
    this.#parentId = `spiffe://${this.trustDomain}/spire/agent/join_token/${token}`;
    await mkdir(file('agent'));
    await writeFile(file('bundle.pem'), await this.cli('bundle', 'show'));
    await writeFile(
      file('agent.conf'),
      agentConfiguration(this.#dir, this.#ports, { ...this.#options, token }),
    );
    this.#run(agent, ['run', '-config', file('agent.conf')], {});
    const check = ['healthcheck', '-socketPath', this.socketPath];
    await this.#healthy(() => execute(agent, check), 'the SPIRE agent');
  }

  #run(program: string, args: readonly string[], environment: NodeJS.ProcessEnv): void {
    this.#children.push(new Watched(program, args, environment));
  }

  #healthy(check: () => Promise<unknown>, what: string): Promise<void> {
    return until(() => {
      this.#requireAlive();
      return check().then(
        () => true,
        () => false,
      );
    }, `${what} is healthy`);
  }

  #requireAlive(): void {
    for (const child of this.#children) child.requireAlive();
  }
}

/** IDs of authorities. */
export interface RootChange {
  readonly next: string;
  readonly old: string;
}

interface AuthorityAnswer {
  readonly active?: { readonly authority_id: string };
  readonly prepared_authority?: { readonly authority_id: string };
}

/** A process whose end is noticed. */
class Watched {
  readonly #program: string;
  readonly #child: ChildProcess;
  #log = '';
  #error: Error | undefined;

  constructor(program: string, args: readonly string[], environment: NodeJS.ProcessEnv) {
    this.#program = program;
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.#child.on('error', (error) => (this.#error = error));
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (bytes: Buffer) => (this.#log = `${this.#log}${bytes}`.slice(-10_000)));
  }

  /** @throws with the end of its log */
  requireAlive(): void {
    const { exitCode, signalCode } = this.#child;
    if (this.#error !== undefined || exitCode !== null || signalCode !== null)
      throw new Error(
        `${this.#program} ended (${String(this.#error ?? signalCode ?? exitCode)}): ${this.#log}`,
      );
  }

  async end(): Promise<void> {
    const { exitCode, signalCode, pid } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

const serverConfiguration = (
  dir: string,
  [port = 0, endpointPort = 0]: readonly number[],
  { trustDomain, profile }: SpireOptions,
): string => `
server {
  bind_address = "127.0.0.1"
  bind_port = "${port}"
  socket_path = "${dir}/server.sock"
  trust_domain = "${trustDomain}"
  data_dir = "${dir}/server"
  log_level = "WARN"
  ca_key_type = "ec-p256"
  default_x509_svid_ttl = "40s"
  agent_ttl = "10m"
  federation {
    bundle_endpoint { address = "127.0.0.1" port = ${endpointPort} refresh_hint = "1s" ${
      profile === 'https_spiffe'
        ? 'profile "https_spiffe" {}'
        : `profile "https_web" { serving_cert_file {
             cert_file_path = "${dir}/web.pem"
             key_file_path = "${dir}/web.key"
             file_sync_interval = "1h"
           } }`
    } }
  }
}
plugins {
  DataStore "sql" { plugin_data {
    database_type = "sqlite3"
    connection_string = "${dir}/server/data.sqlite3"
  } }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
`;

const agentConfiguration = (
  dir: string,
  [port = 0]: readonly number[],
  { trustDomain, token }: SpireOptions & { readonly token: string },
): string => `
agent {
  server_address = "127.0.0.1"
  server_port = "${port}"
  socket_path = "${dir}/agent.sock"
  trust_domain = "${trustDomain}"
  trust_bundle_path = "${dir}/bundle.pem"
  data_dir = "${dir}/agent"
  log_level = "WARN"
  join_token = "${token}"
  experimental { sync_interval = "1s" }
}
plugins {
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
}
`;
