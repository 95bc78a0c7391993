import type { Metadata } from '@grpc/grpc-js';
import type { TrustBundle } from '../ports/bundles.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { Granted, Session } from './session.ts';
import type { StreamConsumers } from './stream-consumers.ts';

/** One thing that a stream keeps its reader up to date about. */
export interface Content {
  /** Names the thing within the stream, where there are several. */
  readonly key: string;
  /** Sent only if it differs from the version of this key that was sent before. */
  readonly version: string;
  /** Handed over with it. */
  readonly svids: readonly HeldX509Svid[];
  /** The digest of the set of authorities that it carries, if it does. */
  readonly authorities: Buffer | undefined;
  encode(nonce: string): Buffer;
  onRead(): void;
}

/** What a method keeps per stream. */
export interface StreamSource {
  /**
   * All that the reader should hold now, the most important first; one message a content, the next
   * only when the reader has the one before. Nothing: nothing to tell yet. `first`: nothing was sent
   * on this stream. A throw ends the stream.
   */
  contents(
    granted: Granted,
    own: TrustBundle,
    first: boolean,
  ): Promise<readonly Content[]> | readonly Content[];
  /** A message of the client, where it sends a stream. A throw ends the stream. */
  received(request: unknown): void;
  release(): void;
}

/** What a method may do with its stream. */
export interface StreamHandle {
  readonly session: Session;
  readonly metadata: Metadata;
  /** What the reader holds, as the server is told. */
  readonly consumers: StreamConsumers;
  /** There may be something new to tell. */
  changed(): void;
  /** The client says that it has the message with this nonce. Proof `ack` only. */
  acknowledge(nonce: string): void;
  /** The client says that it can't use the message with this nonce. Proof `ack` only. */
  refuse(nonce: string, reason: string): void;
}
