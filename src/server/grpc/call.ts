import type { ServerDuplexStream, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { uuidv7, type Logger } from '../../common/runtime/index.ts';
import { requestIdKey } from '../../common/wire/index.ts';
import type { Caller } from '../../services/callers/caller.ts';
import type { Connection } from './connections.ts';

export type UnaryCall = ServerUnaryCall<unknown, unknown>;
export type WritableCall = ServerWritableStream<unknown, unknown>;
export type DuplexCall = ServerDuplexStream<unknown, unknown>;
export type AnyCall = UnaryCall | WritableCall | DuplexCall;

/** The facts of an admitted call. */
export interface CallContext {
  readonly caller: Caller;
  readonly connection: Connection;
  readonly requestId: string;
  readonly method: string;
  readonly logger: Logger;
}

/**
 * The request ID that the caller sent, or a new one. It is made when it is needed: for the answer
 * and the log line of a refusal, and for few other calls.
 */
export class CallId {
  readonly #call: AnyCall;
  #text: string | undefined;

  constructor(call: AnyCall) {
    this.#call = call;
  }

  get text(): string {
    return (this.#text ??= requestIdOf(this.#call));
  }
}

function requestIdOf(call: AnyCall): string {
  const stated = call.metadata.get(requestIdKey)[0];
  return typeof stated === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(stated) ? stated : uuidv7();
}

/** A caller's name in the server's log. */
export function callerName(caller: Caller): string {
  switch (caller.class) {
    case 'local':
      return `uid:${caller.uid}`;
    case 'anonymous':
      return caller.peer;
    default:
      return caller.spiffeId;
  }
}
