import {
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import type { Readable } from 'node:stream';
import { PkiError } from '../errors/index.ts';
import { toStatus } from './status.ts';

export interface RequestBounds {
  /** Metadata of one call, names and values together. */
  readonly metadataBytes: number;
  /**
   * The largest message; a compressed call is charged it at once, since nobody sees what it
   * inflates to.
   */
  readonly messageBytes: number;
  /**
   * Who is charged, and how much may be held for it; `peer` is what getPeer() of the call says.
   * undefined: the call is refused.
   */
  readonly ownerOf: (peer: string) => RequestOwner | undefined;
  /** For all owners together. Beyond, only those that hold little are served. */
  readonly totalBytes: number;
  readonly onRefused?: (peer: string, error: PkiError) => void;
}

export interface RequestOwner {
  readonly name: string;
  readonly bytes: number;
}

/** What an owner may hold however much others do. */
const littleBytes = 64 * 1024;
/** Until the stream of a refused call is reset; its trailers leave before. */
const resetMs = 250;
const cancelled = 8;

/**
 * Bounds what callers make a gRPC server hold: grpc-js collects a request until it is complete, up
 * to the largest message for each stream, before any handler hears of it, and knows no bound per
 * connection or caller. Here each byte of a request and of its metadata is charged to an owner
 * until the call ends; requests of a client stream, until the message is complete. What is beyond
 * ends with OVERLOADED, and the stream is reset, since a peer that goes on sending would keep it.
 */
export function boundRequests(bounds: RequestBounds): ServerInterceptor {
  const held = new Map<string, number>();
  let total = 0;

  const take = ({ name, bytes: most }: RequestOwner, bytes: number): boolean => {
    const before = held.get(name) ?? 0;
    held.set(name, before + bytes);
    total += bytes;
    return before + bytes <= most && (total <= bounds.totalBytes || before + bytes <= littleBytes);
  };
  const give = ({ name }: RequestOwner, bytes: number): void => {
    const left = (held.get(name) ?? 0) - bytes;
    if (left > 0) held.set(name, left);
    else held.delete(name);
    total -= bytes;
  };

  return (method, call) => {
    const { stream, incomingEncoding } = inside(call);
    const owner = bounds.ownerOf(call.getPeer());
    let charged = 0;
    let refused = false;
    const refuse = (error: PkiError): void => {
      if (refused) return;
      refused = true;
      bounds.onRefused?.(call.getPeer(), error);
      call.sendStatus(toStatus(error));
      setTimeout(() => stream.close(cancelled), resetMs).unref();
    };
    const charge = (bytes: number): void => {
      if (owner === undefined || refused) return;
      charged += bytes;
      if (!take(owner, bytes))
        refuse(
          new PkiError(
            'OVERLOADED',
            'this caller has more bytes of requests under way than it may',
          ),
        );
    };
    const release = (): void => {
      if (owner !== undefined) give(owner, charged);
      charged = 0;
    };
    stream.on('data', (data: Buffer) => charge(data.length));
    stream.once('close', release);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, forward) => {
            let size = 0;
            for (const [key, values] of Object.entries(metadata.toHttp2Headers()))
              size += key.length + String(values).length;
            if (owner === undefined)
              refuse(new PkiError('CANCELLED', 'the connection of this call is gone'));
            else if (size > bounds.metadataBytes)
              refuse(
                new PkiError(
                  'INVALID_REQUEST',
                  `the metadata of the call has more than ${bounds.metadataBytes} bytes`,
                ),
              );
            else charge(incomingEncoding === 'identity' ? size : size + bounds.messageBytes);
            if (!refused) forward(metadata);
          },
          onReceiveMessage: (message, forward) => {
            if (refused) return;
            if (method.requestStream && incomingEncoding === 'identity') release();
            forward(message);
          },
          onReceiveHalfClose: (forward) => {
            if (!refused) forward();
          },
        }),
    });
  };
}

interface Inside {
  readonly stream: Readable & { close(code: number): void };
  readonly incomingEncoding: string;
}

/**
 * grpc-js shows an interceptor complete messages only; bytes that are not one yet are seen on its
 * HTTP/2 stream alone.
 */
function inside(call: ServerInterceptingCallInterface): Inside {
  const { stream, incomingEncoding } = call as unknown as Partial<Inside>;
  if (stream === undefined || incomingEncoding === undefined)
    throw new Error(
      'this release of grpc-js does not show the stream of a call: requests can not be bounded',
    );
  return { stream, incomingEncoding };
}
