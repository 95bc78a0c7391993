import type {
  Deadline,
  Metadata,
  ServerInterceptingCall,
  ServerInterceptingCallInterface,
  ServerInterceptor,
  ServerMethodDefinition,
} from '@grpc/grpc-js';
import type { Readable } from 'node:stream';
import { PkiError } from '../errors/index.ts';
import { toStatus } from './status.ts';

export interface RequestBounds {
  /** Metadata of one call, names and values together. */
  readonly metadataBytes: number;
  /**
   * The largest message. A compressed call is charged this size at once, since its inflated size is
   * unknown.
   */
  readonly messageBytes: number;
  /**
   * The owner that is charged, and its limit. `peer` is the result of getPeer() of the call.
   * Undefined: the call is refused.
   */
  readonly ownerOf: (peer: string) => RequestOwner | undefined;
  /** The limit for all owners together. Beyond it, only owners with little are served. */
  readonly totalBytes: number;
  /**
   * Called when a call begins. The returned function is called when the call has ended. `end` ends
   * the call with an error.
   */
  readonly enter: (peer: string, end: (error: PkiError) => void) => () => void;
  readonly onRefused?: (peer: string, error: PkiError) => void;
}

export interface RequestOwner {
  readonly name: string;
  readonly bytes: number;
}

/** The bytes that an owner may always hold, whatever others do. */
const littleBytes = 64 * 1024;
/** The delay before the stream of a refused call is reset, in which its trailers are sent. */
const resetMs = 250;
const cancelled = 8;

/**
 * Limits the memory that callers make a gRPC server use. grpc-js collects a request until it is
 * complete, up to the largest message for each stream, before any handler sees it, and has no limit
 * per connection or caller. Here each byte of a request and of its metadata is charged to an owner
 * until the call ends; a message of a client stream, until it is complete. A call beyond the limit
 * ends with OVERLOADED. Its stream is reset, since a peer that goes on sending would keep it open.
 */
export function boundRequests(bounds: RequestBounds): ServerInterceptor {
  const accounts = new RequestAccounts(bounds.totalBytes);
  return (method, call) =>
    // the type names the class of grpc-js, which itself uses no more than its interface
    new BoundedCall(method, call, { bounds, accounts }) as unknown as ServerInterceptingCall;
}

