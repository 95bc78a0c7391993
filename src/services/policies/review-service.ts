import { PkiError, unwrap } from '../../common/errors/index.ts';
import { readPolicy } from '../../common/policy/file.ts';
import { PolicyReplay, type Policy } from '../../common/policy/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { shortLivedMaximumSeconds } from '../../domain/index.ts';
import {
  isNotInLog,
  type LedgerIssuancePolicies,
  type LedgerRevocations,
} from '../../ledger/index.ts';
import type { AuditFilter } from '../../store/ports/index.ts';
import type { Access } from '../callers/access.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusableCall, type RefusalLog } from '../callers/refusal-log.ts';
import type { ServiceSettings } from '../settings.ts';
import { recordedDecision, type DecisionDependencies } from './decision-record.ts';
import type {
  PolicyReviews,
  RecordedDecision,
  RenewalStep,
  ReplayStep,
  ReviewProgress,
} from './policy-reviews.ts';
import { provenRecords, type ProvenRecord, type RecordDependencies } from './proven-records.ts';
import { RenewalLosses } from './renewal-losses.ts';
import { Turns } from './turns.ts';

export interface ReviewDependencies extends RecordDependencies, DecisionDependencies {
  readonly policies: LedgerIssuancePolicies;
  readonly revocations: Pick<LedgerRevocations, 'revoked'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: Pick<ServiceSettings, 'maximumX509TtlSeconds' | 'maximumJwtTtlSeconds'>;
}

/** Further reviews are refused, so that clients that repeat them keep no memory here. */
const maximumWaiting = 4;
/** How many records are read at most to find what is live. */
const defaultRecords = 1_000_000;
/** Progress is told so seldom that it never waits for a slow reader. */
const progressMs = 200;

