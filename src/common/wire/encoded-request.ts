import type { Readable } from 'node:stream';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { PkiError } from '../errors/index.ts';

type Decode = (bytes: Buffer) => unknown;

/**
 * A request as received. It is decoded for admitted callers only, so that others cause no work. A
 * malformed message gets our error code; grpc-js would answer INTERNAL.
 */
class EncodedRequest {
  readonly #bytes: Buffer;
  readonly #decode: Decode;

  constructor(bytes: Buffer, decode: Decode) {
    this.#bytes = bytes;
    this.#decode = decode;
  }

  /** @throws PkiError INVALID_REQUEST */
  decoded(): unknown {
    try {
      return this.#decode(this.#bytes);
    } catch (cause) {
      throw new PkiError(
        'INVALID_REQUEST',
        'the request is not a well-formed message of its method',
        {
          next: 'Build the client from the protos of this release.',
          cause,
        },
      );
    }
  }
}

/**
 * The service with its requests left encoded. `decodeRequestOf` and `decodeMessagesOf` decode them
 * for admitted callers.
 */
export const withEncodedRequests = (definition: ServiceDefinition): ServiceDefinition =>
  Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [
      name,
      {
        ...method,
        requestDeserialize: (bytes: Buffer) =>
          new EncodedRequest(bytes, method.requestDeserialize as Decode),
      },
    ]),
  );

/**
 * Replaces the encoded request of a call by its message. A call whose requests are a stream has
 * none.
 *
 * @throws PkiError INVALID_REQUEST
 */
export function decodeRequestOf(call: { request?: unknown }): void {
  if (call.request instanceof EncodedRequest) call.request = call.request.decoded();
}

/**
 * From now on each message of a request stream is decoded when it arrives. Called before the
 * stream is read. The first malformed message ends the reading and is reported to `fail`.
 */
export function decodeMessagesOf(call: Readable, fail: (thrown: unknown) => void): void {
  const push = call.push.bind(call);
  call.push = (message: unknown): boolean => {
    try {
      return push(message instanceof EncodedRequest ? message.decoded() : message);
    } catch (thrown) {
      fail(thrown);
      return false;
    }
  };
}
