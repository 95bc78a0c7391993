import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { DelegateCaller } from '../callers/caller.ts';
import type { DelegateStreams, OpenStream } from '../callers/delegate-streams.ts';
import { checkRequestId, maximumBatch } from '../requests.ts';
import type { Refusals } from '../callers/callers.ts';
import type { SignStreamConnection, SignStreams, SignStreamTransport } from './sign-streams.ts';
import type { DelegatedItem, Signing } from './signing.ts';
import type { SvidOutcome } from './svids.ts';

/** Requests of one stream that have no answer in the hands of the transport. */
const streamWindow = 1_000;
/** Bytes of the requests of one stream without an answer: many times what such requests have. */
const maximumBytes = 8 * 1024 * 1024;

export interface SignStreamDependencies {
  readonly signing: Pick<Signing, 'sign'>;
  readonly streams: Pick<DelegateStreams, 'open' | 'standing'>;
  readonly refusals: Pick<Refusals, 'refused' | 'idOf'>;
  readonly clock: Pick<Clock, 'after'>;
}

/** Streams of requests of control planes. Each request is decided and recorded as any other. */
export class SignStreamService implements SignStreams {
  readonly #dependencies: SignStreamDependencies;

  constructor(dependencies: SignStreamDependencies) {
    this.#dependencies = dependencies;
  }

  open(caller: DelegateCaller, transport: SignStreamTransport): Promise<SignStreamConnection> {
    return this.#dependencies.streams.open(
      caller,
      'SignStream',
      (stream) => new SignStream(stream, transport, this.#dependencies),
      (error) => transport.close(error),
    );
  }
}

interface Waiting {
  readonly id: string;
  readonly item: DelegatedItem;
}

/** Owner of the credits and of the requests without an answer. */
class SignStream implements SignStreamConnection {
  readonly #stream: OpenStream;
  readonly #transport: SignStreamTransport;
  readonly #dependencies: SignStreamDependencies;
  readonly #gone = new AbortController();
  /** Requests that have no answer yet: the bytes of each by its ID. */
  readonly #unanswered = new Map<string, number>();
  #bytes = 0;
  #waiting: Waiting[] = [];
  #flushing = false;
  /** What the caller may still send. */
  #credits = 0;
  /** Credits that are given once the transport takes more. */
  #owed = streamWindow;
  #blocked = false;
  #finished = false;
  #over = false;
  #sentRoots: readonly Buffer[] | undefined;

  constructor(
    stream: OpenStream,
    transport: SignStreamTransport,
    dependencies: SignStreamDependencies,
  ) {
    this.#stream = stream;
    this.#transport = transport;
    this.#dependencies = dependencies;
    // after the front holds the connection, so that no `drained` comes before it can be passed on
    setImmediate(() => this.#giveCredits());
  }

  request(id: string, item: DelegatedItem): void {
    if (this.#over) return;
    if (this.#credits === 0)
      throw new PkiError(
        'STREAM_CREDIT_EXCEEDED',
        'a request was sent on the stream without a credit for it',
      );
    checkRequestId(id);
    if (this.#unanswered.has(id))
      throw new PkiError('INVALID_REQUEST', `the request ${id} of this stream has no answer yet`);
    const bytes = bytesOf(item);
    if (this.#bytes + bytes > maximumBytes)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `the requests of a stream without an answer have at most ${maximumBytes} bytes`,
      );
    this.#credits -= 1;
    this.#bytes += bytes;
    this.#unanswered.set(id, bytes);
    this.#waiting.push({ id, item });
    if (this.#flushing) return;
    this.#flushing = true;
    // what arrives in one turn shares a batch
    setImmediate(() => this.#flush());
  }

  drained(): void {
    this.#blocked = false;
    this.#giveCredits();
  }

  finished(): void {
    this.#finished = true;
    this.#endIfDone();
  }

  closed(): void {
    if (this.#over) return;
    this.#over = true;
    this.#waiting = [];
    this.#gone.abort(new PkiError('CANCELLED', 'the client has gone'));
    this.#stream.closed();
  }

  #flush(): void {
    this.#flushing = false;
    while (this.#waiting.length > 0 && !this.#over) {
      const batch = this.#waiting.splice(0, maximumBatch);
      this.#sign(batch).catch((thrown: unknown) => {
        if (!this.#over) this.#transport.close(PkiError.from(thrown));
      });
    }
  }

  async #sign(batch: readonly Waiting[]): Promise<void> {
    const caller = await this.#dependencies.streams.standing(this.#stream.caller);
    let outcomes: readonly SvidOutcome[];
    let rootsDer: readonly Buffer[] | undefined;
    try {
      ({ outcomes, rootsDer } = await this.#dependencies.signing.sign(
        caller,
        batch.map(({ item }) => item),
        this.#gone.signal,
      ));
    } catch (thrown) {
      outcomes = await this.#refusedTogether(batch, PkiError.from(thrown));
    }
    for (const [index, { id }] of batch.entries())
      this.#answer(id, outcomes[index] as SvidOutcome, rootsDer);
    this.#endIfDone();
  }

  /** What concerns a batch only for now is the answer of its items. All else ends the stream. */
  async #refusedTogether(
    batch: readonly Waiting[],
    error: PkiError,
  ): Promise<readonly SvidOutcome[]> {
    if (error.code !== 'RATE_LIMITED' && error.info.status !== 'UNAVAILABLE') throw error;
    const { refusals } = this.#dependencies;
    const refusalId =
      refusals.idOf(error) ?? (await refusals.refused(this.#stream.caller, 'Sign', error));
    return batch.map(({ item }) => ({ ok: false, requestId: item.requestId, error, refusalId }));
  }

  #answer(id: string, outcome: SvidOutcome, rootsDer: readonly Buffer[] | undefined): void {
    this.#bytes -= this.#unanswered.get(id) ?? 0;
    this.#unanswered.delete(id);
    if (this.#over) return;
    this.#owed += 1;
    const credits = this.#blocked ? 0 : this.#take();
    const fresh = rootsDer !== undefined && !sameRoots(rootsDer, this.#sentRoots);
    if (fresh) this.#sentRoots = rootsDer;
    const taken = this.#transport.send({
      credits,
      answer: { id, outcome },
      ...(fresh ? { rootsDer } : {}),
    });
    this.#blocked ||= !taken;
  }

  #giveCredits(): void {
    if (this.#over || this.#blocked || this.#owed === 0) return;
    this.#blocked = !this.#transport.send({ credits: this.#take() });
  }

  #take(): number {
    const given = this.#owed;
    this.#owed = 0;
    this.#credits += given;
    return given;
  }

  #endIfDone(): void {
    if (!this.#finished || this.#over || this.#unanswered.size > 0) return;
    this.closed();
    this.#transport.end();
  }
}

const bytesOf = ({ csrDer, spiffeId, dnsNames, ips, requestId }: DelegatedItem): number =>
  csrDer.length +
  [spiffeId, requestId, ...dnsNames, ...ips].reduce(
    (sum, text) => sum + Buffer.byteLength(text),
    0,
  );

const sameRoots = (one: readonly Buffer[], other: readonly Buffer[] | undefined): boolean =>
  other !== undefined &&
  one.length === other.length &&
  one.every((der, index) => der.equals(other[index] as Buffer));
