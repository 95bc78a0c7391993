import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Client,
  credentials,
  Metadata,
  type ChannelCredentials,
  type ServiceError,
} from '@grpc/grpc-js';
import type { KeyObject } from 'node:crypto';
import { unwrap, type PkiError } from '../../src/common/errors/index.ts';
import {
  silentLogger,
  systemClock,
  systemRandom,
  uuidv7,
  type Clock,
  type Logger,
} from '../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  pemEncode,
  pkcs8Of,
} from '../../src/common/x509/index.ts';
import {
  adminContract,
  fromServiceError,
  issuerContract,
  signingContract,
  type AdminServiceName,
  type MethodAt,
  type MethodPath,
  type MethodPathOf,
} from '../../src/common/wire/index.ts';
import {
  startServer,
  type RunningServer,
  type ServerDependencies,
} from '../../src/compose/index.ts';
import { linuxBoot } from '../../src/compose/rotation.ts';
import { serverConfigSchema, type ServerConfig } from '../../src/config/index.ts';
import type { Boot } from '../../src/issuance/index.ts';
import { createTokens, type TestTokens } from './softhsm.ts';
import { patienceMs } from './until.ts';

export const testTrustDomain = 'mesh.test';

/** A certificate with its key, as a client presents it. */
export interface Credential {
  readonly spiffeId: string;
  readonly serial: string;
  readonly chainDer: readonly Buffer[];
  readonly privateKey: KeyObject;
}

export interface TestServer extends AsyncDisposable {
  readonly server: RunningServer;
  readonly config: ServerConfig;
  readonly tokens: TestTokens;
  readonly dir: string;
  readonly rootsDer: readonly Buffer[];
  /**
   * Stops the server and starts another one on the same database and tokens. `changes`: of the
   * configuration, for this start.
   */
  restart(options?: { readonly acceptRestore?: number; readonly changes?: object }): Promise<void>;
  stop(): Promise<void>;
  /** Admin calls over the local socket, as this process's user. */
  admin: AdminCall;
  /** A client on the local socket. */
  adminClient(): Client;
  /** An agent that joined by token. */
  joinAgent(name: string): Promise<Credential>;
  /** A certificate minted over the local socket. */
  mint(
    spiffeId: string,
    options?: { readonly admin?: boolean; readonly ttlSeconds?: number },
  ): Promise<Credential>;
  /** A gRPC client on the TLS port; without credential an anonymous one. */
  client(credential?: Credential, rootsDer?: readonly Buffer[]): Client;
}

type Definitions = Record<
  string,
  {
    readonly path: string;
    readonly requestSerialize: (value: never) => Buffer;
    readonly responseDeserialize: (bytes: Buffer) => unknown;
    readonly requestStream: boolean;
    readonly responseStream: boolean;
  }
>;
/** `Entries/ListEntries` */
export type AdminMethod =
  MethodPathOf<'unary', AdminServiceName> extends infer P
    ? P extends `/meshca.admin.v1.${infer M}`
      ? M
      : never
    : never;

type AdminAt<M extends AdminMethod> = MethodAt<`/meshca.admin.v1.${M}` & MethodPath>;

/** A unary call of administration: messages are typed by the contract. */
export type AdminCall = <M extends AdminMethod>(
  method: M,
  request?: AdminAt<M>['requestSent'],
) => Promise<AdminAt<M>['responseRead']>;

/**
 * Every unary and streaming method of ours by its full path, for tests that go over all of them.
 */
let methods: Definitions | undefined;

export const allMethods = (): Definitions => (methods ??= methodsOfContracts());

function methodsOfContracts(): Definitions {
  const services = [
    ...Object.values(issuerContract().packages.meshca.issuer.v1),
    ...Object.values(signingContract().packages.meshca.signing.v1),
    ...Object.values(adminContract().packages.meshca.admin.v1),
  ].flatMap((each) => ('service' in each ? [each.service as unknown as Definitions] : []));
  return Object.fromEntries(
    services.flatMap((service) => Object.values(service).map((method) => [method.path, method])),
  );
}

/**
 * A unary call by path (`/meshca.admin.v1.Entries/ListEntries`); rejects with the PkiError of the
 * trailers.
 */
export const unaryCall = <P extends MethodPathOf<'unary'>>(
  client: Client,
  path: P,
  request: MethodAt<P>['requestSent'] = {},
  deadlineMs = patienceMs,
): Promise<MethodAt<P>['responseRead']> => untypedCall(client, path, request, { deadlineMs });

/**
 * The same for a path that a loop gives, or for a request that does not fit its method. `bearer`: a
 * token in the metadata.
 */
