import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { PkiError } from '../src/common/errors/index.ts';
import { fromServiceError } from '../src/common/wire/index.ts';
import { uuidv7 } from '../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync, parseCertificate } from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import { patienceMs } from '../test/support/until.ts';
import {
  allMethods,
  attestByToken,
  channelCredentials,
  type Credential,
} from '../test/support/server.ts';

// the answers' shapes are those of the contracts; a drill reads few of their fields
export type Answer = Readonly<Record<string, any>>;

const methods = allMethods();

/**
 * Calls to a server in another process, which may be dead, restarting or stopped. Every call ends
 * within its deadline.
 */
export class Calls {
  readonly #adminSocketPath: string;
  readonly #port: number;
  readonly #clients = new Set<Client>();
  #admin: Client | undefined;
  #rootsDer: readonly Buffer[] = [];

  constructor(options: { readonly adminSocketPath: string; readonly port: number }) {
    this.#adminSocketPath = options.adminSocketPath;
    this.#port = options.port;
  }

  get rootsDer(): readonly Buffer[] {
    return this.#rootsDer;
  }

  async learnRoots(): Promise<readonly Buffer[]> {
    return (this.#rootsDer = (await this.admin('Authorities/GetBundle'))['rootsDer'] as Buffer[]);
  }

  /** Over the local socket, as the user of this process. */
  admin(method: string, request: object = {}, deadlineMs = patienceMs): Promise<Answer> {
    this.#admin ??= this.local();
    return unary(this.#admin, `/meshca.admin.v1.${method}`, request, deadlineMs);
  }

  local(): Client {
    return this.#remember(
      new Client(`unix:${this.#adminSocketPath}`, credentials.createInsecure(), {
        'grpc.default_authority': 'localhost',
        ...reconnecting,
      }),
    );
  }

  client(credential?: Credential): Client {
    return this.#remember(
      new Client(`127.0.0.1:${this.#port}`, channelCredentials(this.#rootsDer, credential), {
        'grpc.ssl_target_name_override': 'localhost',
        'grpc.default_authority': 'localhost',
        ...reconnecting,
      }),
    );
  }

  async joinAgent(name: string): Promise<Credential> {
    const { token } = await this.admin('Tokens/CreateJoinToken', { agentName: name });
    const client = this.client();
    try {
      return await attestByToken(client, token as string);
    } finally {
      this.forget(client);
    }
  }

  async mint(spiffeId: string): Promise<Credential> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const minted = await this.admin('Certificates/MintX509Svid', {
      spiffeId,
      csrDer: createCsr(privateKey),
      requestId: uuidv7(),
    });
    return {
      spiffeId,
      serial: unwrap(parseCertificate(minted['chainDer'][0] as Buffer)).serialHex,
      chainDer: minted['chainDer'],
      privateKey,
    };
  }

  forget(client: Client): void {
    client.close();
    this.#clients.delete(client);
  }

  close(): void {
    for (const client of this.#clients) client.close();
    this.#clients.clear();
    this.#admin = undefined;
  }

  #remember(client: Client): Client {
    this.#clients.add(client);
    return client;
  }
}

const reconnecting = {
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.min_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 200,
  'grpc.enable_retries': 0,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': 64 * 1024 * 1024,
};

/**
 * Rejects with the PkiError of the trailers, or with UNREACHABLE if the connection broke without
 * trailers.
 */
export function unary(
  client: Client,
  path: string,
  request: object,
  deadlineMs = patienceMs,
): Promise<Answer> {
  const method = methods[path];
  if (method === undefined) throw new Error(`no method ${path}`);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => object,
      request,
      new Metadata(),
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, response) => {
        if (error) reject(fromServiceError(error));
        else resolve(response as Answer);
      },
    );
  });
}

export const codeOf = (thrown: unknown): string =>
  thrown instanceof PkiError ? thrown.code : String(thrown);
