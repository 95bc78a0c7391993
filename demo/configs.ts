import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { writeDurably, type DemoHome } from './home.ts';
import type { WorkloadAccount } from './identities.ts';
import type { WorkloadName } from './model.ts';

export const trustDomain = 'demo.meshca.test';
export const workloadIds: Record<WorkloadName, string> = {
  greeter: `spiffe://${trustDomain}/greeter`,
  caller: `spiffe://${trustDomain}/caller`,
};
export const agentName = 'demo-node';

export interface DemoPaths {
  readonly serverConfig: string;
  readonly agentConfig: string;
  readonly entries: string;
  readonly bundle: string;
  readonly joinToken: string;
  readonly adminSocket: string;
  readonly workloadSocket: string;
  readonly agentSocket: string;
}

export const pathsOf = (home: DemoHome): DemoPaths => ({
  serverConfig: join(home.root, 'server.json'),
  agentConfig: join(home.root, 'agent.json'),
  entries: join(home.root, 'entries.json'),
  bundle: join(home.agent, 'bootstrap-bundle.json'),
  joinToken: join(home.agent, 'join-token'),
  adminSocket: join(home.server, 'admin.sock'),
  workloadSocket: join(home.run, 'workload.sock'),
  agentSocket: join(home.agent, 'agent.sock'),
});

export interface SoftHsm {
  readonly modulePath: string;
  readonly confPath: string;
  readonly tokens: Readonly<
    Record<
      'issuing' | 'root',
      { readonly label: string; readonly pinFile: string; readonly created: boolean }
    >
  >;
}

export interface Ports {
  readonly grpc: number;
  readonly serverOps: number;
  readonly serverHttp: number;
  readonly agentOps: number;
}

/** Ports that are free now; both servers start within a moment. */
export async function freePorts(): Promise<Ports> {
  const servers = [createServer(), createServer(), createServer(), createServer()];
  const ports: number[] = [];
  for (const server of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of servers) {
    server.close();
    await once(server, 'close');
  }
  const [grpc, serverOps, serverHttp, agentOps] = ports as [number, number, number, number];
  return { grpc, serverOps, serverHttp, agentOps };
}

/** Where the server listens, in one line. */
export const serverPorts = ({ grpc, serverOps, serverHttp }: Ports): string =>
  `gRPC on 127.0.0.1:${grpc}, metrics on http://127.0.0.1:${serverOps}/metrics, ` +
  `ACME on http://127.0.0.1:${serverHttp}/acme/directory`;

export function writeServerConfig(home: DemoHome, hsm: SoftHsm, ports: Ports): void {
  const token = (role: 'issuing' | 'root'): object => ({
    label: hsm.tokens[role].label,
    pinFile: hsm.tokens[role].pinFile,
  });
  writeJson(pathsOf(home).serverConfig, {
    trustDomain,
    dataDir: home.server,
    hsm: {
      module: hsm.modulePath,
      softhsmConf: hsm.confPath,
      issuing: token('issuing'),
      root: token('root'),
      signers: 2,
    },
    listen: { address: '127.0.0.1', port: ports.grpc },
    admin: { socketPath: pathsOf(home).adminSocket },
    ops: { address: '127.0.0.1', port: ports.serverOps },
    http: {
      publicBaseUrl: `http://127.0.0.1:${ports.serverHttp}`,
      plain: { address: '127.0.0.1', port: ports.serverHttp },
    },
    names: { enabled: true },
    acme: { enabled: true },
    // in a folder of its own, as the server advises
    audit: { checkpointFile: join(home.log, 'checkpoints.log') },
    log: { format: 'json' },
  });
}

/**
 * Life of the demo workloads' certificates: short, so that a person sees several renewals within a
 * minute.
 */
export const workloadTtlSeconds = 30;

export function writeEntries(
  home: DemoHome,
  agentId: string,
  accounts: Record<WorkloadName, WorkloadAccount>,
): void {
  writeJson(pathsOf(home).entries, {
    entries: (['greeter', 'caller'] as const).map((name) => ({
      id: `demo-${name}`,
      spiffeId: workloadIds[name],
      parentId: agentId,
      selectors: accounts[name].selectors,
      x509Ttl: workloadTtlSeconds,
    })),
  });
}

export const writeJson = (path: string, value: object): void =>
  writeDurably(path, `${JSON.stringify(value, undefined, 2)}\n`);