export function untypedCall(
  client: Client,
  path: string,
  request: object = {},
  { deadlineMs = patienceMs, bearer }: { deadlineMs?: number; bearer?: string } = {},
): Promise<any> {
  const method = allMethods()[path];
  if (method === undefined) throw new Error(`no method ${path}`);
  const metadata = new Metadata();
  if (bearer !== undefined) metadata.set('authorization', `Bearer ${bearer}`);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => object,
      request,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, response) => {
        if (error) reject(fromServiceError(error));
        else resolve(response);
      },
    );
  });
}

/** A server stream by path; resolves at its end, or when `each` has enough and returns true. */
export function serverStreamCall(
  client: Client,
  path: string,
  request: object,
  each: (message: any) => unknown,
): Promise<void> {
  const method = allMethods()[path];
  if (method === undefined) throw new Error(`no method ${path}`);
  const call = client.makeServerStreamRequest(
    path,
    method.requestSerialize as (value: object) => Buffer,
    method.responseDeserialize as (bytes: Buffer) => object,
    request,
  );
  return new Promise((resolve, reject) => {
    call.on('error', (error: ServiceError) => reject(fromServiceError(error)));
    call.on('end', () => resolve());
    call.on('data', (message) => {
      if (each(message) !== true) return;
      resolve();
      call.cancel();
    });
  });
}

/** The code with which a promise is refused, or `resolved`. */
export const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: PkiError) => error.code ?? String(error),
  );

