import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Server,
  ServerCredentials,
  status,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type ServiceError,
} from '@grpc/grpc-js';
import { workloadContract } from '../../src/common/wire/index.ts';
import type { TestSvid } from './test-pki.ts';

export interface FakeIdentity extends TestSvid {
  readonly hint?: string;
  readonly bundleDer: readonly Buffer[];
}

interface X509State {
  readonly svids: readonly FakeIdentity[];
  readonly federated?: Readonly<Record<string, readonly Buffer[]>>;
  /** SHA-256 of the keys of the server's issuing authorities; an agent of others names none. */
  readonly serverIssuers?: readonly Buffer[];
}

type Stream = ServerWritableStream<unknown, unknown>;

/** A Workload API on a real Unix socket with the real contract, whose answers a test sets. */
export class FakeWorkloadApi implements AsyncDisposable {
  readonly socketPath: string;
  readonly #folder: string;
  #server: Server | undefined;
  #x509: X509State | undefined;
  #jwks: Readonly<Record<string, string>> | undefined;
  readonly #x509Streams = new Set<Stream>();
  readonly #jwtStreams = new Set<Stream>();
  /** Status of all calls instead of answers. */
  refuseWith: status | undefined;
  jwtCalls = 0;
  missingHeaders = 0;
  onJwt: (
    audience: readonly string[],
    spiffeId: string,
  ) => { readonly spiffeId: string; readonly svid: string } = () => ({ spiffeId: '', svid: '' });

  private constructor(folder: string) {
    this.#folder = folder;
    this.socketPath = join(folder, 'agent.sock');
  }

  static async start(): Promise<FakeWorkloadApi> {
    const fake = new FakeWorkloadApi(await mkdtemp(join(tmpdir(), 'meshca-fake-api-')));
    await fake.listen();
    return fake;
  }

  async listen(): Promise<void> {
    await rm(this.socketPath, { force: true });
    this.#server = this.#service();
    await bind(this.#server, `unix:${this.socketPath}`);
  }

  /** Listens on TCP too; returns the port. */
  listenTcp(): Promise<number> {
    return bind(this.#server as Server, '127.0.0.1:0');
  }

  #service(): Server {
    const server = new Server();
    server.addService(workloadContract().packages.SpiffeWorkloadAPI.service, {
      fetchX509Svid: (call: Stream) =>
        this.#open(call, this.#x509Streams, () => this.#x509 && x509Message(this.#x509)),
      fetchX509Bundles: (call: Stream) => call.emit('error', { code: status.UNIMPLEMENTED }),
      fetchJwtBundles: (call: Stream) =>
        this.#open(call, this.#jwtStreams, () => this.#jwks && jwksMessage(this.#jwks)),
      fetchJwtsvid: (
        call: ServerUnaryCall<{ audience: string[]; spiffeId: string }, unknown>,
        answer: sendUnaryData<unknown>,
      ) => this.#jwt(call, answer),
      validateJwtsvid: (_call: unknown, answer: sendUnaryData<unknown>) =>
        answer({ code: status.UNIMPLEMENTED }),
      fetchWitsvid: (call: Stream) => call.emit('error', { code: status.UNIMPLEMENTED }),
      fetchWitBundles: (call: Stream) => call.emit('error', { code: status.UNIMPLEMENTED }),
    } as never);
    return server;
  }

  /** Sets what workloads are and sends it to all open streams. */
  setX509(state: X509State): void {
    this.#x509 = state;
    for (const stream of this.#x509Streams) stream.write(x509Message(state));
  }

  setJwks(jwks: Readonly<Record<string, string>>): void {
    this.#jwks = jwks;
    for (const stream of this.#jwtStreams) stream.write(jwksMessage(jwks));
  }

  get openStreams(): number {
    return this.#x509Streams.size;
  }

  /** As an agent that dies: streams break, the socket is gone. */
  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.#x509Streams.clear();
    this.#jwtStreams.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #refusal(metadata: Stream['metadata']): Partial<ServiceError> | undefined {
    if (metadata.get('workload.spiffe.io')[0] !== 'true') {
      this.missingHeaders += 1;
      return { code: status.INVALID_ARGUMENT, details: 'security header missing' };
    }
    return this.refuseWith === undefined
      ? undefined
      : { code: this.refuseWith, details: 'refused by the test' };
  }

  #open(call: Stream, streams: Set<Stream>, message: () => unknown): void {
    const refusal = this.#refusal(call.metadata);
    if (refusal !== undefined) {
      call.emit('error', refusal);
      return;
    }
    streams.add(call);
    call.on('cancelled', () => streams.delete(call));
    const first = message();
    if (first !== undefined) call.write(first);
  }

  #jwt(
    call: ServerUnaryCall<{ audience: string[]; spiffeId: string }, unknown>,
    answer: sendUnaryData<unknown>,
  ): void {
    const refusal = this.#refusal(call.metadata);
    if (refusal !== undefined) {
      answer(refusal);
      return;
    }
    this.jwtCalls += 1;
    answer(null, {
      svids: [{ ...this.onJwt(call.request.audience, call.request.spiffeId), hint: '' }],
    });
  }
}

const bind = (server: Server, address: string): Promise<number> =>
  new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });

const x509Message = (state: X509State): unknown => ({
  svids: state.svids.map((svid) => ({
    spiffeId: svid.id,
    x509Svid: Buffer.concat(svid.chainDer),
    x509SvidKey: svid.keyDer,
    bundle: Buffer.concat(svid.bundleDer),
    hint: svid.hint ?? '',
  })),
  crl: [],
  meshcaIssuers: state.serverIssuers ?? [],
  federatedBundles: Object.fromEntries(
    Object.entries(state.federated ?? {}).map(([name, roots]) => [name, Buffer.concat(roots)]),
  ),
});

const jwksMessage = (jwks: Readonly<Record<string, string>>): unknown => ({
  bundles: Object.fromEntries(
    Object.entries(jwks).map(([name, text]) => [name, Buffer.from(text)]),
  ),
});
