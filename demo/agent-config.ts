import { join } from 'node:path';
import { pathsOf, trustDomain, workloadTtlSeconds, writeJson, type Ports } from './configs.ts';
import type { DemoHome } from './home.ts';

/**
 * The agent's configuration. `join`: with the join token in the home. Otherwise the agent uses its
 * stored identity.
 */
export function writeAgentConfig(
  home: DemoHome,
  ports: Ports,
  { join: joins }: { readonly join: boolean },
): void {
  const paths = pathsOf(home);
  writeJson(paths.agentConfig, {
    trustDomain,
    serverAddress: `127.0.0.1:${ports.grpc}`,
    dataDir: join(home.agent, 'state'),
    bootstrap: { bundlePath: paths.bundle },
    attestation: joins ? { joinToken: { path: paths.joinToken } } : {},
    workloadApi: { socketPath: paths.workloadSocket, socketMode: '0777' },
    localApi: { socketPath: paths.agentSocket },
    ops: { address: '127.0.0.1', port: ports.agentOps },
    outage: { shortestTtlSeconds: workloadTtlSeconds },
    log: { format: 'json' },
  });
}
