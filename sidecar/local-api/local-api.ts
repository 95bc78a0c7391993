import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import { selectorText, type Selector } from '../../src/common/spiffe/index.ts';
import { agentContract, boundRequests, toStatus } from '../../src/common/wire/index.ts';
import type { AgentStatus } from '../../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import type { ExplainRequest__Output } from '../../src/common/wire/generated/meshca/agent/v1/ExplainRequest.ts';
import type { Explanation } from '../../src/common/wire/generated/meshca/agent/v1/Explanation.ts';
import { linuxKernel, type Attestor, type Kernel } from '../attest/index.ts';
import type { EntryCache } from '../ports/entries.ts';
import { listenUnix, type RefusalLog, type SocketOptions } from '../workload-api/index.ts';

export interface LocalApiOptions {
  /** Default mode 0o600. The mode is the first fence; the caller's uid is checked in any case. */
  readonly socket: SocketOptions;
  /** Beside uid 0. The agent's own belongs here. */
  readonly allowedUids: readonly number[];
  readonly status: () => AgentStatus;
  readonly attestor: Attestor;
  readonly kernel?: Kernel;
  readonly entries: EntryCache;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface LocalApi extends AsyncDisposable {
  readonly path: string;
  /** Stops accepting and closes what is left after the grace. Disposing is drain(500). */
  drain(graceMs: number): Promise<void>;
}

const maximumConnections = 64;
const nearMissLimit = 10;
const requestBytes = 4096;

/** The agent's own socket for operators of the node. Throws SOCKET_IN_USE or CONFIG_INVALID. */
export async function startLocalApi(options: LocalApiOptions): Promise<LocalApi> {
  const { clock, logger, kernel = linuxKernel() } = options;
  const allowed = new Set([0, ...options.allowedUids]);
  const open = new Map<string, { readonly socket: Socket; readonly uid: number }>();
  let counter = 0;

  const serve =
    <Request, Response>(handle: (request: Request) => Response | Promise<Response>) =>
    (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
      const caller = open.get(call.getPeer());
      const answer = async (): Promise<Response> => {
        if (caller === undefined || !allowed.has(caller.uid)) {
          throw new PkiError(
            'CALLER_NOT_ADMITTED',
            'this socket is for root, the user of the agent and the configured users',
            { detail: { uid: caller?.uid ?? -1 } },
          );
        }
        return handle(call.request);
      };
      answer().then(
        (response) => callback(null, response),
        (thrown: unknown) => {
          const error = PkiError.from(thrown);
          logger.info(
            { code: error.code, uid: caller?.uid, reason: error.message },
            'a call of the local API was refused',
          );
          callback(toStatus(error, { full: true }));
        },
      );
    };

  const server = new Server({
    'grpc.max_concurrent_streams': 8,
    'grpc.max_receive_message_length': requestBytes,
    'grpc.enable_channelz': 0,
    interceptors: [
      boundRequests({
        metadataBytes: 8192,
        messageBytes: requestBytes,
        totalBytes: 1024 * 1024,
        ownerOf: (peer) => {
          const uid = open.get(peer)?.uid;
          return uid === undefined
            ? undefined
            : { name: String(uid), bytes: allowed.has(uid) ? 512 * 1024 : 32 * 1024 };
        },
      }),
    ],
  });
  server.addService(agentContract().packages.meshca.agent.v1.AgentLocal.service, {
    GetStatus: serve(() => options.status()),
    Explain: serve((request: ExplainRequest__Output) => explain(options, request)),
  });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listening = await listenUnix({ mode: 0o600, ...options.socket }, (socket) => {
    socket.on('error', () => {});
    try {
      const fd =
        (socket as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd ??
        -1;
      const { uid } = kernel.peerCredentials(fd);
      // callers that may not ask can not take the places of those who may
      const admitted = allowed.has(uid);
      if (open.size >= (admitted ? maximumConnections : maximumConnections / 2)) {
        socket.destroy();
        return;
      }
      counter += 1;
      const id = `unix:${counter}`;
      Object.defineProperty(socket, 'remoteAddress', { value: id });
      open.set(id, { socket, uid });
      const cancel = clock.after(admitted ? 300_000 : 5_000, () => socket.destroy());
      socket.once('close', () => {
        cancel();
        open.delete(id);
      });
      injector.injectConnection(socket);
    } catch (thrown) {
      socket.destroy();
      logger.warn({ err: thrown }, 'a connection to the local API could not be accepted');
    }
  });
  listening.server.on('error', (error) =>
    logger.error({ err: error }, 'the local API socket failed'),
  );

  let draining: Promise<void> | undefined;
  const drain = async (graceMs: number): Promise<void> => {
    await listening.close();
    injector.drain(graceMs);
    const deadline = clock.monotonicMs() + graceMs;
    while (open.size > 0 && clock.monotonicMs() < deadline)
      await clock.sleep(Math.min(10, graceMs));
    for (const { socket } of open.values()) socket.destroy();
    injector.destroy();
    server.forceShutdown();
  };
  const drainOnce = (graceMs: number): Promise<void> => (draining ??= drain(graceMs));
  return {
    path: options.socket.path,
    drain: drainOnce,
    [Symbol.asyncDispose]: () => drainOnce(500),
  };
}

async function explain(
  options: LocalApiOptions,
  request: ExplainRequest__Output,
): Promise<Explanation> {
  if (request.target === 'refusalId') {
    const refusal = options.refusals.get(request.refusalId ?? '');
    if (refusal === undefined)
      throw new PkiError(
        'NOT_FOUND',
        'there is no recent refusal with this ID; the agent keeps the last ones of each user until it restarts',
        { next: 'Explain the process itself: meshca explain --pid N.' },
      );
    return {
      ...verdict(options, refusal.selectors),
      pid: refusal.pid,
      refusalId: refusal.id,
      code: refusal.code,
      message: refusal.message,
      time: refusal.time,
    };
  }
  if (request.target !== 'pid' || (request.pid ?? 0) <= 0)
    throw new PkiError('INVALID_REQUEST', 'name a process ID or a refusal ID');
  const pid = request.pid as number;
  let peer;
  try {
    peer = options.attestor.open(pid);
    // an operator wants to see all facts, asked for by an entry or not
    const attested = await options.attestor.attest(
      peer,
      (_selectors, prefixes) => new Set(prefixes),
    );
    const found = verdict(options, attested.selectors);
    return {
      ...found,
      pid,
      message: attested.problem ?? '',
      time: options.clock.now(),
      code: found.granted ? '' : options.entries.synced() ? 'NO_IDENTITY' : 'NOT_SYNCED',
    };
  } catch (thrown) {
    const error = PkiError.from(thrown);
    if (error.code !== 'PEER_UNVERIFIABLE') throw error;
    return {
      pid,
      granted: false,
      code: error.code,
      message: error.message,
      time: options.clock.now(),
    };
  } finally {
    peer?.[Symbol.dispose]();
  }
}

function verdict(
  options: LocalApiOptions,
  selectors: readonly Selector[],
): Explanation & { readonly granted: boolean } {
  const identities = options.entries.match(selectors);
  return {
    selectors: selectors.map(selectorText),
    granted: identities.length > 0,
    grantedSpiffeIds: identities.map((each) => each.spiffeId.toString()),
    nearMisses: options.entries.nearMisses(selectors, nearMissLimit).map((each) => ({
      entryId: each.entry.id,
      spiffeId: each.entry.spiffeId,
      matched: [...each.matched],
      missed: [...each.missed],
    })),
  };
}
