import type { Clock } from '../../common/runtime/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import { orderStatusAt, type AcmeOrder, type EabKey } from '../../domain/index.ts';
import type { EabKeyStore } from '../../store/ports/index.ts';
import { keyRight } from './account-keys.ts';
import { checkCsr, type CsrCheckDependencies } from './csr-check.ts';
import { requireStanding } from './eab-standing.ts';
import type { Finalizer } from './finalizer.ts';
import type { AccountRequest } from './gate.ts';
import type { AcmeLimits } from './limits.ts';
import { orderRights, type OrderBook } from './order-book.ts';
import { subjectOf } from './order-grant.ts';
import { parseFinalize } from './payloads.ts';
import { accept, refuse } from './problem.ts';

export interface FinalizationDependencies extends CsrCheckDependencies {
  readonly book: OrderBook;
  /** Reads that the log vouches for. */
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  readonly finalizer: Pick<Finalizer, 'finish' | 'lease'>;
  readonly limits: Pick<AcmeLimits, 'requirePlace'>;
  readonly clock: Clock;
}

/** So long an answer waits for its certificate: most clients need not ask again. */
const waitMs = 2_000;

/**
 * Takes the CSR of an order (RFC 8555 section 7.4). It is durable before anything is issued, so that
 * issuing goes on after a crash, and while the token is away.
 */
export class Finalization {
  readonly #dependencies: FinalizationDependencies;

  constructor(dependencies: FinalizationDependencies) {
    this.#dependencies = dependencies;
  }

  async finalize(request: AccountRequest, id: string): Promise<AcmeOrder> {
    const { book, eabKeys, finalizer, limits, clock } = this.#dependencies;
    const order = await book.ofAccount(request.account.id, id);
    const csrDer = accept(parseFinalize(request.payload));
    // the same CSR again: its answer was lost
    if (isTaken(order, csrDer)) return finalizer.finish(order, waitMs);
    requireReady(order, clock.now());
    const key = await eabKeys.byId(order.eabKeyId);
    if (key === undefined) return refuse('unauthorized', 'the EAB key of the account is gone');
    requireStanding(key, clock.now());
    // the order stays as it is, so that its client finalizes it when a place is free
    limits.requirePlace(key);
    await this.#check(order, key, csrDer);
    const { nonce, signal } = request;
    const lease = finalizer.lease();
    const taken = await book.change(
      order,
      (present) => {
        if (isTaken(present, csrDer)) return undefined;
        requireReady(present, clock.now());
        return { ...present, stage: 'finalizing', csrDer };
      },
      {
        what: 'finalized',
        detail: { csrSha256: sha256Hex(csrDer) },
        nonce,
        rights: [...orderRights(order), keyRight(request.key)],
        signal,
        lease,
      },
    );
    // another request with the same CSR may have been faster
    return finalizer.finish(taken, waitMs, taken.csrDer === csrDer ? lease : undefined);
  }

  #check(order: AcmeOrder, { keyTypes }: EabKey, csrDer: Buffer): Promise<unknown> {
    return checkCsr(csrDer, { names: subjectOf(order), keyTypes }, this.#dependencies);
  }
}

const isTaken = ({ stage, csrDer }: AcmeOrder, again: Buffer): boolean =>
  (stage === 'finalizing' || stage === 'issued') && csrDer?.equals(again) === true;

function requireReady(order: AcmeOrder, now: number): void {
  const status = orderStatusAt(order, now);
  if (status !== 'ready') refuse('orderNotReady', `the order is ${status}, not ready`);
}
