import { Client, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { uuidv7 } from '../common/runtime/index.ts';
import { fromServiceError, noteKey, requestIdKey, type MethodType } from '../common/wire/index.ts';
import { remember } from './interruption.ts';

/** The methods of one service, by name. */
export type Methods = Readonly<Record<string, MethodType>>;

type NameOf<M extends Methods, Kind extends MethodType['kind']> = {
  [N in keyof M & string]: M[N]['kind'] extends Kind ? N : never;
}[keyof M & string];

export interface CallOptions {
  readonly deadlineSeconds?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  /** In the place of the usual display of a call that takes long. */
  readonly waiting?: () => () => void;
}

export interface CallsDependencies {
  readonly client: Client;
  readonly definition: ServiceDefinition;
  /** What a failed call means. */
  readonly explain: (error: PkiError) => PkiError;
  readonly signal: AbortSignal;
  /** Shows what the server says beside its answer. */
  readonly note: (text: string) => void;
  /** Starts to show that a call takes long. Returns the function that ends this. */
  readonly waiting: (call: string) => () => void;
}

/** The calls of one service. Errors are PkiErrors with the server's code and advice. */
export class Calls<M extends Methods> {
  readonly #client: Client;
  readonly #definition: ServiceDefinition;
  readonly #explain: (error: PkiError) => PkiError;
  /** Its abort ends the calls. */
  readonly #signal: AbortSignal;
  readonly #waiting: (call: string) => () => void;
  readonly #note: (text: string) => void;

  constructor({ client, definition, explain, note, signal, waiting }: CallsDependencies) {
    this.#client = client;
    this.#definition = definition;
    this.#explain = explain;
    this.#signal = signal;
    this.#waiting = waiting;
    this.#note = note;
  }

  call<N extends NameOf<M, 'unary'>>(
    name: N,
    request: M[N]['requestSent'],
    { deadlineSeconds = 30, metadata = {}, waiting }: CallOptions = {},
  ): Promise<M[N]['responseRead']> {
    const method = this.#method(name);
    const deadline = new Date(Date.now() + deadlineSeconds * 1000);
    const answered = remember(this.#signal, name);
    const ended = new AbortController();
    const shown = waiting === undefined ? this.#waiting(name) : waiting();
    return new Promise<M[N]['responseRead']>((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadataOf(metadata),
        { deadline },
        (error, response) => {
          if (error !== null) reject(this.#explain(fromServiceError(error)));
          else resolve(response as M[N]['responseRead']);
        },
      );
      call.on('status', ({ metadata: trailers }) => {
        for (const text of trailers.get(noteKey)) this.#note(String(text));
      });
      const stop = (): void => call.cancel();
      this.#signal.addEventListener('abort', stop, { signal: ended.signal });
    }).finally(() => {
      answered();
      shown();
      ended.abort();
    });
  }

  /** Reads a server stream. Its end by `signal` is not an error. */
  async *stream<N extends NameOf<M, 'stream'>>(
    name: N,
    request: M[N]['requestSent'],
    signal: AbortSignal,
  ): AsyncGenerator<M[N]['responseRead']> {
    const method = this.#method(name);
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadataOf({}),
    );
    const stop = (): void => call.cancel();
    signal.addEventListener('abort', stop, { once: true });
    try {
      for await (const message of call) yield message as M[N]['responseRead'];
    } catch (thrown) {
      if (!signal.aborted) throw this.#explain(fromServiceError(thrown as ServiceError));
    } finally {
      signal.removeEventListener('abort', stop);
      call.cancel();
    }
  }

  #method(name: string): MethodDefinition<object, object> {
    const method = this.#definition[name];
    if (method === undefined) throw new PkiError('INTERNAL', `the contract has no method ${name}`);
    return method as MethodDefinition<object, object>;
  }
}

function metadataOf(entries: Readonly<Record<string, string>>): Metadata {
  const metadata = new Metadata();
  metadata.set(requestIdKey, uuidv7());
  for (const [key, value] of Object.entries(entries)) metadata.set(key, value);
  return metadata;
}
