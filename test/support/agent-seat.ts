import { copyFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unwrap } from '../../src/common/errors/index.ts';
import { systemClock, type Clock } from '../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  parseCertificate,
  pemEncode,
  sha256Hex,
} from '../../src/common/x509/index.ts';
import { startAgent, type RunningAgent } from '../../sidecar/compose.ts';
import { agentConfigSchema, type AgentConfig } from '../../sidecar/config.ts';
import { agentEnvironment } from './agent-environment.ts';
import { testTrustDomain, type TestServer } from './server.ts';
import { createSvid, type TestAuthority } from './test-pki.ts';
import { until } from './until.ts';

/** A place where an agent runs, with a data directory that tests copy and put back. */
export interface AgentSeat extends AsyncDisposable {
  readonly dataDir: string;
  readonly config: AgentConfig;
  /** Of the Workload API. */
  readonly socketPath: string;
  readonly agent: RunningAgent;
  start(): Promise<void>;
  /** Ends it as it is: what is not on the disk is lost. */
  stop(): Promise<void>;
  /** The text of a file in the data directory. */
  state(name: string): Promise<string>;
  /** Serial of the agent's SVID on the disk; empty: none. */
  keptSerial(): Promise<string>;
  copy(): Promise<string>;
  /** The directory as it was when it was copied; the agent is stopped. */
  putBack(copy: string): Promise<void>;
  /** Until it has a session with the server. */
  connected(): Promise<void>;
  /** Until the server superseded it and it knows no way back; its words. */
  superseded(): Promise<string>;
}

// oxlint-disable-next-line test-sizes/function-lines -- one object with all that a test does to an agent
export async function agentSeat(
  server: TestServer,
  attestation: object,
  options: {
    readonly address?: string;
    readonly dataFrom?: string;
    /** Default: the fingerprint of the server's root. */
    readonly bootstrap?: object;
    readonly clock?: Clock;
    /** Further sections of the configuration. */
    readonly sections?: object;
  } = {},
): Promise<AgentSeat> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-seat-'));
  const dataDir = join(directory, 'd');
  const config = agentConfigSchema.parse({
    trustDomain: server.config.trustDomain,
    serverAddress: options.address ?? `127.0.0.1:${server.server.port}`,
    dataDir,
    bootstrap: options.bootstrap ?? { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
    attestation,
    workloadApi: { socketPath: join(directory, 'w') },
    localApi: { socketPath: join(directory, 'l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 50, backoffCapMs: 200 },
    ...options.sections,
  });
  if (options.dataFrom !== undefined) await cp(options.dataFrom, dataDir, { recursive: true });
  let agent: RunningAgent | undefined;
  const seat: AgentSeat = {
    dataDir,
    config,
    socketPath: config.workloadApi.socketPath,
    get agent() {
      if (agent === undefined) throw new Error('the agent is stopped');
      return agent;
    },
    async start() {
      agent = await startAgent({
        ...agentEnvironment(config),
        clock: options.clock ?? systemClock,
      });
    },
    async stop() {
      await agent?.[Symbol.asyncDispose]();
      agent = undefined;
    },
    state: (name) => readFile(join(dataDir, name), 'utf8'),
    async keptSerial() {
      const text = await seat.state('agent-svid.json').catch(() => '{}');
      return (JSON.parse(text) as { readonly serial?: string }).serial ?? '';
    },
    async copy() {
      const to = await mkdtemp(join(directory, 'copy-'));
      // what is being written under another name may be gone in the next moment
      const names = (await readdir(dataDir)).filter((name) => !name.endsWith('.tmp'));
      for (const name of names) await copyFile(join(dataDir, name), join(to, name));
      return to;
    },
    async putBack(copy) {
      await rm(dataDir, { recursive: true, force: true });
      await cp(copy, dataDir, { recursive: true });
    },
    connected: () => until(() => seat.agent.status().connected === true, 'the session'),
    async superseded() {
      const said = (): string => seat.agent.status().lastError ?? '';
      const forGood = /^AGENT_SUPERSEDED: .* later certificate than the one that this node has/;
      await until(() => forGood.test(said()), 'that it is superseded for good');
      return said();
    },
    async [Symbol.asyncDispose]() {
      await seat.stop();
      // a file that was being written may still appear
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return seat;
}

/** Configuration of a node that attests by a certificate of its own. */
export async function nodeCertificate(
  ca: TestAuthority,
  directory: string,
  name: string,
): Promise<{
  readonly agentId: string;
  readonly attestation: object;
  readonly serialHex: string;
}> {
  const { chainDer, keyDer } = createSvid(ca, `spiffe://nodes.test/${name}`);
  const certificatePath = join(directory, `${name}.pem`);
  const keyPath = join(directory, `${name}.key`);
  await writeFile(certificatePath, certificatesToPem(chainDer));
  await writeFile(keyPath, pemEncode('PRIVATE KEY', keyDer), { mode: 0o600 });
  const fingerprint = sha256Hex(chainDer[0] as Buffer);
  return {
    agentId: `spiffe://${testTrustDomain}/meshca/agent/x509pop/${fingerprint}`,
    attestation: { x509pop: { certificatePath, keyPath } },
    serialHex: unwrap(parseCertificate(chainDer[0] as Buffer)).serialHex,
  };
}
