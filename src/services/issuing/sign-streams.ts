import type { PkiError } from '../../common/errors/index.ts';
import type { DelegateCaller } from '../callers/caller.ts';
import type { DelegatedItem } from './signing.ts';
import type { SvidOutcome } from './svids.ts';

/** A message to the caller. `rootsDer`: all roots, if they are others than those sent before. */
export interface SignStreamMessage {
  readonly credits: number;
  readonly answer?: { readonly id: string; readonly outcome: SvidOutcome };
  readonly rootsDer?: readonly Buffer[];
}

/** The front's side of one stream. */
export interface SignStreamTransport {
  /**
   * Always takes the message. Returns whether more may follow at once. After `false` no credits are
   * given until `SignStreamConnection.drained`, so that at most the window of answers waits.
   */
  send(message: SignStreamMessage): boolean;
  /** The service has nothing more to say. */
  end(): void;
  /** Ends the stream with this error. The front calls `closed` then. */
  close(error: PkiError): void;
}

export interface SignStreamConnection {
  /** @throws PkiError STREAM_CREDIT_EXCEEDED, INVALID_REQUEST: end the stream with it */
  request(id: string, item: DelegatedItem): void;
  drained(): void;
  /** The caller sends nothing more. `end` is called once everything is answered. */
  finished(): void;
  /** The stream has ended, from either side. Idempotent. */
  closed(): void;
}

export interface SignStreams {
  /** @throws PkiError OVERLOADED, CALLER_NOT_ADMITTED, SHUTTING_DOWN */
  open(caller: DelegateCaller, transport: SignStreamTransport): Promise<SignStreamConnection>;
}
