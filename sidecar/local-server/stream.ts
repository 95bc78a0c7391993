import type { Metadata, ServerDuplexStream, ServerWritableStream } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import type { BundleSource } from '../ports/bundles.ts';
import type { ConsumerRegistry } from '../ports/consumers.ts';
import { identityKey, type EntryCache, type Identity } from '../ports/entries.ts';
import { Delivery, type Message } from './delivery.ts';
import type { Hub } from './hub.ts';
import type { LocalServerLimits, LocalServerMetrics } from './options.ts';
import { ackProof, kernelProof, type AckProof, type DeliveryProof } from './proof.ts';
import type { Granted, Session } from './session.ts';
import type { CalledMethod, Sessions } from './sessions.ts';
import type { StreamMethod } from './socket-api.ts';
import { StreamConsumers } from './stream-consumers.ts';
import type { Content, StreamHandle, StreamSource } from './stream-source.ts';

export interface StreamDependencies {
  readonly entries: EntryCache;
  readonly bundles: BundleSource;
  readonly consumers: ConsumerRegistry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: LocalServerLimits;
  readonly metrics: LocalServerMetrics;
  readonly sessions: Sessions;
  readonly hub: Hub;
}

export type StreamCall =
  | ServerWritableStream<unknown, Buffer>
  | ServerDuplexStream<unknown, Buffer>;

/**
 * One stream of one session: full state at once, and again on each change, to a process that is
 * attested anew before each message.
 */
export class ServedStream implements StreamHandle {
  readonly session: Session;
  readonly metadata: Metadata;
  readonly consumers: StreamConsumers;
  readonly #dependencies: StreamDependencies;
  readonly #called: CalledMethod;
  readonly #call: StreamCall;
  readonly #proof: DeliveryProof | AckProof;
  readonly #delivery: Delivery;
  readonly #withoutIdentity: StreamMethod['withoutIdentity'];
  readonly #source: StreamSource;
  readonly #leaveHub: () => void;
  readonly #sent = new Map<string, string>();
  #granted: Granted | undefined;
  /** What of the client's messages is free: its first one, and one answer to each that was sent. */
  #free: 'the first' | 'an answer' | 'nothing' = 'the first';
  #ended = false;

