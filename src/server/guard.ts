import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  sendUnaryData,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { PassThrough } from 'node:stream';
import { canonicalJson, type Json } from '../common/approval/index.ts';
import { PkiError } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Logger } from '../common/runtime/index.ts';
import { requestIdKey, toStatus } from '../common/wire/index.ts';
import type { Caller, OperatorCaller } from '../services/caller.ts';
import type { Callers, Refusals } from '../services/contract.ts';
import { TokenBucket } from '../services/limits.ts';
import { admission } from './admission.ts';
import type { AnyMethod, Gate } from './gate.ts';
import { guardingOf } from './guarding.ts';
import type { Connection, Connections } from './connections.ts';

/** What a handler knows of its call. */
export interface CallContext {
  readonly caller: Caller;
  readonly connection: Connection;
  readonly requestId: string;
  readonly method: string;
  readonly logger: Logger;
}

export interface GuardDependencies {
  readonly connections: Connections;
  readonly callers: Callers;
  readonly refusals: Refusals;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: { readonly concurrentCalls: number; readonly unarySeconds: number };
  readonly observe: (method: string, code: string, seconds: number) => void;
  /** Dual control; a server without it guards nothing. */
  readonly gate?: Gate;
}

type AnyCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

/**
 * The one gate before every handler, ours and those of libraries: finds the connection, re-checks
 * its caller, consults the table of admission, limits concurrency and duration, and turns errors
 * into statuses with code, advice, request and refusal ID. Registering a method that the table does
 * not name is a programming error and throws.
 */
export class Guard {
  readonly #dependencies: GuardDependencies;
  readonly #contexts = new WeakMap<object, CallContext>();
  readonly #unaryHandlers = new Map<
    string,
    { readonly method: AnyMethod; readonly handler: handleUnaryCall<unknown, unknown> }
  >();
  #unaryCalls = 0;
  /**
   * Of lines about strangers: they are counted in any case, and nobody fills a disk by being
   * refused.
   */
  readonly #strangerLines: TokenBucket;

  constructor(dependencies: GuardDependencies) {
    this.#dependencies = dependencies;
    this.#strangerLines = new TokenBucket({ perSecond: 5, burst: 100 }, dependencies.clock);
  }

  /** The context of a call that this guard has admitted. */
  contextOf(call: object): CallContext {
    const context = this.#contexts.get(call);
    if (context === undefined)
      throw new PkiError('INTERNAL', 'a call reached its handler without admission');
    return context;
  }