/** A complete server in this process: real SoftHSM tokens, real database, real sockets. */
// oxlint-disable-next-line test-sizes/function-lines -- one object with all that a test does to a server
export async function startTestServer(
  over: {
    readonly config?: object;
    readonly logger?: Logger;
    readonly clock?: Clock;
    /** Asked at each start. */
    readonly boot?: () => Boot;
    readonly faults?: ServerDependencies['faults'];
    readonly tokens?: TestTokens;
    readonly dir?: string;
  } = {},
): Promise<TestServer> {
  const dir = over.dir ?? (await mkdtemp(join(tmpdir(), 'meshca-server-')));
  const tokens = over.tokens ?? (await createTokens());
  const configOf = (changes: object) =>
    serverConfigSchema.parse(
      merge(
        {
          trustDomain: testTrustDomain,
          dataDir: join(dir, 'data'),
          listen: { port: 0 },
          ops: { port: 0 },
          http: { plain: { port: 0 } },
          // a signer that a loaded machine starves of its processor is no signer that hangs
          hsm: {
            module: tokens.modulePath,
            softhsmConf: tokens.confPath,
            signers: 1,
            deadlineMs: 30_000,
            issuing: { label: tokens.tokens.issuing.label, pinFile: tokens.tokens.issuing.pinFile },
            root: { label: tokens.tokens.root.label, pinFile: tokens.tokens.root.pinFile },
          },
        },
        merge(over.config ?? {}, changes),
      ),
    );
  const config = configOf({});
  const start = ({
    changes,
    ...options
  }: {
    readonly acceptRestore?: number;
    readonly changes?: object | undefined;
  } = {}): Promise<RunningServer> =>
    startServer({
      ...options,
      // without changes the object that the test has, which it may have altered
      config: changes === undefined ? config : configOf(changes),
      env: {},
      pid: process.pid,
      uid: process.getuid?.() ?? 0,
      execPath: process.execPath,
      clock: over.clock ?? systemClock,
      boot: over.boot?.() ?? linuxBoot(),
      random: systemRandom,
      logger: over.logger ?? silentLogger,
      ...(over.faults === undefined ? {} : { faults: over.faults }),
    });
  let running: RunningServer | undefined = await start();
  const clients = new Set<Client>();
  const present = (): RunningServer => {
    if (running === undefined) throw new Error('the test server is stopped');
    return running;
  };
  const closeClients = (): void => {
    for (const client of clients) client.close();
    clients.clear();
  };
  const localClient = (): Client =>
    remember(
      new Client(`unix:${present().adminSocketPath}`, credentials.createInsecure(), {
        'grpc.default_authority': 'localhost',
      }),
    );
  const remember = (client: Client): Client => {
    clients.add(client);
    return client;
  };
  let local: Client | undefined;
  const admin: AdminCall = (method, request) =>
    untypedCall((local ??= localClient()), `/meshca.admin.v1.${method}`, request);
  const rootsDer = (await admin('Authorities/GetBundle')).rootsDer as Buffer[];
  const stop = async (): Promise<void> => {
    closeClients();
    local = undefined;
    await running?.[Symbol.asyncDispose]();
    running = undefined;
  };
  const client = (credential?: Credential, roots: readonly Buffer[] = rootsDer): Client =>
    remember(
      new Client(`127.0.0.1:${present().port}`, channelCredentials(roots, credential), {
        'grpc.ssl_target_name_override': 'localhost',
        'grpc.default_authority': 'localhost',
        'grpc.enable_retries': 0,
        'grpc.use_local_subchannel_pool': 1,
        'grpc.max_receive_message_length': 64 * 1024 * 1024,
      }),
    );
  const self: TestServer = {
    get server() {
      return present();
    },
    config,
    tokens,
    dir,
    rootsDer,
    admin,
    client,
    stop,
    adminClient: localClient,
    restart: async (options = {}) => {
      await stop();
      running = await start(options);
    },
    joinAgent: async (name) => {
      const { token } = await admin('Tokens/CreateJoinToken', { agentName: name });
      return attestByToken(client(), token as string);
    },
    mint: async (spiffeId, options = {}) => {
      const { privateKey } = await generateKeyPairAsync('ec-p256');
      const minted = await admin('Certificates/MintX509Svid', {
        spiffeId,
        csrDer: createCsr(privateKey),
        requestId: uuidv7(),
        admin: options.admin ?? false,
        ttlSeconds: options.ttlSeconds ?? 0,
      });
      return { spiffeId, serial: minted.serial, chainDer: minted.chainDer, privateKey };
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      if (over.tokens === undefined) await tokens[Symbol.asyncDispose]();
      if (over.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
  return self;
}

/** To read keys and certificates costs as much as a handshake, so that it is done once. */
const channels = new WeakMap<object, WeakMap<object, ChannelCredentials>>();
const anonymous = {};

export function channelCredentials(
  rootsDer: readonly Buffer[],
  credential?: Credential,
): ChannelCredentials {
  const ofRoots = channels.get(rootsDer) ?? new WeakMap<object, ChannelCredentials>();
  channels.set(rootsDer, ofRoots);
  const known = ofRoots.get(credential ?? anonymous) ?? newChannelCredentials(rootsDer, credential);
  ofRoots.set(credential ?? anonymous, known);
  return known;
}

function newChannelCredentials(
  rootsDer: readonly Buffer[],
  credential?: Credential,
): ChannelCredentials {
  const roots = Buffer.from(certificatesToPem(rootsDer));
  if (credential === undefined) return credentials.createSsl(roots);
  return credentials.createSsl(
    roots,
    Buffer.from(pemEncode('PRIVATE KEY', pkcs8Of(credential.privateKey))),
    Buffer.from(certificatesToPem(credential.chainDer)),
  );
}

/**
 * Joins by token over an anonymous connection; `key` and `requestId` may be repeated as after a
 * lost answer.
 */
export async function attestByToken(
  client: Client,
  token: string,
  options: {
    readonly key?: KeyObject;
    readonly requestId?: string;
    /** Default join_token. */
    readonly type?: string;
  } = {},
): Promise<Credential> {
  const privateKey = options.key ?? (await generateKeyPairAsync('ec-p256')).privateKey;
  const method = allMethods()['/meshca.issuer.v1.NodeAttestation/Attest'];
  if (method === undefined) throw new Error('no Attest');
  const call = client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize as (value: object) => Buffer,
    method.responseDeserialize as (bytes: Buffer) => any,
    new Metadata(),
    { deadline: Date.now() + patienceMs },
  );
  const answer = new Promise<any>((resolve, reject) => {
    call.on('data', resolve);
    call.on('error', (error: ServiceError) => reject(fromServiceError(error)));
    call.on('end', () => reject(new Error('the stream ended without an answer')));
  });
  call.write({
    start: {
      protocolVersion: 1,
      agentVersion: 'test',
      requestId: options.requestId ?? uuidv7(),
      csrDer: createCsr(privateKey),
      node: { type: options.type ?? 'join_token', payload: Buffer.from(token) },
    },
  });
  const { svid } = await answer;
  call.end();
  const leaf = unwrap(parseCertificate(svid.chainDer[0] as Buffer));
  return { spiffeId: svid.spiffeId, serial: leaf.serialHex, chainDer: svid.chainDer, privateKey };
}

function merge(base: any, over: any): any {
  if (
    typeof base !== 'object' ||
    base === null ||
    typeof over !== 'object' ||
    over === null ||
    Array.isArray(over)
  )
    return over;
  const merged = { ...base };
  for (const [key, value] of Object.entries(over))
    merged[key] = key in base ? merge(base[key], value) : value;
  return merged;
}
