import type { Authority__Output } from '../../src/common/wire/generated/meshca/admin/v1/Authority.ts';
import type { AuthorityProgress__Output } from '../../src/common/wire/generated/meshca/admin/v1/AuthorityProgress.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  authorizeAny,
  connectTls,
  createTlsServer,
  type X509Source,
} from '../../src/workload/index.ts';
import { startAgent, type RunningAgent } from '../../sidecar/compose.ts';
import { agentEnvironment } from './agent-environment.ts';
import { agentConfigSchema } from '../../sidecar/config.ts';
import { testTrustDomain, type TestServer } from './server.ts';
import { patienceMs, until } from './until.ts';
import { listen } from './workload-lib.ts';

/**
 * Lives so short that rotations are seen from beginning to end within a test, and long enough that
 * a machine that stands still for seconds lets no leaf expire.
 */
export const quickLives = {
  issuance: {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: 15,
    maximumTtlSeconds: 60,
    agentTtlSeconds: 60,
    serverTtlSeconds: 60,
    jwtMaximumTtlSeconds: 60,
    jwtDefaultTtlSeconds: 30,
    bundleRefreshHintSeconds: 1,
  },
  rotation: { marginSeconds: 60, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};

const myUid = `unix:uid:${process.getuid?.() ?? 0}`;

/** Resolves when the condition holds; throws when patience ends, naming what was waited for. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  await until(condition, what);
}

/** A node with a real agent, whose workload (this process) is `spiffe://mesh.test/<name>`. */
export interface MeshNode extends AsyncDisposable {
  readonly name: string;
  readonly socketPath: string;
  readonly agentId: string;
  readonly agent: RunningAgent;
  stop(): Promise<void>;
  start(): Promise<void>;
}

// oxlint-disable-next-line test-sizes/function-lines -- one object with all that a test does to a node
export async function startNode(
  server: TestServer,
  name: string,
  entry: object = {},
): Promise<MeshNode> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-node-'));
  const { token, agentId, rootFingerprints } = await server.admin('Tokens/CreateJoinToken', {
    agentName: name,
  });
  const config = agentConfigSchema.parse({
    trustDomain: testTrustDomain,
    serverAddress: `127.0.0.1:${server.server.port}`,
    dataDir: join(directory, 'd'),
    // as an operator hands them out: during a rotation the server shows either root
    bootstrap: { rootFingerprint: rootFingerprints.join() },
    attestation: { joinToken: { token } },
    workloadApi: { socketPath: join(directory, 'w') },
    localApi: { socketPath: join(directory, 'l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 50, backoffCapMs: 200 },
  });
  let agent: RunningAgent | undefined;
  const node: MeshNode = {
    name,
    socketPath: join(directory, 'w'),
    agentId,
    get agent() {
      if (agent === undefined) throw new Error(`the agent of ${name} is stopped`);
      return agent;
    },
    start: async () => {
      agent = await startAgent(agentEnvironment(config));
    },
    stop: async () => {
      await agent?.[Symbol.asyncDispose]();
      agent = undefined;
    },
    [Symbol.asyncDispose]: async () => {
      await node.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
  await node.start();
  await eventually(
    `the session of ${name}`,
    () => node.agent.status().connected === true && node.agent.status().synced === true,
  );
  await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://${testTrustDomain}/${name}`,
        parentId: agentId,
        selectors: [myUid],
        ...entry,
      },
    ],
  });
  await eventually(`the entry of ${name}`, () => node.agent.status().entries === 1);
  return node;
}

/** An authority in the status of rotation, as the server always gives it. */
export type ShownAuthority = AuthorityProgress__Output & {
  readonly authority: Authority__Output;
};

/** What the server says of its authorities. */
export const rotationOf = (server: TestServer) => {
  const status = () => server.admin('Authorities/GetRotationStatus');
  const shown = async (): Promise<readonly ShownAuthority[]> =>
    (await status()).authorities as ShownAuthority[];
  const inState = async (kind: string, state: string) =>
    (await shown()).findLast(
      ({ authority }) => authority.kind === kind && authority.state === state,
    );
  const active = async (kind: string) => (await inState(kind, 'active'))!.authority;
  const activeId = async (kind: string): Promise<string> => (await active(kind)).id;
  return {
    status,
    inState,
    active,
    activeId,
    /** Throws where it is not there. */
    byId: async (id: string) => (await shown()).find(({ authority }) => authority.id === id)!,
    consumersOf: async (agentId: string) =>
      (await server.admin('Agents/GetAgent', { spiffeId: agentId })).consumers,
    rotate: async (kind: string): Promise<void> => {
      const before = await activeId(kind);
      await server.admin('Authorities/RotateAuthorities', { kind });
      await eventually(
        `a new ${kind} authority is active`,
        async () => (await activeId(kind)) !== before,
      );
    },
  };
};

export interface Traffic {
  readonly handshakes: number;
  readonly failed: readonly string[];
}

/** Handshakes from one source to another, one after the other, until stopped. */
export async function startTraffic(
  from: X509Source,
  to: X509Source,
  onHandshake: () => void = () => {},
): Promise<() => Promise<Traffic>> {
  const tls = createTlsServer(
    to,
    { authorize: authorizeAny(), handshakeTimeoutMs: patienceMs },
    (socket) => {
      socket.on('error', () => {});
      socket.end('hello');
    },
  );
  const port = await listen(tls);
  const failed: string[] = [];
  let handshakes = 0;
  let stopped = false;
  const once = async (): Promise<void> => {
    try {
      const socket = await connectTls(from, {
        expect: authorizeAny(),
        host: '127.0.0.1',
        port,
        timeoutMs: patienceMs,
      });
      const text = await new Promise<string>((resolve, reject) => {
        let all = '';
        socket.on('data', (bytes: Buffer) => {
          all += bytes.toString();
        });
        socket.on('error', reject);
        socket.on('close', () => resolve(all));
      });
      if (text !== 'hello') failed.push('cut off');
    } catch (thrown) {
      failed.push(String(thrown));
    }
    handshakes += 1;
    onHandshake();
  };
  const running = (async () => {
    while (!stopped) {
      await once();
      // a test that fails before it stops this is not kept from its end
      await new Promise((resolve) => setTimeout(resolve, 10).unref());
    }
  })();
  return async () => {
    stopped = true;
    await running;
    tls.close();
    return { handshakes, failed };
  };
}