  /** Throws what `method.open` throws. */
  constructor(
    dependencies: StreamDependencies,
    session: Session,
    call: StreamCall,
    { called, method }: { readonly called: CalledMethod; readonly method: StreamMethod },
  ) {
    const { clock, limits, metrics, hub } = dependencies;
    this.#dependencies = dependencies;
    this.#called = called;
    this.session = session;
    this.metadata = call.metadata;
    this.#call = call;
    this.#withoutIdentity = method.withoutIdentity;
    this.consumers = new StreamConsumers(dependencies.consumers, session, method.readers);
    this.#proof =
      method.proof === 'ack'
        ? ackProof()
        : kernelProof(() => session.connection.unreadBytes(), clock);
    this.#delivery = new Delivery({
      call,
      clock,
      proof: this.#proof,
      stallMs: limits.stallMs,
      produce: (nonce) => this.#produce(nonce),
      onError: (error) => this.#failed(error),
      onStall: () => this.#stalled(),
    });
    this.#source = method.open(this, 'request' in call ? call.request : undefined);
    this.#leaveHub = hub.add({
      bundlesChanged: () => this.changed(),
      entriesChanged: () => {
        if (!this.#unaffected()) this.changed();
      },
    });
    metrics.streamOpened(session.rpc);
  }

  changed(): void {
    this.#delivery.changed();
  }

  acknowledge(nonce: string): void {
    if ('acknowledge' in this.#proof) this.#proof.acknowledge(nonce);
  }

  refuse(nonce: string, reason: string): void {
    if ('refuse' in this.#proof) this.#proof.refuse(nonce, reason);
  }

  /** A message of the client. */
  received(request: unknown): void {
    if (this.#ended) return;
    try {
      const kind = this.#source.received(request);
      const isFree =
        this.#free === 'the first' || (this.#free === 'an answer' && kind === 'answer');
      this.#free = 'nothing';
      if (!isFree) this.#dependencies.sessions.chargeMessage(this.session);
    } catch (thrown) {
      this.end(PkiError.from(thrown));
    }
  }

  /** Idempotent. */
  end(error: PkiError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#delivery.close();
    this.#leaveHub();
    this.#source.release();
    this.consumers.remove();
    this.#dependencies.metrics.streamClosed(this.session.rpc);
    if (error !== undefined)
      this.#call.emit(
        'error',
        this.#dependencies.sessions.status(error, this.#called, this.session),
      );
    this.session.end();
  }

  async #produce(nonce: string): Promise<Message | undefined> {
    const own = this.#dependencies.bundles.current();
    if (own === undefined) throw new PkiError('STARTING_UP', 'the agent has no trust bundle yet');
    const granted = await (this.#withoutIdentity === 'refused'
      ? this.session.grant()
      : this.session.rights());
    // the source of a stream that has ended must take nothing up again
    if (this.#ended) return undefined;
    this.#granted = granted;
    const pending = this.#source.contents(granted, own, this.#sent.size === 0);
    const contents = pending instanceof Promise ? await pending : pending;
    for (const content of contents) this.#skipHeld(content);
    const stale = contents.filter(({ key, version }) => this.#sent.get(key) !== version);
    const content = stale[0];
    if (content === undefined) return undefined;
    // what was waited for may have taken long enough for another process to stand there now
    if (pending instanceof Promise) this.session.verify();
    return this.#message(content, granted, { nonce, more: stale.length > 1 });
  }

  #skipHeld(content: Content): void {
    const { key, version } = content;
    if (!content.readerHasIt || this.#sent.get(key) === version) return;
    this.#sent.set(key, version);
    content.onSent();
    content.onRead();
  }

  #message(
    content: Content,
    { identities }: Granted,
    { nonce, more }: { readonly nonce: string; readonly more: boolean },
  ): Message {
    const { metrics } = this.#dependencies;
    const { rpc } = this.session;
    return {
      bytes: content.encode(nonce),
      onSent: () => {
        if (this.#free === 'nothing') this.#free = 'an answer';
        this.#sent.set(content.key, content.version);
        this.consumers.sent(identities, content.authorities, content.svids);
        content.onSent();
        metrics.delivered(rpc);
        if (more) this.changed();
      },
      onRead: (afterMs) => {
        if (content.authorities !== undefined) this.consumers.read(content.authorities);
        content.onRead();
        metrics.confirmed(rpc, afterMs);
      },
      onRefused: (reason) => {
        this.#dependencies.logger.warn(
          { rpc, pid: this.session.connection.pid, resource: content.key, reason },
          'a reader refused what it was sent; it keeps what it had',
        );
        if (content.authorities !== undefined)
          this.consumers.refused(`the client refused the update: ${reason}`);
        content.onRefused(reason);
      },
    };
  }

  #failed(error: PkiError): void {
    const { connection } = this.session;
    this.end(error);
    // a connection belongs to one process image: after an exec nothing on it can be proven any more
    if (error.code === 'PEER_UNVERIFIABLE' && connection.peer !== undefined) connection.fail(error);
  }

  #stalled(): void {
    const { connection, rpc } = this.session;
    const { stallMs } = this.#dependencies.limits;
    this.#dependencies.logger.warn(
      { rpc, uid: connection.uid, pid: connection.pid, stallMs },
      'a workload takes no message; its connection is closed',
    );
    const reason = `took no message for ${stallMs / 1000} s; its stream was closed`;
    this.consumers.stalled(reason);
    this.#source.stalled(reason);
    this.end(new PkiError('DEADLINE_EXCEEDED', `no message was taken for ${stallMs} ms`));
    connection.close();
  }

  /**
   * True if a change of the entries can not concern a process with these selectors, so that it need
   * not be attested anew.
   */
  #unaffected(): boolean {
    const { entries } = this.#dependencies;
    const granted = this.#granted;
    if (granted === undefined) return false;
    const { selectors } = granted.attested;
    const now = this.session.identitiesOf(selectors);
    return (
      now.length === granted.identities.length &&
      now.every((each, index) => sameIdentity(each, granted.identities[index] as Identity)) &&
      entries.wanted(selectors, ['unix:sha256', 'unix:path']).size === 0
    );
  }
}

const sameIdentity = (one: Identity, other: Identity): boolean =>
  identityKey(one) === identityKey(other) && one.entry.revision === other.entry.revision;