  service(
    definition: ServiceDefinition,
    implementation: UntypedServiceImplementation,
  ): UntypedServiceImplementation {
    const guarded: UntypedServiceImplementation = {};
    for (const [name, method] of Object.entries(definition)) {
      if (admission[method.path] === undefined)
        throw new Error(`the admission table does not name ${method.path}`);
      const handler = implementation[name] ?? implementation[method.originalName ?? name];
      if (handler === undefined) throw new Error(`${method.path} has no handler`);
      const bound = handler.bind(implementation) as UntypedHandleCall;
      if (method.requestStream && !method.responseStream)
        throw new Error(`${method.path}: client streaming is not offered`);
      if (method.responseStream && guardingOf(method.path) !== 'never')
        throw new Error(
          `${method.path}: a stream can not wait for approval: name it in guarding.ts as one that never does, or make it a unary call`,
        );
      if (!method.responseStream)
        this.#unaryHandlers.set(method.path, {
          method: method as unknown as AnyMethod,
          handler: bound as handleUnaryCall<unknown, unknown>,
        });
      guarded[name] = method.responseStream
        ? this.#stream(
            method.path,
            bound as
              | handleServerStreamingCall<unknown, unknown>
              | handleBidiStreamingCall<unknown, unknown>,
          )
        : this.#unary(method.path, bound as handleUnaryCall<unknown, unknown>);
    }
    return guarded;
  }

  #unary(
    method: string,
    handler: handleUnaryCall<unknown, unknown>,
  ): handleUnaryCall<unknown, unknown> {
    const { clock, limits, observe } = this.#dependencies;
    return (call, callback) => {
      const startedMs = clock.monotonicMs();
      const requestId = requestIdOf(call);
      let answered = false;
      let failing = false;
      let context: CallContext | undefined;
      const answer = (code: string, send: () => void): void => {
        if (answered) return;
        answered = true;
        cancelDeadline();
        this.#unaryCalls -= 1;
        const durationMs = clock.monotonicMs() - startedMs;
        observe(method, code, durationMs / 1000);
        if (code === 'OK')
          context?.logger.debug(
            { caller: nameOf(context.caller), durationMs: Math.round(durationMs * 100) / 100 },
            'request done',
          );
        send();
      };
      const fail = (thrown: unknown): void => {
        if (failing || answered) return;
        failing = true;
        void this.#refuse(method, requestId, context, call, thrown).then((status) =>
          answer(status.code, () => callback(status.status)),
        );
      };
      this.#unaryCalls += 1;
      const cancelDeadline = clock.after(limits.unarySeconds * 1000, () =>
        fail(
          new PkiError('DEADLINE_EXCEEDED', `the call took longer than ${limits.unarySeconds} s`),
        ),
      );
      if (this.#unaryCalls > limits.concurrentCalls) {
        fail(new PkiError('OVERLOADED', `${limits.concurrentCalls} calls are under way`));
        return;
      }
      const forward: sendUnaryData<unknown> = (error, value, trailer, flags) => {
        if (error === null || error === undefined)
          answer('OK', () => callback(null, value, trailer, flags));
        else fail(error);
      };
      this.#admit(method, requestId, call)
        .then(async (admitted) => {
          context = admitted;
          await this.#hold(admitted, call.request);
          if (!answered) handler(call, forward);
        }, fail)
        .catch(fail);
    };
  }

  /** Before the handler of an operator's call: dual control. */
  async #hold({ caller, method }: CallContext, request: unknown): Promise<void> {
    const { gate } = this.#dependencies;
    const known = this.#unaryHandlers.get(method);
    if (
      gate === undefined ||
      known === undefined ||
      (caller.class !== 'local' && caller.class !== 'admin')
    )
      return;
    await gate.pass(known.method, request as object, caller);
  }

  /**
   * Runs a unary method for a caller whose call was approved, past the gate and nothing else. The
   * request is made anew from its JSON in the way in which one off the wire is; the answer comes
   * back as JSON.
   */
  async execute(
    path: string,
    request: Json,
    caller: OperatorCaller,
    operationId: string,
  ): Promise<Json> {
    const known = this.#unaryHandlers.get(path);
    if (known === undefined)
      throw new PkiError('NOT_IMPLEMENTED', `${path} is no call of this release`);
    const { method, handler } = known;
    if (!(admission[path] ?? []).includes(caller.class))
      throw new PkiError(
        'CALLER_NOT_ADMITTED',
        `${path} is not open to callers of class ${caller.class}`,
      );
    const parsed = method.requestDeserialize(method.requestSerialize(request as object));
    if (canonicalJson(parsed) !== canonicalJson(request))
      throw new PkiError(
        'APPROVAL_NOT_OPEN',
        'this release reads the request in another way than the one that proposed it',
      );
    const peer = `operation ${operationId}`;
    const connection: Connection = {
      key: peer,
      peer,
      socket: new PassThrough(),
      serverCertificateSha256: undefined,
      caller: Promise.resolve(caller),
      onClose: new Set(),
    };
    const call = { request: parsed, getPeer: () => peer } as unknown as ServerUnaryCall<
      unknown,
      unknown
    >;
    this.#contexts.set(call, {
      caller,
      connection,
      requestId: operationId,
      method: path,
      logger: this.#dependencies.logger.child({ requestId: operationId, method: path }),
    });
    const response = await new Promise<unknown>((resolve, reject) => {
      handler(call, (error, value) =>
        error === null || error === undefined ? resolve(value) : reject(PkiError.from(error)),
      );
    });
    return JSON.parse(
      canonicalJson(method.responseDeserialize(method.responseSerialize(response as object))),
    ) as Json;
  }

  #stream(
    method: string,
    handler:
      | handleServerStreamingCall<unknown, unknown>
      | handleBidiStreamingCall<unknown, unknown>,
  ): UntypedHandleCall {
    const { clock, observe } = this.#dependencies;
    return (call: ServerDuplexStream<unknown, unknown>) => {
      const startedMs = clock.monotonicMs();
      const requestId = requestIdOf(call);
      let context: CallContext | undefined;
      let over = false;
      let failing = false;
      const finish = (code: string): boolean => {
        if (over) return false;
        over = true;
        context?.connection.onClose.delete(fail);
        const durationMs = clock.monotonicMs() - startedMs;
        observe(method, code, durationMs / 1000);
        context?.logger.debug(
          { caller: nameOf(context.caller), code, durationMs: Math.round(durationMs) },
          'stream ended',
        );
        return true;
      };
      const fail = (thrown: unknown): void => {
        // one refusal a stream, however many messages the peer sends while it is being recorded
        if (over || failing) return;
        failing = true;
        void this.#refuse(method, requestId, context, call, thrown).then(({ code, status }) => {
          if (finish(code)) call.emit('error', status);
        });
      };
      call.on('cancelled', () => finish('CANCELLED'));
      call.on('finish', () => finish('OK'));
      call.on('error', () => {});
      this.#admit(method, requestId, call)
        .then((admitted) => {
          context = admitted;
          admitted.connection.onClose.add(fail);
          admitted.logger.debug({ caller: nameOf(admitted.caller) }, 'stream opened');
          if (!over) (handler as (call: unknown) => void)(call);
        }, fail)
        .catch(fail);
      this.#failures.set(call, fail);
    };
  }
  readonly #failures = new WeakMap<object, (thrown: unknown) => void>();

  /** Ends an admitted stream with an error, in the way every refusal ends. */
  failStream(call: object, thrown: unknown): void {
    this.#failures.get(call)?.(thrown);
  }

  async #admit(method: string, requestId: string, call: AnyCall): Promise<CallContext> {
    const { connections, callers, logger } = this.#dependencies;
    const connection = connections.byKey(call.getPeer());
    if (connection === undefined)
      throw new PkiError('UNAUTHENTICATED', 'the connection of this call is gone');
    const first = await connection.caller;
    const caller =
      first.class === 'anonymous' || first.class === 'local'
        ? first
        : await callers.stillStands(first);
    const context: CallContext = {
      caller,
      connection,
      requestId,
      method,
      // few calls log anything, and making a child logger costs as much as a look-up in the
      // database
      get logger() {
        return logger.child({ requestId, method });
      },
    };
    const admitted = admission[method] ?? [];
    if (!admitted.includes(caller.class)) {
      throw await this.#notAdmitted(context, admitted);
    }
    this.#contexts.set(call, context);
    return context;
  }

  async #notAdmitted(context: CallContext, admitted: readonly string[]): Promise<PkiError> {
    const code = context.caller.class === 'anonymous' ? 'UNAUTHENTICATED' : 'CALLER_NOT_ADMITTED';
    const error = new PkiError(
      code,
      `${context.method} is not open to callers of class ${context.caller.class}; it admits: ${admitted.join(', ')}`,
    );
    await this.#dependencies.refusals.refused(context.caller, context.method, error);
    return error;
  }

  async #refuse(
    method: string,
    requestId: string,
    context: CallContext | undefined,
    call: AnyCall,
    thrown: unknown,
  ): Promise<{ readonly code: string; readonly status: ReturnType<typeof toStatus> & Error }> {
    const { connections, refusals, logger } = this.#dependencies;
    const error = PkiError.from(thrown);
    const caller = context?.caller ?? {
      class: 'anonymous' as const,
      peer: connections.byKey(call.getPeer())?.peer ?? 'unknown',
    };
    const refusalId = refusals.idOf(error) ?? (await refusals.refused(caller, method, error));
    const fields = { requestId, refusalId, method, code: error.code, caller: nameOf(caller) };
    if (error.info.status === 'INTERNAL' || error.grade === 'fatal')
      logger.error({ ...fields, error: error.message, cause: causeText(error) }, 'request failed');
    else if (caller.class !== 'anonymous' || this.#strangerLines.take() === 0)
      logger.info({ ...fields, reason: error.message }, 'request refused');
    const full = caller.class === 'local' || caller.class === 'admin';
    const status = toStatus(error, { requestId, refusalId, full });
    return { code: error.code, status: Object.assign(new Error(status.details), status) };
  }
}

function requestIdOf(call: AnyCall): string {
  const given = call.metadata.get(requestIdKey)[0];
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(given) ? given : uuidv7();
}

const causeText = (error: PkiError): string | undefined =>
  error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : undefined;

const nameOf = (caller: Caller): string =>
  caller.class === 'local'
    ? `uid:${caller.uid}`
    : caller.class === 'anonymous'
      ? caller.peer
      : caller.spiffeId;
