import { PkiError, codes, isErrorCode } from '../../src/common/errors/index.ts';
import { uuidv7, type Clock } from '../../src/common/runtime/index.ts';
import type { Selector } from '../../src/common/spiffe/index.ts';
import type { SignX509SvidsRequest } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse__Output } from '../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import type { X509Svid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/X509Svid.ts';
import type { KeyPool, ReadyKey } from './key-pool.ts';

export interface SigningRequest {
  readonly entryId: string;
  readonly selectors: readonly Selector[];
  readonly replacesSerial: string;
  /**
   * The queue fills this. An item whose answer got lost is sent again with its ID and key, and gets
   * the recorded certificate.
   */
  readonly unanswered: Unanswered;
}

/** Owned by the caller, one per identity. Empty when no request is open. */
export interface Unanswered {
  requestId?: string;
  key?: ReadyKey;
}

export interface Signed {
  readonly svid: X509Svid__Output;
  readonly key: ReadyKey;
  /** A moment before the request was sent, and so before the certificate was made. */
  readonly sentAtMonotonicMs: number;
}

interface Waiting {
  readonly request: SigningRequest;
  readonly resolve: (signed: Signed) => void;
  readonly reject: (error: PkiError) => void;
}

/** The server's limit per call. */
const maximumItems = 500;
/**
 * More concurrent calls would only take turns at the server. Requests that wait meanwhile share the
 * next call.
 */
const maximumCalls = 4;
const yieldEvery = 16;

/**
 * Signs keys in shared calls: all requests of one turn of the event loop share a call, and a lone
 * request leaves with the next turn. First identities overtake renewals. Nothing is retried here.
 */
export class SigningQueue {
  readonly #sign: (request: SignX509SvidsRequest) => Promise<SignX509SvidsResponse__Output>;
  readonly #keys: KeyPool;
  readonly #clock: Clock;
  readonly #urgent: Waiting[] = [];
  readonly #patient: Waiting[] = [];
  #calls = 0;
  #planned = false;

  constructor(
    sign: (request: SignX509SvidsRequest) => Promise<SignX509SvidsResponse__Output>,
    keys: KeyPool,
    clock: Clock,
  ) {
    this.#sign = sign;
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Rejects with the refusal of this item, or with the failure of the call. */
  sign(request: SigningRequest, urgent: boolean): Promise<Signed> {
    return new Promise((resolve, reject) => {
      (urgent ? this.#urgent : this.#patient).push({ request, resolve, reject });
      this.#plan();
    });
  }

  #plan(): void {
    if (
      this.#planned ||
      this.#calls >= maximumCalls ||
      this.#urgent.length + this.#patient.length === 0
    )
      return;
    this.#planned = true;
    setImmediate(() => {
      this.#planned = false;
      const batch = this.#urgent.splice(0, maximumItems);
      batch.push(...this.#patient.splice(0, maximumItems - batch.length));
      if (batch.length === 0) return;
      this.#calls += 1;
      void this.#call(batch).finally(() => {
        this.#calls -= 1;
        this.#plan();
      });
      this.#plan();
    });
  }

  async #call(batch: readonly Waiting[]): Promise<void> {
    try {
      const keys: ReadyKey[] = [];
      // one after another, since 500 keys at once would block the thread pool for all other work
      for (const {
        request: { unanswered },
      } of batch) {
        const key = (unanswered.key ??= await this.#keys.take());
        unanswered.requestId ??= uuidv7(this.#clock.nowMs());
        keys.push(key);
      }
      const items = batch.map(({ request }, index) => ({
        requestId: request.unanswered.requestId as string,
        entryId: request.entryId,
        csrDer: (keys[index] as ReadyKey).csrDer,
        selectors: [...request.selectors],
        replacesSerial: request.replacesSerial,
      }));
      const sentAtMonotonicMs = this.#clock.monotonicMs();
      const { results } = await this.#sign({ items });
      for (const [index, waiting] of batch.entries()) {
        // each waiting caller verifies its result, and 500 in one turn would block the loop for a
        // tenth of a second
        if (index % yieldEvery === yieldEvery - 1)
          await new Promise((resolve) => setImmediate(resolve));
        const result = results[index];
        delete waiting.request.unanswered.requestId;
        delete waiting.request.unanswered.key;
        if (result === undefined || result.requestId !== items[index]?.requestId)
          waiting.reject(
            new PkiError('INTERNAL', 'the server answered another request than the one sent'),
          );
        else if (result.svid)
          waiting.resolve({ svid: result.svid, key: keys[index] as ReadyKey, sentAtMonotonicMs });
        else waiting.reject(refusalError(result.refusal ?? undefined));
      }
    } catch (thrown) {
      const error = PkiError.from(thrown);
      for (const waiting of batch) waiting.reject(error);
    }
  }
}

export function refusalError(
  refusal:
    | {
        readonly code: string;
        readonly message: string;
        readonly next: string;
        readonly refusalId: string;
      }
    | undefined,
): PkiError {
  if (refusal === undefined)
    return new PkiError('INTERNAL', 'the server answered with neither an SVID nor a refusal');
  const code = isErrorCode(refusal.code) ? refusal.code : 'INTERNAL';
  return new PkiError(code, refusal.message, {
    next: refusal.next || codes[code].next,
    ...(refusal.refusalId === '' ? {} : { detail: { refusalId: refusal.refusalId } }),
  });
}

/** Temporary refusals. The item is requested again, and its callers go on waiting. */
const passing: ReadonlySet<string> = new Set([
  'ENTRY_CHANGED',
  'WITHHELD',
  'AUTHORITY_TAINTED',
  'RATE_LIMITED',
  'OVERLOADED',
  'HSM_UNAVAILABLE',
  'NO_ISSUER',
  'ISSUER_ENDED',
  'SHUTTING_DOWN',
  'STARTING_UP',
  'UNREACHABLE',
  'DEADLINE_EXCEEDED',
  'CANCELLED',
  'INTERNAL',
]);
export const passesByItself = (error: PkiError): boolean => passing.has(error.code);
