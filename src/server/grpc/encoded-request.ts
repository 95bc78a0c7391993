import type { ServiceDefinition } from '@grpc/grpc-js';
import { PkiError } from '../../common/errors/index.ts';

type Decode = (bytes: Buffer) => unknown;

/**
 * A request as it came. It is decoded for admitted callers alone: whoever may not call gets no work
 * done. What is no message of its method gets our code, where grpc-js would answer INTERNAL.
 */
class EncodedRequest {
  readonly #bytes: Buffer;
  readonly #decode: Decode;

  constructor(bytes: Buffer, decode: Decode) {
    this.#bytes = bytes;
    this.#decode = decode;
  }

  /** Throws INVALID_REQUEST. */
  decoded(): unknown {
    try {
      return this.#decode(this.#bytes);
    } catch (cause) {
      throw new PkiError('INVALID_REQUEST', 'the request is no well-formed message of its method', {
        next: 'Build the client from the protos of this release.',
        cause,
      });
    }
  }
}

/** The service with the requests of unary calls left as they came; `decodeRequestOf` decodes them. */
export const withEncodedRequests = (definition: ServiceDefinition): ServiceDefinition =>
  Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [
      name,
      method.requestStream || method.responseStream
        ? method
        : {
            ...method,
            requestDeserialize: (bytes: Buffer) =>
              new EncodedRequest(bytes, method.requestDeserialize as Decode),
          },
    ]),
  );

/** Puts the message in the place of the request that a call came with. Throws INVALID_REQUEST. */
export function decodeRequestOf(call: { request: unknown }): void {
  if (call.request instanceof EncodedRequest) call.request = call.request.decoded();
}
