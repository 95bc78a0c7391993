import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Issuer, LeafRequest } from '../../issuance/issuer.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { Caller } from '../callers/caller.ts';
import type { SvidOutcome } from '../services.ts';
import type { Refusals } from '../callers/callers.ts';
import type { RefusalLog } from '../callers/refusal-log.ts';
import { requestIdOrNew } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';

/** The dependencies of every service that issues. */
export interface IssuingDependencies {
  readonly objects: Pick<ObjectLedger, 'require'>;
  readonly issuer: Issuer;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** An item after the decision of the service: a request to issue, or a refusal before issuance. */
export type Decided =
  | { readonly ok: true; readonly request: LeafRequest }
  | {
      readonly ok: false;
      readonly requestId: string;
      readonly subject: string;
      readonly error: PkiError;
    };

/** What a request to issue has from its item and its call, beside what the service decides. */
export type ItemTerms = Required<Pick<LeafRequest, 'requestId' | 'isNew' | 'signal'>>;

/** The call of a batch. `signal` is aborted when no caller waits for its answer any more. */
export interface BatchCall {
  readonly nowMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Decides each item of a batch on its own, so that a refused item does not affect the others.
 * `subject`: the subject of the refusal.
 */
export function decideEach<T extends { readonly requestId: string }>(
  items: readonly T[],
  { nowMs, signal }: BatchCall,
  subject: (item: T) => string,
  request: (item: T, terms: ItemTerms) => LeafRequest,
): readonly Decided[] {
  const requestIds = new Set<string>();
  return items.map((item): Decided => {
    try {
      const requestId = requestIdOrNew(item.requestId, nowMs);
      if (requestIds.has(requestId))
        throw new PkiError(
          'INVALID_REQUEST',
          `the request ID ${requestId} appears twice in the batch`,
        );
      requestIds.add(requestId);
      return {
        ok: true,
        request: request(item, { requestId, isNew: item.requestId === '', signal }),
      };
    } catch (thrown) {
      return {
        ok: false,
        requestId: item.requestId,
        subject: subject(item),
        error: PkiError.from(thrown),
      };
    }
  });
}

/** The caller of a batch and what it called. */
export interface IssuingCall {
  readonly caller: Caller;
  readonly operation: string;
}

/**
 * Issues the allowed items in one batch and records the refusals of the others. Outcomes are in the
 * order of the items.
 */
export async function issueDecided(
  { issuer, refusals }: { readonly issuer: Issuer; readonly refusals: RefusalLog },
  { caller, operation }: IssuingCall,
  decided: readonly Decided[],
): Promise<readonly SvidOutcome[]> {
  const requests: LeafRequest[] = [];
  const recorded: Promise<string>[] = [];
  for (const item of decided)
    if (item.ok) requests.push(item.request);
    else recorded.push(refusals.refused(caller, operation, item.error, item.subject.slice(0, 300)));
  const [results] = await Promise.all([
    requests.length === 0 ? [] : issuer.issue(requests),
    ...recorded,
  ]);
  let next = 0;
  return decided.map((item): SvidOutcome => {
    if (!item.ok)
      return {
        ok: false,
        requestId: item.requestId,
        error: item.error,
        refusalId: refusals.idOf(item.error) ?? '',
      };
    const result = results[next];
    next += 1;
    const { requestId } = item.request;
    if (result === undefined)
      return {
        ok: false,
        requestId,
        error: new PkiError('INTERNAL', 'the issuer returned no result for an item'),
        refusalId: '',
      };
    if (result.ok) return { ok: true, requestId, leaf: result.leaf };
    // issuance has already recorded this refusal
    refusals.mark(result.error, result.refusalId);
    return { ok: false, requestId, error: result.error, refusalId: result.refusalId };
  });
}

/** Issues one leaf. A refusal is thrown. */
export async function issueOne(
  dependencies: { readonly issuer: Issuer; readonly refusals: Pick<Refusals, 'mark'> },
  request: LeafRequest,
): Promise<Extract<SvidOutcome, { ok: true }>['leaf']> {
  const [result] = await dependencies.issuer.issue([request]);
  if (result === undefined) throw new PkiError('INTERNAL', 'the issuer returned no result');
  if (result.ok) return result.leaf;
  dependencies.refusals.mark(result.error, result.refusalId);
  throw result.error;
}
