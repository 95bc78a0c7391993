import { Metadata, type Client, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { fromServiceError } from '../../src/common/wire/index.ts';
import type { PkiError } from '../../src/common/errors/index.ts';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync, setDigest } from '../../src/common/x509/index.ts';
import type { SignStreamRequest } from '../../src/common/wire/generated/meshca/signing/v1/SignStreamRequest.ts';
import type { SignStreamResponse__Output } from '../../src/common/wire/generated/meshca/signing/v1/SignStreamResponse.ts';
import type { WatchBundleRequest } from '../../src/common/wire/generated/meshca/signing/v1/WatchBundleRequest.ts';
import type { WatchBundleResponse__Output } from '../../src/common/wire/generated/meshca/signing/v1/WatchBundleResponse.ts';
import type { WatchReport } from '../../src/common/wire/generated/meshca/signing/v1/WatchReport.ts';
import { allMethods, unaryCall, type Credential, type TestServer } from './server.ts';
import type { SimAgent } from './sim-agent.ts';
import { until } from './until.ts';

const service = '/meshca.signing.v1.Signing';

/** A stream in both directions, as a program of a control plane has it. */
export class Dialogue<Up extends object, Down> {
  readonly stream: ClientDuplexStream<object, Down>;
  readonly received: Down[] = [];
  /** What ended it; undefined: an end without error, or none yet. */
  error: PkiError | undefined;
  ended = false;

  constructor(client: Client, method: 'SignStream' | 'WatchBundle') {
    const { path, requestSerialize, responseDeserialize } =
      allMethods()[`${service}/${method}`] ?? missing(method);
    this.stream = client.makeBidiStreamRequest(
      path,
      requestSerialize as (value: object) => Buffer,
      responseDeserialize as (bytes: Buffer) => Down,
      new Metadata(),
    );
    this.stream.on('error', (error: ServiceError) => {
      this.error = fromServiceError(error);
      this.ended = true;
    });
    this.stream.on('end', () => (this.ended = true));
    this.read();
  }

  read(): void {
    this.stream.on('data', (message: Down) => this.received.push(message));
  }

  write(message: Up): void {
    this.stream.write(message);
  }

  async code(): Promise<string> {
    await until(() => this.ended, 'the stream has ended');
    return this.error?.code ?? 'OK';
  }
}

const missing = (method: string): never => {
  throw new Error(`no ${method}`);
};

export class SignDialogue extends Dialogue<SignStreamRequest, SignStreamResponse__Output> {
  constructor(client: Client) {
    super(client, 'SignStream');
  }

  get credits(): number {
    return this.received.reduce((sum, { credits }) => sum + credits, 0);
  }

  get answers(): readonly SignStreamResponse__Output[] {
    return this.received.filter(({ id }) => id !== '');
  }

  answerOf(id: string): SignStreamResponse__Output | undefined {
    return this.received.find((message) => message.id === id);
  }
}

/** A control plane that watches, and reports what it is told to. */
export class Watcher extends Dialogue<WatchBundleRequest, WatchBundleResponse__Output> {
  constructor(
    client: Client,
    hello: {
      readonly instance: string;
      readonly withoutCrls?: boolean;
      readonly withReplacements?: boolean;
      readonly replacementsAfter?: string;
    },
  ) {
    super(client, 'WatchBundle');
    this.write({ hello: { version: 'test', ...hello } });
  }

  /** The newest state of each part. */
  get state(): WatchBundleResponse__Output {
    const newest = <K extends keyof WatchBundleResponse__Output>(
      part: K,
    ): WatchBundleResponse__Output[K] =>
      this.received.findLast((message) => message[part] !== null)?.[part] ?? null;
    return {
      trust: newest('trust'),
      crls: newest('crls'),
      taints: newest('taints'),
      renewNow: newest('renewNow'),
      replacements: newest('replacements'),
    };
  }

  get roots(): readonly Buffer[] {
    return this.state.trust?.rootsDer ?? [];
  }

  rootDigest(): Buffer {
    return setDigest(this.roots);
  }

  jwtDigest(): Buffer {
    return setDigest(this.state.trust?.jwtKeys.map(({ spkiDer }) => spkiDer) ?? []);
  }

  report(over: WatchReport = {}): void {
    this.write({
      report: {
        authoritySetDigest: this.rootDigest(),
        jwtSetDigest: this.jwtDigest(),
        consumers: [],
        ...over,
      },
    });
  }
}

export const controlId = (name: string): string => `spiffe://mesh.test/control/${name}`;

/** A delegation for this control plane: everything below /ns/<name>/. */
export async function delegate(server: TestServer, name: string, over: object = {}) {
  const { id } = await server.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: controlId(name),
      patterns: [`spiffe://mesh.test/ns/${name}/sa/*`],
      maxTtlSeconds: 60,
      ...over,
    },
  });
  return id;
}

/** The certificate of a control plane, obtained by an agent from an entry. */
export async function controlSvid(
  server: TestServer,
  agent: SimAgent,
  name: string,
  ttlSeconds = 0,
): Promise<Credential> {
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: controlId(name),
        parentId: agent.credential.spiffeId,
        selectors: ['unix:uid:7'],
        x509TtlSeconds: ttlSeconds,
      },
    ],
  });
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const signed = await unaryCall(
    server.client(agent.credential),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    {
      items: [
        { requestId: uuidv7(), entryId: results[0]!.entry!.id, csrDer: createCsr(privateKey) },
      ],
    },
  );
  const { serial, chainDer } = signed.results[0]!.svid!;
  return { spiffeId: controlId(name), serial, chainDer, privateKey };
}

let csr: Promise<Buffer> | undefined;

/** A request for a workload of this control plane. */
export async function itemFor(name: string, workload: string, over: object = {}) {
  csr ??= generateKeyPairAsync('ec-p256').then(({ privateKey }) => createCsr(privateKey));
  return {
    requestId: uuidv7(),
    spiffeId: `spiffe://mesh.test/ns/${name}/sa/${workload}`,
    dnsNames: [],
    csrDer: await csr,
    ttlSeconds: 0,
    ...over,
  };
}
