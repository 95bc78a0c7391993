import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { Client, Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { silentLogger, uuidv7 } from '../../src/common/runtime/index.ts';
import type { TargetCommand__Output } from '../../src/common/wire/generated/meshca/issuer/v1/TargetCommand.ts';
import { createCsr, generateKeyPairAsync, setDigest } from '../../src/common/x509/index.ts';
import { TargetReports } from '../../sidecar/sync/index.ts';
import { FakeFileTargets } from './fake-file-targets.ts';
import { allMethods, channelCredentials, unaryCall, type Credential } from './server.ts';

/** The server as an agent needs it: a TestServer, or one in another process. */
export interface SimServer {
  readonly rootsDer: readonly Buffer[];
  readonly port: number;
  joinAgent(name: string): Promise<Credential>;
}

export const simServer = (server: {
  readonly rootsDer: readonly Buffer[];
  readonly server: { readonly port: number };
  joinAgent(name: string): Promise<Credential>;
}): SimServer => ({
  rootsDer: server.rootsDer,
  port: server.server.port,
  joinAgent: (name) => server.joinAgent(name),
});

/** A leaf with its chain and key, as a workload behind this agent uses it. */
export interface HeldLeaf {
  readonly serial: string;
  readonly authorityId: string;
  readonly chainDer: readonly Buffer[];
  readonly privateKey: KeyObject;
  readonly notAfter: number;
}

/**
 * An agent reduced to its half of the protocol: joins, syncs, verifies what it is handed, and
 * confirms, for itself and for its consumers.
 */
export class SimAgent implements AsyncDisposable {
  readonly name: string;
  credential: Credential;
  /** Consumers by name; a frozen one goes on holding what it held. */
  readonly consumers = new Map<string, { rootsDer: readonly Buffer[]; frozen: boolean }>();
  rootsDer: readonly Buffer[];
  jwtSpkis: readonly Buffer[] = [];
  issuersDer: readonly Buffer[] = [];
  tainted: readonly string[] = [];
  leaf: HeldLeaf | undefined;
  frozen = false;
  readonly targets = new FakeFileTargets();
  /** As one of an older release: it knows no file targets. */
  withoutTargets = false;
  readonly #reports: TargetReports;
  #port: number;
  #client: Client;
  #stream: ClientDuplexStream<object, any> | undefined;
  #sequence = 0;
  #away = false;
  #greeted = false;
  #published: readonly { readonly chainDer: readonly Buffer[] }[] = [];

  constructor(server: SimServer, name: string, credential: Credential) {
    this.name = name;
    this.credential = credential;
    this.rootsDer = server.rootsDer;
    this.#port = server.port;
    this.#reports = new TargetReports(this.targets, silentLogger);
    this.targets.onChange(() => this.#tellTargets());
    this.#client = this.#dial();
  }

  static async join(
    server: SimServer,
    name: string,
    consumers: readonly string[] = [],
  ): Promise<SimAgent> {
    const agent = new SimAgent(server, name, await server.joinAgent(name));
    for (const consumer of consumers)
      agent.consumers.set(consumer, { rootsDer: server.rootsDer, frozen: false });
    agent.connect();
    return agent;
  }

  connect(): void {
    this.#away = false;
    this.#greeted = false;
    const method = allMethods()['/meshca.issuer.v1.AgentIssuer/Sync'];
    if (method === undefined) throw new Error('no Sync');
    const stream = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => any,
      new Metadata(),
    );
    this.#stream = stream;
    // as an agent does: a stream that ended is opened again, unless it was meant to end
    const again = (): void => {
      if (this.#stream !== stream) return;
      this.#stream = undefined;
      setTimeout(() => {
        if (this.#stream === undefined && !this.#away) this.connect();
      }, 300).unref();
    };
    stream.on('error', again);
    stream.on('end', again);
    stream.on('data', (message) => this.#receive(message));
    stream.write({
      hello: {
        protocolVersion: 1,
        agentVersion: 'sim',
        capabilities: this.withoutTargets ? [] : ['file-targets'],
        bundleSequence: this.#sequence,
      },
    });
    stream.write({ consumers: { snapshot: true, consumers: this.#lines(), removedIds: [] } });
  }

  /** A new SVID of its own, and all over on a connection with it. */
  async renewSelf(): Promise<void> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const svid = await unaryCall(this.#client, '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
      requestId: uuidv7(),
      csrDer: createCsr(privateKey),
      agentVersion: 'sim',
    });
    const before = this.credential;
    this.credential = {
      spiffeId: svid.spiffeId,
      serial: svid.serial,
      chainDer: svid.chainDer,
      privateKey,
    };
    const old = this.#client;
    this.disconnect();
    this.#client = this.#dial();
    old.close();
    this.connect();
    this.#stream?.write({ replacements: { replacedSerials: [before.serial] } });
  }

  #dial(): Client {
    return new Client(
      `127.0.0.1:${this.#port}`,
      channelCredentials(this.rootsDer, this.credential),
      {
        'grpc.ssl_target_name_override': 'localhost',
        'grpc.default_authority': 'localhost',
        'grpc.enable_retries': 0,
        'grpc.use_local_subchannel_pool': 1,
        'grpc.max_receive_message_length': 64 * 1024 * 1024,
      },
    );
  }

  /** Connects to a server that came back at another port. */
  follow({ port }: Pick<SimServer, 'port'>): void {
    this.#port = port;
    const old = this.#client;
    this.disconnect();
    this.#client = this.#dial();
    old.close();
    this.connect();
  }

  disconnect(): void {
    this.#away = true;
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
  }

  /** Everything that waited is read and confirmed. */
  thaw(consumer?: string): void {
    if (consumer === undefined) this.frozen = false;
    else this.#line(consumer).frozen = false;
    this.#take();
  }

  freeze(consumer?: string): void {
    if (consumer === undefined) this.frozen = true;
    else this.#line(consumer).frozen = true;
  }

  /** What its workloads saw of peers under this issuer key. */
  reportHandshakes(issuerKeyId: string, succeeded: number, failed: number): void {
    this.#stream?.write({
      handshakes: {
        reports: [
          {
            spiffeId: this.credential.spiffeId,
            consumerId: `${this.name}-web`,
            issuerKeyId: Buffer.from(issuerKeyId, 'hex'),
            succeeded,
            failed,
            reasons: failed > 0 ? { TLS_FAILED: failed } : {},
            since: 0,
          },
        ],
      },
    });
  }

  /** This workload has ended, and holds no certificate. */
  depart(consumer: string): void {
    this.consumers.delete(consumer);
    this.#stream?.write({
      consumers: { snapshot: false, consumers: [], removedIds: [`${this.name}-${consumer}`] },
    });
  }

  /** Asks for a leaf, in place of the one that it has. */
  async renew(entryId: string): Promise<HeldLeaf> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const { results } = await unaryCall(
      this.#client,
      '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
      {
        items: [
          {
            requestId: uuidv7(),
            entryId,
            csrDer: createCsr(privateKey),
            selectors: [{ type: 'unix', value: 'uid:1' }],
            replacesSerial: this.leaf?.serial ?? '',
          },
        ],
      },
    );
    const { svid, refusal } = results[0]!;
    if (!svid) throw new Error(`refused: ${refusal?.code} ${refusal?.message}`);
    const before = this.leaf;
    this.leaf = {
      serial: svid.serial,
      authorityId: svid.authorityId,
      chainDer: svid.chainDer,
      privateKey,
      notAfter: svid.notAfter,
    };
    if (before !== undefined)
      this.#stream?.write({ replacements: { replacedSerials: [before.serial] } });
    return this.leaf;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disconnect();
    this.#client.close();
  }

  #tellTargets(): void {
    const report = this.#greeted ? this.#reports.drain() : undefined;
    if (report !== undefined) this.#stream?.write({ targets: report });
  }

  async #carryOut(command: TargetCommand__Output): Promise<void> {
    const stream = this.#stream;
    const targetResult = await this.#reports.carryOut(command);
    if (stream === this.#stream) stream?.write({ targetResult });
  }

  #receive(message: any): void {
    if (message.welcome && !this.withoutTargets) {
      this.#greeted = true;
      this.#stream?.write({ targets: this.#reports.snapshot() });
    }
    if (message.target) void this.#carryOut(message.target);
    if (message.bundles) {
      const last = message.bundles.steps.at(-1);
      if (last) {
        this.#sequence = last.sequence;
        this.#pending = { ...this.#pending, jws: last.jws };
      }
    }
    if (message.authorities) this.#pending = { ...this.#pending, authorities: message.authorities };
    if (!this.frozen) this.#take();
  }

  #pending: { readonly jws?: string; readonly authorities?: any } = {};

  #take(): void {
    const { jws, authorities } = this.#pending;
    this.#pending = {};
    if (jws !== undefined) {
      const { keys } = JSON.parse(
        Buffer.from(jws.split('.')[1] as string, 'base64url').toString('utf8'),
      );
      this.rootsDer = keys
        .filter((key: any) => key.use === 'x509-svid')
        .map((key: any) => Buffer.from(key.x5c[0], 'base64'));
      this.jwtSpkis = keys
        .filter((key: any) => key.use === 'jwt-svid')
        .map((key: any) =>
          createPublicKey({ key, format: 'jwk' }).export({ format: 'der', type: 'spki' }),
        );
    }
    if (authorities !== undefined) {
      this.#published = authorities.published;
      this.tainted = authorities.tainted.map((each: any) => each.authorityId);
    }
    // a chain counts when it leads to a root that is held
    this.issuersDer = this.#published
      .map(({ chainDer }) => chainDer)
      .filter((chain) => this.rootsDer.some((root) => leadsTo(chain, root)))
      .map((chain) => chain[0] as Buffer);
    for (const consumer of this.consumers.values())
      if (!consumer.frozen) consumer.rootsDer = this.rootsDer;
    this.#stream?.write({
      consumers: { snapshot: false, consumers: this.#lines(), removedIds: [] },
    });
  }

  #line(name: string): { rootsDer: readonly Buffer[]; frozen: boolean } {
    const line = this.consumers.get(name);
    if (line === undefined) throw new Error(`no consumer ${name}`);
    return line;
  }

  #lines(): readonly object[] {
    const { spiffeId } = this.credential;
    const own = {
      id: `${this.name}-self`,
      kind: 'agent',
      spiffeId,
      state: 'confirmed',
      authoritySetDigest: setDigest(this.rootsDer),
      jwtSetDigest: setDigest(this.jwtSpkis),
      issuerSetDigest: setDigest(this.issuersDer),
    };
    const workloads = [...this.consumers].map(([name, { rootsDer }]) => ({
      id: `${this.name}-${name}`,
      kind: 'workload-stream',
      spiffeId: `${spiffeId.split('/meshca/')[0] ?? ''}/${name}`,
      description: name,
      state: 'confirmed',
      authoritySetDigest: setDigest(rootsDer),
    }));
    return [own, ...workloads];
  }
}

function leadsTo(chain: readonly Buffer[], rootDer: Buffer): boolean {
  const links = [...chain, rootDer].map((der) => new X509Certificate(der));
  return links.every((link, index) => {
    const issuer = links[index + 1];
    return issuer === undefined || link.verify(issuer.publicKey);
  });
}
