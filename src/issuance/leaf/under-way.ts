import { subjectNames } from '../../domain/index.ts';
import type { LeafResult } from '../issuer.ts';
import type { ReadRequest } from './prepare.ts';

interface Running extends PromiseWithResolvers<LeafResult> {
  /** Of all who share the answer; undefined: one who can not go away. */
  readonly signals: (AbortSignal | undefined)[];
}

/**
 * Owner of the requests under way, so that a request that is sent twice at once is signed once. The
 * key has what the request asks for: two different requests under one ID must not get each other's
 * answer.
 */
export class UnderWay {
  readonly #running = new Map<string, Running>();

  static keyOf({ request, publicKeySha256 }: ReadRequest): string {
    return [
      request.caller.name,
      request.requestId,
      publicKeySha256,
      request.kind,
      ...subjectNames(request.subject),
    ].join('\u0000');
  }

  /** The answer that is under way for this key, or undefined; then the caller owes one. */
  join(key: string, signal: AbortSignal | undefined): Promise<LeafResult> | undefined {
    const running = this.#running.get(key);
    if (running === undefined)
      this.#running.set(key, { ...Promise.withResolvers<LeafResult>(), signals: [signal] });
    else running.signals.push(signal);
    return running?.promise;
  }

  /** Whether one of those who share the answer still waits for it. */
  isWanted(key: string): boolean {
    return this.#running.get(key)?.signals.some((signal) => signal?.aborted !== true) ?? false;
  }

  answer(key: string, result: LeafResult): void {
    this.#running.get(key)?.resolve(result);
    this.#running.delete(key);
  }
}