/** Reads the log to say what another policy would decide. Owner of the queue of reviews. */
export class PolicyReviewService implements PolicyReviews {
  readonly #dependencies: ReviewDependencies;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(dependencies: ReviewDependencies) {
    this.#dependencies = dependencies;
  }

  replay(
    caller: OperatorCaller,
    { text, sinceMs, untilMs, limit }: Parameters<PolicyReviews['replay']>[1],
    signal: AbortSignal,
  ): Promise<AsyncIterable<ReplayStep>> {
    return this.#reading({ caller, operation: 'ReplayPolicy' }, () => {
      const replay = new PolicyReplay(unwrap(readPolicy(text)));
      const range = {
        ...(sinceMs === undefined ? {} : { sinceMs }),
        ...(untilMs === undefined ? {} : { untilMs }),
      };
      return Promise.resolve(
        this.#inTurn(() => this.#replay(replay, range, limit, signal), signal),
      );
    });
  }

  renewalLosses(
    caller: OperatorCaller,
    asked: Parameters<PolicyReviews['renewalLosses']>[1],
    signal: AbortSignal,
  ): Promise<AsyncIterable<RenewalStep>> {
    return this.#reading({ caller, operation: 'ListRenewalLosses' }, async () => {
      const next = unwrap(readPolicy(asked.text));
      this.#requireVersion(asked.version);
      const present = await this.#present();
      this.#requireVersion(asked.version);
      return this.#inTurn(() => this.#losses({ present, next }, asked, signal), signal);
    });
  }

  decision(caller: OperatorCaller, id: string): Promise<RecordedDecision> {
    return this.#reading({ caller, operation: 'GetPolicyDecision' }, () =>
      recordedDecision(this.#dependencies, id),
    );
  }

  async *#replay(
    replay: PolicyReplay,
    range: Pick<AuditFilter, 'sinceMs' | 'untilMs'>,
    limit: number,
    signal: AbortSignal,
  ): AsyncGenerator<ReplayStep> {
    yield* this.#each(range, signal, ({ sequence, statement }) => {
      replay.add(sequence, statement);
      return true;
    });
    const groups = replay.groups();
    const totals = { ...replay.totals(), groups: groups.length };
    yield { type: 'end', groups: groups.slice(0, limit), totals };
  }

  async *#losses(
    policies: { readonly present: Policy | undefined; readonly next: Policy },
    {
      version,
      limit,
      maximumRecords = defaultRecords,
    }: Parameters<PolicyReviews['renewalLosses']>[1],
    signal: AbortSignal,
  ): AsyncGenerator<RenewalStep> {
    const { clock, revocations, settings } = this.#dependencies;
    const now = clock.now();
    const losses = new RenewalLosses(policies, now, (serial) => revocations.revoked(serial));
    const counts = { records: 0, unproven: 0 };
    const add = ({ statement }: ProvenRecord): boolean => {
      counts.records += 1;
      if (statement === undefined) counts.unproven += 1;
      else losses.add(statement);
      return counts.records < maximumRecords;
    };
    const longest = Math.max(
      settings.maximumX509TtlSeconds,
      settings.maximumJwtTtlSeconds,
      shortLivedMaximumSeconds,
    );
    const sinceMs = (now - longest) * 1000;
    yield* this.#each({ sinceMs }, signal, add);
    // certificates of CAs live longer, and are few
    yield* this.#each({ kind: 'authority.downstream', untilMs: sinceMs - 1 }, signal, add);
    this.#requireVersion(version);
    const complete = counts.records < maximumRecords;
    yield {
      type: 'end',
      losses: losses.losses().slice(0, limit),
      totals: { ...losses.totals(), ...counts, complete, version },
    };
  }

  /** Visits the records, the newest first, until one visit returns false. */
  async *#each(
    filter: Pick<AuditFilter, 'kind' | 'sinceMs' | 'untilMs'>,
    signal: AbortSignal,
    visit: (record: ProvenRecord) => boolean,
  ): AsyncGenerator<{ readonly type: 'progress'; readonly progress: ReviewProgress }> {
    const { clock } = this.#dependencies;
    const turns = new Turns(clock, signal);
    let records = 0;
    let toldMs = -Infinity;
    for await (const page of provenRecords(this.#dependencies, filter, signal)) {
      for (const record of page) {
        if (!visit(record)) return;
        if (turns.isOver) await turns.next();
      }
      records += page.length;
      const last = page.at(-1);
      const nowMs = clock.monotonicMs();
      if (last === undefined || nowMs - toldMs < progressMs) continue;
      toldMs = nowMs;
      yield { type: 'progress', progress: { records, atMs: last.timeMs } };
    }
  }

  /**
   * Reviews wait for each other, so that many of them do not slow down the server. A review that has
   * its result waits for its reader, and nobody waits for it.
   */
  async *#inTurn<T extends { readonly type: string }>(
    review: () => AsyncGenerator<T>,
    signal: AbortSignal,
  ): AsyncGenerator<T> {
    if (this.#waiting >= maximumWaiting)
      throw new PkiError('OVERLOADED', `${maximumWaiting} other reviews of policies are under way`);
    this.#waiting += 1;
    const ended = Promise.withResolvers<void>();
    const before = this.#tail;
    this.#tail = before.then(() => ended.promise);
    let isOver = false;
    const end = (): void => {
      if (!isOver) this.#waiting -= 1;
      isOver = true;
      ended.resolve();
    };
    try {
      await orAborted(before, signal);
      for await (const step of review()) {
        if (step.type === 'end') end();
        yield step;
      }
    } finally {
      end();
    }
  }

  /** Undefined: the built-in one, or one that can not be read, which renews nothing any more. */
  async #present(): Promise<Policy | undefined> {
    try {
      const stored = await this.#dependencies.policies.present();
      return stored === undefined ? undefined : unwrap(readPolicy(stored.text));
    } catch (thrown) {
      if (isNotInLog(thrown) || PkiError.from(thrown).code === 'POLICY_INVALID') return undefined;
      throw thrown;
    }
  }

  #requireVersion(version: number): void {
    const present = this.#dependencies.policies.presentVersion();
    if (version !== present)
      throw new PkiError('CONFLICT', `the policy is at version ${present}, not ${version}`);
  }

  #reading<T>(
    call: RefusableCall & { readonly caller: OperatorCaller },
    act: () => Promise<T>,
  ): Promise<T> {
    const { refusals, access } = this.#dependencies;
    return refusing(refusals, call, async () => {
      (await access.of(call.caller)).require('policy.read', access.all);
      return act();
    });
  }
}

function orAborted(waited: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(PkiError.from(signal.reason, 'CANCELLED'));
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    void waited.then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}