/** Keeps the bytes of each owner, and the total. */
class RequestAccounts {
  readonly #held = new Map<string, number>();
  readonly #totalBytes: number;
  #total = 0;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  /** False if the owner, or all owners together, are now beyond their limit. */
  take({ name, bytes: most }: RequestOwner, bytes: number): boolean {
    const held = (this.#held.get(name) ?? 0) + bytes;
    this.#held.set(name, held);
    this.#total += bytes;
    return held <= most && (this.#total <= this.#totalBytes || held <= littleBytes);
  }

  give({ name }: RequestOwner, bytes: number): void {
    const left = (this.#held.get(name) ?? 0) - bytes;
    if (left > 0) this.#held.set(name, left);
    else this.#held.delete(name);
    this.#total -= bytes;
  }
}

type InterceptingServerListener = Parameters<ServerInterceptingCallInterface['start']>[0];
type PartialStatusObject = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

/** The part of the definition of a method on which a bounded call depends. */
type BoundedMethod = Pick<
  ServerMethodDefinition<unknown, unknown>,
  'requestStream' | 'responseStream'
>;

/**
 * One call and the bytes that it is charged. It stands between the handler and the call of grpc-js,
 * in both directions. It has no `ServerInterceptingCall` of grpc-js, whose queues and closures are
 * for interceptors that answer later. Here everything is passed on at once.
 */
class BoundedCall implements ServerInterceptingCallInterface, InterceptingServerListener {
  readonly #method: BoundedMethod;
  readonly #call: ServerInterceptingCallInterface;
  readonly #bounds: RequestBounds;
  readonly #accounts: RequestAccounts;
  readonly #inside: Inside;
  readonly #owner: RequestOwner | undefined;
  readonly #peer: string;
  #handler: InterceptingServerListener | undefined;
  #charged = 0;
  #refused = false;
  #answered = false;
  #cancelled = false;

  constructor(
    method: BoundedMethod,
    call: ServerInterceptingCallInterface,
    { bounds, accounts }: { readonly bounds: RequestBounds; readonly accounts: RequestAccounts },
  ) {
    this.#method = method;
    this.#call = call;
    this.#bounds = bounds;
    this.#accounts = accounts;
    this.#inside = inside(call);
    this.#peer = call.getPeer();
    this.#owner = bounds.ownerOf(this.#peer);
    this.#inside.stream.on('data', (data: Buffer) => this.#charge(data.length));
    const leave = bounds.enter(this.#peer, (error) => this.#refuse(error));
    this.#inside.stream.once('close', () => {
      this.#release();
      leave();
    });
  }

  start(handler: InterceptingServerListener): void {
    this.#handler = handler;
    this.#call.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    if (this.#cancelled) return;
    this.#takeMetadata(metadata);
    if (!this.#refused) this.#handler?.onReceiveMetadata(metadata);
  }

  onReceiveMessage(message: unknown): void {
    if (this.#cancelled || this.#refused) return;
    // the message is with its handler; the next one is charged anew
    if (this.#method.requestStream && !this.#compressed) this.#release();
    this.#handler?.onReceiveMessage(message);
  }

  onReceiveHalfClose(): void {
    if (!this.#cancelled && !this.#refused) this.#handler?.onReceiveHalfClose();
  }

  onCancel(): void {
    this.#cancelled = true;
    this.#handler?.onCancel();
  }

  // the handler of a refused call may still answer: its answer is dropped

  sendMetadata(metadata: Metadata): void {
    if (!this.#refused) this.#call.sendMetadata(metadata);
  }

  sendMessage(message: unknown, written: () => void): void {
    if (this.#refused) return;
    if (this.#method.responseStream) {
      this.#call.sendMessage(message, written);
      return;
    }
    // An only answer is followed by its status at once. To wait until it is written would cost
    // another turn of the loop for each call. If it can not be written, grpc-js ends the call itself.
    this.#call.sendMessage(message, () => {});
    written();
  }

  sendStatus(status: PartialStatusObject): void {
    if (this.#refused) return;
    this.#answered = true;
    this.#call.sendStatus(status);
  }

  startRead(): void {
    this.#call.startRead();
  }

  getPeer(): string {
    return this.#peer;
  }

  getDeadline(): Deadline {
    return this.#call.getDeadline();
  }

  getHost(): string {
    return this.#call.getHost();
  }

  getAuthContext(): ReturnType<ServerInterceptingCallInterface['getAuthContext']> {
    return this.#call.getAuthContext();
  }

  getConnectionInfo(): ReturnType<ServerInterceptingCallInterface['getConnectionInfo']> {
    return this.#call.getConnectionInfo();
  }

  getMetricsRecorder(): ReturnType<ServerInterceptingCallInterface['getMetricsRecorder']> {
    return this.#call.getMetricsRecorder();
  }

  #takeMetadata(metadata: Metadata): void {
    let size = 0;
    for (const [key, values] of Object.entries(metadata.toHttp2Headers()))
      size += key.length + String(values).length;
    const { metadataBytes, messageBytes } = this.#bounds;
    if (this.#owner === undefined)
      this.#refuse(new PkiError('CANCELLED', 'the connection of this call is gone'));
    else if (size > metadataBytes)
      this.#refuse(
        new PkiError(
          'INVALID_REQUEST',
          `the metadata of the call has more than ${metadataBytes} bytes`,
        ),
      );
    else this.#charge(this.#compressed ? size + messageBytes : size);
  }

  get #compressed(): boolean {
    return this.#inside.incomingEncoding !== 'identity';
  }

  #charge(bytes: number): void {
    if (this.#owner === undefined || this.#refused) return;
    this.#charged += bytes;
    if (!this.#accounts.take(this.#owner, bytes))
      this.#refuse(
        new PkiError('OVERLOADED', 'this caller has more bytes of requests under way than it may'),
      );
  }

  #release(): void {
    if (this.#owner !== undefined) this.#accounts.give(this.#owner, this.#charged);
    this.#charged = 0;
  }

  #refuse(error: PkiError): void {
    if (this.#refused || this.#answered) return;
    this.#refused = true;
    this.#bounds.onRefused?.(this.#peer, error);
    this.#call.sendStatus(toStatus(error));
    setTimeout(() => this.#inside.stream.close(cancelled), resetMs).unref();
  }
}

interface Inside {
  readonly stream: Readable & { close(code: number): void };
  readonly incomingEncoding: string;
}

/**
 * Returns the inner parts of a call. grpc-js shows an interceptor only complete messages; bytes of
 * an incomplete one show only on its HTTP/2 stream.
 */
function inside(call: ServerInterceptingCallInterface): Inside {
  const { stream, incomingEncoding } = call as unknown as Partial<Inside>;
  if (stream === undefined || incomingEncoding === undefined)
    throw new Error(
      'this release of grpc-js does not show the stream of a call: requests can not be bounded',
    );
  return { stream, incomingEncoding };
}
