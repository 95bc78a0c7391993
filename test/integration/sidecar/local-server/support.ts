import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { credentials, Metadata, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import { silentLogger, systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import { workloadContract } from '../../../../src/common/wire/index.ts';
import type { X509SVIDResponse__Output } from '../../../../src/common/wire/generated/X509SVIDResponse.ts';
import type { SpiffeWorkloadAPIClient } from '../../../../src/common/wire/generated/SpiffeWorkloadAPI.ts';
import {
  StreamsWithoutCrls,
  defaultWorkloadApiLimits,
  workloadApi,
  type WorkloadApiLimits,
  type WorkloadApiDependencies,
} from '../../../../sidecar/apis/workload/index.ts';
import {
  createAttestor,
  linuxKernel,
  type AttestorOptions,
} from '../../../../sidecar/attest/index.ts';
import { unixWith } from '../../../../sidecar/attest/unix/attestor.ts';
import {
  createRefusalLog,
  defaultLimits,
  silentMetrics,
  startLocalServer,
  type LocalServerLimits,
  type LocalServerMetrics,
  type SocketApi,
} from '../../../../sidecar/local-server/index.ts';
import { patienceMs, until } from '../../../support/until.ts';
import type { ActorCommand } from './actor.ts';
import {
  FakeBundles,
  FakeConsumers,
  FakeEntries,
  FakeSvids,
} from '../../../support/local-server-fakes.ts';

export interface HarnessOptions {
  readonly clock?: Clock;
  readonly attestor?: Partial<AttestorOptions>;
  readonly api?: {
    readonly limits?: Partial<LocalServerLimits & WorkloadApiLimits>;
    readonly metrics?: LocalServerMetrics;
    readonly onHandshakes?: WorkloadApiDependencies['onHandshakes'];
    /** Beside the Workload API, on the same socket. */
    readonly more?: (parts: {
      readonly svids: FakeSvids;
      readonly bundles: FakeBundles;
      readonly consumers: FakeConsumers;
      readonly clock: Clock;
    }) => SocketApi;
  };
}

/**
 * A Workload API on real sockets, processes and system calls, over fakes of the rest of the agent.
 */
// oxlint-disable-next-line test-sizes/function-lines -- one harness, part by part
export async function startHarness(options: HarnessOptions = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'wl-api-'));
  await chmod(folder, 0o755);
  const path = join(folder, 'api.sock');
  const clock = options.clock ?? systemClock;
  const entries = new FakeEntries();
  const svids = new FakeSvids();
  const bundles = new FakeBundles();
  const consumers = new FakeConsumers();
  const refusals = createRefusalLog();
  const attestor = createAttestor({
    clock,
    logger: silentLogger,
    types: [unixWith({ inspector: { deadlineMs: patienceMs } })],
    configuration: {},
    ...options.attestor,
  });
  const { limits, metrics = silentMetrics, onHandshakes = () => {}, more } = options.api ?? {};
  const serverParts = {
    attestor,
    kernel: linuxKernel(),
    entries,
    bundles,
    consumers,
    refusals,
    clock,
    logger: silentLogger,
  };
  const withoutCrls = new StreamsWithoutCrls();
  const served = workloadApi({
    svids,
    bundles,
    onHandshakes,
    withoutCrls,
    clock,
    limits: { ...defaultWorkloadApiLimits, ...limits },
  });
  const api = await startLocalServer({
    ...serverParts,
    socket: { path },
    apis: more === undefined ? [served] : [served, more({ svids, bundles, consumers, clock })],
    metrics,
    limits: { ...defaultLimits, ...limits },
  });
  const clients: SpiffeWorkloadAPIClient[] = [];
  const actors: Actor[] = [];
  return {
    folder,
    path,
    entries,
    svids,
    bundles,
    consumers,
    refusals,
    withoutCrls,
    attestor,
    serverParts,
    api,
    clock,
    client(): SpiffeWorkloadAPIClient {
      const { SpiffeWorkloadAPI } = workloadContract().packages;
      const client = new SpiffeWorkloadAPI(`unix:${path}`, credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
      });
      clients.push(client);
      return client;
    },
    async actor(launcher?: Parameters<typeof startActor>[0]): Promise<Actor> {
      const actor = await startActor(launcher);
      actors.push(actor);
      return actor;
    },
    async [Symbol.asyncDispose]() {
      for (const each of clients) each.close();
      for (const each of actors) each.kill();
      await api.drain(50);
      attestor[Symbol.dispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type Harness = Awaited<ReturnType<typeof startHarness>>;

export const header = (): Metadata => {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
};

/** What a stream of the grpc-js client brought: messages in order, then how it ended. */
export function collect<T>(stream: ClientReadableStream<T>) {
  const messages: T[] = [];
  let error: ServiceError | undefined;
  let ended = false;
  stream.on('data', (message: T) => void messages.push(message));
  stream.on('error', (thrown: ServiceError) => {
    error = thrown;
    ended = true;
  });
  stream.on('end', () => void (ended = true));
  return {
    messages,
    cancel: () => stream.cancel(),
    async first(): Promise<T> {
      await until(() => messages.length > 0 || ended);
      if (messages.length === 0) throw error ?? new Error('the stream ended without a message');
      return messages[0] as T;
    },
    async count(count: number): Promise<void> {
      await until(() => messages.length >= count || ended);
    },
    async error(): Promise<ServiceError> {
      await until(() => error !== undefined);
      return error as ServiceError;
    },
  };
}

export interface Actor {
  readonly pid: number;
  become(uid: number, gid?: number, groups?: readonly number[]): Promise<void>;
  becomeMixed(uid: number): Promise<void>;
  /** Its end of a new connection; the parent speaks on it, the kernel names the actor. */
  connect(path: string): Promise<Socket>;
  exec(file: string, ...args: readonly string[]): void;
  kill(signal?: NodeJS.Signals): void;
  exited(): Promise<void>;
}

/**
 * `launcher` runs before node, for example to enter another namespace; it must exec what it is
 * given.
 */
export async function startActor(launcher?: {
  readonly file: string;
  readonly args: readonly string[];
}): Promise<Actor> {
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  const child: ChildProcess = fork(
    fileURLToPath(new URL(`./actor${extension}`, import.meta.url)),
    [],
    {
      stdio: ['pipe', 'ignore', 'ignore', 'ipc'],
      ...(launcher === undefined ? {} : { execPath: launcher.file, execArgv: [...launcher.args] }),
    },
  );
  const ended = once(child, 'exit');
  await once(child, 'message');
  const order = async (command: ActorCommand): Promise<unknown[]> => {
    const answer = once(child, 'message');
    child.send(command);
    // an actor that has ended answers nothing
    const gone = ended.then(([code, signal]) => {
      throw new Error(`the actor ended (${code ?? signal}) at ${command.op}`);
    });
    return Promise.race([answer, gone]);
  };
  return {
    pid: child.pid as number,
    async become(uid, gid = uid, groups = []) {
      await order({ op: 'become', uid, gid, groups });
    },
    async becomeMixed(uid) {
      await order({ op: 'become-mixed', uid });
    },
    async connect(path) {
      const [, socket] = await order({ op: 'connect', path });
      return socket as Socket;
    },
    exec: (file, ...args) =>
      void child.send({ op: 'exec', file, args: [file, ...args] } satisfies ActorCommand),
    kill: (signal = 'SIGKILL') => void child.kill(signal),
    async exited() {
      await ended;
    },
  };
}

/** A gRPC call by hand over a given socket, so that a test decides who connected and who reads. */
export function speak(socket: Socket) {
  const session: ClientHttp2Session = connectHttp2('http://localhost', {
    createConnection: () => socket,
  });
  session.on('error', () => {});
  return {
    session,
    fetchX509Svid(metadata: Readonly<Record<string, string>> = { 'workload.spiffe.io': 'true' }) {
      const { service } = workloadContract().packages.SpiffeWorkloadAPI;
      const request = session.request({
        ':method': 'POST',
        ':path': '/SpiffeWorkloadAPI/FetchX509SVID',
        'content-type': 'application/grpc',
        te: 'trailers',
        ...metadata,
      });
      const state = {
        messages: [] as X509SVIDResponse__Output[],
        status: undefined as number | undefined,
        details: '',
        code: undefined as string | undefined,
        closed: false,
      };
      let buffered: Buffer = Buffer.alloc(0);
      const onHeaders = (headers: Readonly<Record<string, unknown>>): void => {
        if (headers['grpc-status'] === undefined) return;
        state.status = Number(headers['grpc-status']);
        state.details = decodeURI(String(headers['grpc-message'] ?? ''));
        state.code = String(headers['meshca-code']);
      };
      request.on('response', onHeaders);
      request.on('trailers', onHeaders);
      request.on('data', (chunk: Buffer) => {
        buffered = Buffer.concat([buffered, chunk]);
        while (buffered.length >= 5 && buffered.length >= 5 + buffered.readUInt32BE(1)) {
          const end = 5 + buffered.readUInt32BE(1);
          state.messages.push(service.FetchX509SVID.responseDeserialize(buffered.subarray(5, end)));
          buffered = buffered.subarray(end);
        }
      });
      request.on('error', () => {});
      request.on('close', () => (state.closed = true));
      request.end(Buffer.from([0, 0, 0, 0, 0]));
      return { state, request };
    },
  };
}
