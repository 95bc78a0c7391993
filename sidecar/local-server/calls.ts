import type {
  sendUnaryData,
  Server,
  ServerDuplexStream,
  ServerUnaryCall,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import {
  decodeMessagesOf,
  decodeRequestOf,
  withEncodedRequests,
} from '../../src/common/wire/encoded-request.ts';
import { serveDialogue } from './dialogue.ts';
import type { Session } from './session.ts';
import type { CalledMethod, Sessions } from './sessions.ts';
import type { ApiService, SocketApi, StreamMethod, UnaryMethod } from './socket-api.ts';
import { ServedStream, type StreamCall, type StreamDependencies } from './stream.ts';

/** Registers the services of an API. Each call gets a session or a status. */
export function registerApi(
  server: Server,
  dependencies: StreamDependencies,
  api: SocketApi,
  services: readonly ApiService[],
): void {
  for (const { definition, methods } of services) {
    const encoded = Object.fromEntries(
      Object.entries(definition).map(([rpc, each]) => [
        rpc,
        // streams write messages that were encoded once for all streams
        methods[rpc]?.kind === 'stream'
          ? { ...each, responseSerialize: (bytes: Buffer) => bytes }
          : each,
      ]),
    );
    const handlers: UntypedServiceImplementation = {};
    for (const rpc of Object.keys(definition)) {
      const method = methods[rpc];
      if (method === undefined) continue;
      handlers[rpc] = (
        method.kind === 'unary'
          ? (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) =>
              serveUnary(dependencies.sessions, { api, rpc }, method, { call, callback })
          : method.kind === 'dialogue'
            ? (call: ServerDuplexStream<unknown, unknown>) =>
                serveDialogue(dependencies.sessions, { api, rpc }, method, call)
            : (call: StreamCall) => serveStream(dependencies, { api, rpc }, method, call)
      ) as UntypedHandleCall;
    }
    server.addService(withEncodedRequests(encoded), handlers);
  }
}

/** Runs a unary handler, and turns what it throws into a status. */
function serveUnary(
  sessions: Sessions,
  method: CalledMethod,
  { run }: UnaryMethod,
  {
    call,
    callback,
  }: {
    readonly call: ServerUnaryCall<unknown, unknown>;
    readonly callback: sendUnaryData<unknown>;
  },
): void {
  let session: Session | undefined;
  let answered = false;
  const answer = (send: () => void): void => {
    if (answered) return;
    answered = true;
    send();
    session?.end();
  };
  const refuse = (thrown: unknown): void =>
    answer(() => callback(sessions.status(thrown, method, session)));
  try {
    session = sessions.open(call, method, refuse);
    decodeRequestOf(call);
  } catch (thrown) {
    refuse(thrown);
    return;
  }
  call.on('cancelled', () => refuse(new PkiError('CANCELLED', 'the caller cancelled the call')));
  run(session, call.request).then((response) => answer(() => callback(null, response)), refuse);
}

function serveStream(
  dependencies: StreamDependencies,
  method: CalledMethod,
  streamMethod: StreamMethod,
  call: StreamCall,
): void {
  const { sessions } = dependencies;
  // a call that was cancelled before it began emits no event
  if (call.cancelled || call.destroyed) return;
  const served: Served = { stream: undefined };
  const end = (error?: PkiError): void => {
    served.stream?.end(error);
    served.stream = undefined;
  };
  let session: Session | undefined;
  let stream: ServedStream;
  try {
    session = sessions.open(call, method, end);
    if ('request' in call) decodeRequestOf(call);
    stream = new ServedStream(dependencies, session, call, {
      called: method,
      method: streamMethod,
    });
  } catch (thrown) {
    call.emit('error', sessions.status(thrown, method, session));
    session?.end();
    return;
  }
  served.stream = stream;
  listen(call, served, end);
  stream.changed();
}

/**
 * The stream of a call, until it ends. An ended call outlives two collections of V8's young
 * generation, as node:http2 and grpc-js leave it. What its listeners still reached would grow old
 * with it: 13 KiB for each connection.
 */
interface Served {
  stream: ServedStream | undefined;
}

function listen(call: StreamCall, served: Served, end: (error?: PkiError) => void): void {
  call.on('cancelled', () => end());
  call.on('close', () => end());
  if (!('read' in call)) return;
  decodeMessagesOf(call, (thrown) => end(PkiError.from(thrown)));
  call.on('data', (request: unknown) => served.stream?.received(request));
  call.on('end', () => {
    end();
    call.end();
  });
}
