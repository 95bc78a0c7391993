import { join } from 'node:path';
import { pathsOf, trustDomain, writeJson, type Ports } from './configs.ts';
import type { DemoHome } from './home.ts';

/** The agent's configuration. `join`: with the join token that lies ready; else it goes on with the identity in its state. */
export function writeAgentConfig(home: DemoHome, ports: Ports, { join: joins }: { readonly join: boolean }): void {
  const paths = pathsOf(home);
  writeJson(paths.agentConfig, {
    trustDomain,
    dataDir: join(home.agent, 'state'),
    server: { address: '127.0.0.1', port: ports.grpc },
    bootstrap: { bundlePath: paths.bundle },
    ...(joins ? { joinTokenPath: paths.joinToken } : {}),
    workloadApi: { socketPath: paths.workloadSocket, socketMode: '0777' },
    local: { socketPath: paths.agentSocket },
    ops: { address: '127.0.0.1', port: ports.agentOps },
    log: { format: 'json' },
  });
}
