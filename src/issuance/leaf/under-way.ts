import { subjectNames } from '../../domain/index.ts';
import type { LeafResult } from '../issuer.ts';
import type { ReadRequest } from './prepare.ts';

interface Running {
  /** The answer for those that came later. Undefined: nobody came. */
  later: PromiseWithResolvers<LeafResult> | undefined;
  /** The signals of all callers that share the answer; undefined: a caller that can not go away. */
  readonly signals: (AbortSignal | undefined)[];
}

/**
 * Owner of the requests under way: a request that arrives twice at once is signed once. The key
 * contains what the request asks for, so that two different requests with one ID do not share an
 * answer.
 */
export class UnderWay {
  readonly #running = new Map<string, Running>();

  static keyOf({ request, publicKeySha256 }: ReadRequest): string {
    // no other request has an ID that the server made for this one
    if (request.isNew === true) return request.requestId;
    return [
      request.caller.name,
      request.requestId,
      publicKeySha256,
      request.kind,
      request.profile,
      request.ttlSeconds,
      // the answer rests on the rights of the request that was first
      request.entryId ?? '',
      request.delegationId ?? '',
      ...subjectNames(request.subject),
    ].join('\u0000');
  }

  /** The answer that is under way for this key. Undefined: the caller must produce it. */
  join(key: string, signal: AbortSignal | undefined): Promise<LeafResult> | undefined {
    const running = this.#running.get(key);
    if (running === undefined) {
      this.#running.set(key, { later: undefined, signals: [signal] });
      return undefined;
    }
    running.signals.push(signal);
    running.later ??= Promise.withResolvers<LeafResult>();
    return running.later.promise;
  }

  /** Whether at least one caller still waits for the answer. */
  isWanted(key: string): boolean {
    return this.#running.get(key)?.signals.some((signal) => signal?.aborted !== true) ?? false;
  }

  answer(key: string, result: LeafResult): void {
    const running = this.#running.get(key);
    if (running === undefined) return;
    this.#running.delete(key);
    running.later?.resolve(result);
    // earlier tables of a Map keep its former members alive for long: see InOrder
    running.later = undefined;
    running.signals.length = 0;
  }
}
