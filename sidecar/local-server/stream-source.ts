import type { Metadata } from '@grpc/grpc-js';
import type { TrustBundle } from '../ports/bundles.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { Granted, Session } from './session.ts';
import type { StreamConsumers } from './stream-consumers.ts';

/** One resource that a stream keeps up to date at its reader. */
export interface Content {
  /** Names the resource within the stream. */
  readonly key: string;
  /** Sent only if it differs from the version of this key that was sent before. */
  readonly version: string;
  /** The SVIDs that the message hands over. */
  readonly svids: readonly HeldX509Svid[];
  /** The digest of the set of authorities in the message, if it has one. */
  readonly authorities: Buffer | undefined;
  /**
   * The reader says that it has this version from an earlier stream: it is not sent, and counts as
   * read.
   */
  readonly readerHasIt: boolean;
  encode(nonce: string): Buffer;
  onSent(): void;
  onRead(): void;
  /** The reader can't use it and keeps what it had. */
  onRefused(reason: string): void;
}

/** The state of a method per stream. */
export interface StreamSource {
  /**
   * All that the reader should have now, the most important first. Each content is one message, and
   * the next is sent when the reader has the one before. An empty list: nothing to tell yet.
   * `first`: nothing was sent on this stream. A throw ends the stream.
   */
  contents(
    granted: Granted,
    own: TrustBundle,
    first: boolean,
  ): Promise<readonly Content[]> | readonly Content[];
  /**
   * Handles a message of the client, if it sends a stream. A throw ends the stream. `answer`: it only
   * answers what was sent, and asks for nothing.
   */
  received(request: unknown): 'answer' | 'request';
  /** The reader took no message and is cut off. `release` follows. */
  stalled(reason: string): void;
  release(): void;
}

/** What a method may do with its stream. */
export interface StreamHandle {
  readonly session: Session;
  readonly metadata: Metadata;
  /** What the reader has, as reported to the server. */
  readonly consumers: StreamConsumers;
  /** Call it when something may be new. */
  changed(): void;
  /** Call it when the client acknowledges the message with this nonce. For proof `ack` only. */
  acknowledge(nonce: string): void;
  /** Call it when the client refuses the message with this nonce. For proof `ack` only. */
  refuse(nonce: string, reason: string): void;
}
