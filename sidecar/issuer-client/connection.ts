import {
  Channel,
  connectivityState,
  Metadata,
  type ChannelOptions,
  type ClientDuplexStream,
  type ClientUnaryCall,
  type requestCallback,
  type CallOptions,
} from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import { uuidv7, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import { fromServiceError, issuerContract, requestIdKey } from '../../src/common/wire/index.ts';
import type { AgentIssuerClient } from '../../src/common/wire/generated/meshca/issuer/v1/AgentIssuer.ts';
import type { AgentSvid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AgentSvid.ts';
import type { AttestRequest } from '../../src/common/wire/generated/meshca/issuer/v1/AttestRequest.ts';
import type { AttestResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AttestResponse.ts';
import type { BundleStepsRequest } from '../../src/common/wire/generated/meshca/issuer/v1/BundleStepsRequest.ts';
import type { BundleUpdate__Output } from '../../src/common/wire/generated/meshca/issuer/v1/BundleUpdate.ts';
import type { NodeAttestationClient } from '../../src/common/wire/generated/meshca/issuer/v1/NodeAttestation.ts';
import type { RenewAgentRequest } from '../../src/common/wire/generated/meshca/issuer/v1/RenewAgentRequest.ts';
import type { SignJwtSvidRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidRequest.ts';
import type { SignJwtSvidResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignJwtSvidResponse.ts';
import type { SignX509SvidsRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import type { SyncDown__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncUp } from '../../src/common/wire/generated/meshca/issuer/v1/SyncUp.ts';
import {
  verifyServer,
  type ServerTrust,
  type VerifiedServer,
} from '../../src/common/wire/server-trust.ts';
import {
  VerifyingCredentials,
  type ClientIdentity,
} from '../../src/common/wire/verifying-credentials.ts';

export interface ConnectionOptions {
  /** host:port */
  readonly address: string;
  readonly trustDomain: TrustDomain;
  readonly trust: ServerTrust;
  readonly identity: ClientIdentity | undefined;
  readonly clock: Clock;
  /** For the TCP and TLS handshake together. */
  readonly connectTimeoutMs: number;
  readonly callDeadlineMs: number;
  readonly keepaliveMs: number;
  /** For one line a call at debug, with the request ID under which the server logs it as well. */
  readonly logger?: Logger;
}

const maximumMessageBytes = 16 * 1024 * 1024;

/**
 * One connection to the server, as one identity. It is opened once and never turned into another:
 * whoever has a new certificate opens a new connection. Nothing is retried here.
 */
export class IssuerConnection {
  readonly #channel: Channel;
  readonly #credentials: VerifyingCredentials;
  readonly #agents: AgentIssuerClient;
  readonly #attestation: NodeAttestationClient;
  readonly #callDeadlineMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger | undefined;

  private constructor(options: ConnectionOptions) {
    this.#logger = options.logger;
    this.#callDeadlineMs = options.callDeadlineMs;
    this.#clock = options.clock;
    this.#credentials = new VerifyingCredentials({
      identity: () => options.identity,
      verify: (socket) =>
        verifyServer(socket, options.trustDomain, options.trust, options.clock.now()),
      handshakeTimeoutMs: options.connectTimeoutMs,
    });
    const channelOptions: ChannelOptions = {
      'grpc.keepalive_time_ms': options.keepaliveMs,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': maximumMessageBytes,
      'grpc.max_send_message_length': maximumMessageBytes,
    };
    this.#channel = new Channel(`dns:${options.address}`, this.#credentials, channelOptions);
    const { AgentIssuer, NodeAttestation } = issuerContract().packages.meshca.issuer.v1;
    const shared = { channelOverride: this.#channel };
    this.#agents = new AgentIssuer(options.address, this.#credentials, shared);
    this.#attestation = new NodeAttestation(options.address, this.#credentials, shared);
  }

  /**
   * Connects and verifies the server. Throws SERVER_UNTRUSTED or UNREACHABLE; nothing has been sent
   * then.
   */
  static async open(options: ConnectionOptions, signal?: AbortSignal): Promise<IssuerConnection> {
    const connection = new IssuerConnection(options);
    try {
      await connection.#ready(options.address, options.connectTimeoutMs, signal);
      return connection;
    } catch (thrown) {
      connection.close();
      throw thrown;
    }
  }

  get server(): VerifiedServer {
    const { lastServer } = this.#credentials;
    if (lastServer === undefined)
      throw new PkiError('SERVER_UNTRUSTED', 'the server has not been verified');
    return lastServer;
  }

  attest(): ClientDuplexStream<AttestRequest, AttestResponse__Output> {
    return this.#attestation.attest(this.#streamMetadata('Attest'), { deadline: this.#deadline() });
  }

  sync(): ClientDuplexStream<SyncUp, SyncDown__Output> {
    return this.#agents.sync(this.#streamMetadata('Sync'));
  }

  /** The bundle revisions after this one. To be believed by their signatures alone. */
  fetchBundleSteps(request: BundleStepsRequest): Promise<BundleUpdate__Output> {
    return this.#unary('FetchBundleSteps', (metadata, options, callback) =>
      this.#attestation.fetchBundleSteps(request, metadata, options, callback),
    );
  }

  renewAgent(request: RenewAgentRequest): Promise<AgentSvid__Output> {
    return this.#unary('RenewAgent', (metadata, options, callback) =>
      this.#agents.renewAgent(request, metadata, options, callback),
    );
  }

  signX509Svids(request: SignX509SvidsRequest): Promise<SignX509SvidsResponse__Output> {
    return this.#unary('SignX509Svids', (metadata, options, callback) =>
      this.#agents.signX509Svids(request, metadata, options, callback),
    );
  }

  signJwtSvid(request: SignJwtSvidRequest): Promise<SignJwtSvidResponse__Output> {
    return this.#unary('SignJwtSvid', (metadata, options, callback) =>
      this.#agents.signJwtSvid(request, metadata, options, callback),
    );
  }

  /** Calls under way may finish; the connection closes after them. */
  close(): void {
    this.#channel.close();
  }

  /** What a failed call of this connection means: a refused server shows as UNAVAILABLE in gRPC. */
  explain(thrown: unknown): PkiError {
    if (thrown instanceof PkiError) return thrown;
    const error = fromServiceError(thrown as Parameters<typeof fromServiceError>[0]);
    return error.code === 'UNREACHABLE' && this.#credentials.lastFailure instanceof PkiError
      ? this.#credentials.lastFailure
      : error;
  }

  #deadline(): Date {
    // grpc-js compares it with the wall clock of the process, whatever clock this code was given
    return new Date(Date.now() + this.#callDeadlineMs);
  }

  #unary<T>(
    method: string,
    call: (
      metadata: Metadata,
      options: CallOptions,
      callback: requestCallback<T>,
    ) => ClientUnaryCall,
  ): Promise<T> {
    const requestId = uuidv7(this.#clock.nowMs());
    const startedMs = this.#clock.monotonicMs();
    return new Promise((resolve, reject) => {
      call(metadataFor(requestId), { deadline: this.#deadline() }, (error, value) => {
        const failure = error === null ? undefined : this.explain(error);
        this.#logger?.debug(
          {
            requestId,
            method,
            code: failure?.code ?? 'OK',
            durationMs: Math.round((this.#clock.monotonicMs() - startedMs) * 100) / 100,
          },
          'call to the server',
        );
        if (failure !== undefined) reject(failure);
        else resolve(value as T);
      });
    });
  }

  #streamMetadata(method: string): Metadata {
    const requestId = uuidv7(this.#clock.nowMs());
    this.#logger?.debug({ requestId, method }, 'stream to the server');
    return metadataFor(requestId);
  }

  #ready(address: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + timeoutMs);
      const done = (error?: unknown): void => {
        signal?.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error as Error);
      };
      const onAbort = (): void =>
        done(signal?.reason ?? new PkiError('CANCELLED', 'the connection attempt was given up'));
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      signal?.addEventListener('abort', onAbort, { once: true });
      const unreachable = (why: string): PkiError => {
        const { lastFailure } = this.#credentials;
        if (lastFailure instanceof PkiError) return lastFailure;
        return new PkiError(
          'UNREACHABLE',
          `the server at ${address} ` +
            `${lastFailure instanceof Error ? `did not complete the connection: ${lastFailure.message}` : why}`,
        );
      };
      const look = (): void => {
        const state = this.#channel.getConnectivityState(true);
        if (state === connectivityState.READY) done();
        else if (state === connectivityState.TRANSIENT_FAILURE)
          done(unreachable('can not be reached'));
        else if (state === connectivityState.SHUTDOWN)
          done(new PkiError('CANCELLED', 'the connection was closed'));
        else
          this.#channel.watchConnectivityState(state, deadline, (error) =>
            error === undefined ? look() : done(unreachable('does not answer')),
          );
      };
      look();
    });
  }
}

function metadataFor(requestId: string): Metadata {
  const metadata = new Metadata();
  metadata.set(requestIdKey, requestId);
  return metadata;
}
