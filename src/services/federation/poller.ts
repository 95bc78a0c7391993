import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger, type Random } from '../../common/runtime/index.ts';
import { SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import {
  judgeBundle,
  parseForeignDocument,
  pollSeconds,
  type AuditEvent,
  type AuditValue,
  type JudgedBundle,
  type PollLimits,
  type ReadDocument,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerFederation, ProvenFederation } from '../../ledger/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import type { EndpointClient } from './endpoint-client.ts';
import { acceptedEvent } from './federation-events.ts';
import type { ForeignBundles } from './foreign-bundles.ts';
import { knownKeys } from './known-keys.ts';
import { confirmationSeconds, confirmedEvent, pollRecord, staleEvent } from './poll-records.ts';
import { afterFailure, afterSuccess, firstState, isStale, type PollState } from './poll-state.ts';

export interface PollerDependencies {
  readonly foreign: ForeignBundles;
  readonly federation: Pick<LedgerFederation, 'accept'>;
  readonly authorities: Pick<Authorities, 'all' | 'rootsDer'>;
  readonly audit: Pick<AuditStore, 'append' | 'list'>;
  readonly fetch: EndpointClient;
  readonly trustDomain: TrustDomain;
  readonly limits: PollLimits;
  /** True while the database is not trusted: nothing is polled then. */
  readonly held: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The outcome of each poll: ok, or the code of the failure. */
  readonly polled: (trustDomain: string, outcome: string) => void;
}

/** Codes that say more than that nobody answers. */
const alarming: readonly string[] = [
  'FEDERATION_BUNDLE_INVALID',
  'FEDERATION_BUNDLE_ROLLED_BACK',
  'FEDERATION_ENDPOINT_UNTRUSTED',
];

/** How long it is announced again after a start that a bundle has lost keys. */
const newsSeconds = 86_400;

interface Polled {
  readonly trustDomain: string;
  readonly relationshipId: string;
  state: PollState;
  /** When the last confirmation was put on record, Unix seconds; undefined: nothing was read yet. */
  onRecordAt: number | undefined;
  running: Promise<void> | undefined;
  cancel: () => void;
  readonly ended: AbortController;
}

/**
 * Asks the bundle endpoint of each relationship, at the refresh hint of the bundle held. After a
 * failure it waits for the next poll (SPIFFE Federation, section 5.3). Owner of the states of polls.
 */
export class FederationPoller {
  readonly #dependencies: PollerDependencies;
  /** By the ID of the relationship. */
  readonly #polled = new Map<string, Polled>();
  #stop: (() => void) | undefined;
  #closed = false;

  constructor(dependencies: PollerDependencies) {
    this.#dependencies = dependencies;
  }

  /** From now on relationships are polled. A new one is polled at once. */
  async start(): Promise<void> {
    this.#stop ??= this.#dependencies.foreign.onChange(() => this.#follow());
    await this.#dependencies.foreign.all();
    this.#follow();
  }

  state(relationshipId: string): PollState | undefined {
    return this.#polled.get(relationshipId)?.state;
  }

  everySeconds({ bundle }: ProvenFederation): number {
    return pollSeconds(bundle?.refreshHintSeconds ?? 0, this.#dependencies.limits);
  }

  /** Whether the bundle is stale: nothing confirmed it for several polls. */
  stale(present: ProvenFederation): boolean {
    const state = this.state(present.relationship.id);
    return (
      state !== undefined &&
      isStale(state, this.everySeconds(present), this.#dependencies.clock.now())
    );
  }

  /**
   * Polls now. A poll that is under way counts.
   *
   * @throws PkiError with the code of the failure
   */
  async refresh({ relationship }: ProvenFederation): Promise<void> {
    const polled = this.#of(relationship);
    await this.#poll(polled);
    if (polled.state.failure !== undefined) throw polled.state.failure;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stop?.();
    const polls = [...this.#polled.values()];
    this.#polled.clear();
    for (const polled of polls) end(polled);
    for (const { running } of polls) await running;
  }

  #of({ id, trustDomain }: ProvenFederation['relationship']): Polled {
    const known = this.#polled.get(id);
    if (known !== undefined) return known;
    const polled: Polled = {
      trustDomain,
      relationshipId: id,
      state: firstState(this.#dependencies.clock.now()),
      onRecordAt: undefined,
      running: undefined,
      cancel: () => {},
      ended: new AbortController(),
    };
    this.#polled.set(id, polled);
    return polled;
  }

  #follow(): void {
    void this.#dependencies.foreign.all().then((present) => {
      if (this.#closed) return;
      const ids = new Set(present.map(({ relationship }) => relationship.id));
      for (const [id, polled] of this.#polled)
        if (!ids.has(id)) {
          this.#polled.delete(id);
          end(polled);
        }
      for (const { relationship } of present)
        if (!this.#polled.has(relationship.id)) void this.#poll(this.#of(relationship));
    });
  }

  #poll(polled: Polled): Promise<void> {
    polled.running ??= this.#once(polled).finally(() => {
      polled.running = undefined;
    });
    return polled.running;
  }

  async #once(polled: Polled): Promise<void> {
    polled.cancel();
    const { clock, foreign, held, polled: outcome } = this.#dependencies;
    const { trustDomain } = polled;
    let everySeconds = pollSeconds(0, this.#dependencies.limits);
    try {
      const present = await foreign.of(trustDomain);
      if (present === undefined || polled.ended.signal.aborted) return;
      everySeconds = this.everySeconds(present);
      if (held()) return;
      await this.#remember(polled, present);
      const judged = await this.#fetch(present, polled.ended.signal);
      everySeconds = pollSeconds(judged.bundle.refreshHintSeconds, this.#dependencies.limits);
      await this.#recovered(polled, judged);
      polled.state = afterSuccess(polled.state, { judged, now: clock.now() });
      outcome(trustDomain, 'ok');
    } catch (thrown) {
      if (polled.ended.signal.aborted) return;
      const error = PkiError.from(thrown);
      await this.#announce(polled, error);
      polled.state = afterFailure(polled.state, error, clock.now());
      await this.#announceStale(polled, everySeconds);
      outcome(trustDomain, error.code);
    } finally {
      this.#schedule(polled, everySeconds);
    }
  }

  async #fetch(present: ProvenFederation, signal: AbortSignal): Promise<JudgedBundle> {
    try {
      return await this.#fetchOnce(present, signal);
    } catch (thrown) {
      const { foreign } = this.#dependencies;
      if (PkiError.from(thrown).code !== 'CONFLICT') throw thrown;
      // another server has stored a bundle meanwhile. What was fetched may be older than that one.
      await foreign.reread();
      const now = await foreign.of(present.relationship.trustDomain);
      if (now?.relationship.id !== present.relationship.id) throw thrown;
      return this.#fetchOnce(now, signal);
    }
  }

  async #fetchOnce(present: ProvenFederation, signal: AbortSignal): Promise<JudgedBundle> {
    const { relationship } = present;
    const rootsDer = await this.#rootsFor(present);
    const bytes = await this.#dependencies.fetch({ relationship, rootsDer, signal });
    const document = parseForeignDocument(bytes);
    if (!document.ok) throw document.error;
    return this.#take(document.value, present, signal);
  }

  async #take(
    document: ReadDocument,
    { relationship, bundle: held, accepted, altered }: ProvenFederation,
    signal: AbortSignal,
  ): Promise<JudgedBundle> {
    const { clock, federation, foreign } = this.#dependencies;
    const judged = judgeBundle(document, {
      ...{ relationship, held, accepted },
      known: await knownKeys(this.#dependencies),
      now: clock.now(),
    });
    if (!judged.ok) throw judged.error;
    const { bundle, changed } = judged.value;
    if (!changed && !altered) return judged.value;
    signal.throwIfAborted();
    await federation.accept(bundle, held, acceptedEvent(judged.value, 'server', clock.nowMs()));
    this.#tell(judged.value);
    await foreign.refresh();
    return judged.value;
  }

  #tell({ bundle, lostRoots, lostJwtKeys, lostByRules, leftOut }: JudgedBundle): void {
    const { logger } = this.#dependencies;
    const { trustDomain, sequence } = bundle;
    if (lostByRules.length > 0)
      logger.warn(
        { alert: true, trustDomain, sequence, lostByRules },
        'the rules of this release leave out roots of a foreign trust domain that an earlier one ' +
          'took: what they signed is trusted no more',
      );
    if (lostRoots.length + lostJwtKeys.length > lostByRules.length)
      logger.warn(
        { alert: true, trustDomain, sequence, lostRoots, lostJwtKeys },
        'the bundle of a foreign trust domain has lost keys: what they signed is trusted no more',
      );
    else if (lostByRules.length === 0)
      logger.info(
        { trustDomain, sequence, ...(leftOut > 0 ? { leftOut } : {}) },
        'a bundle of a foreign trust domain was accepted',
      );
  }

  /** The roots of the trust domain of the endpoint: of the bundle held, or of our own. */
  async #rootsFor({ relationship }: ProvenFederation): Promise<readonly Buffer[]> {
    if (relationship.endpointProfile === 'https_web') return [];
    const id = SpiffeId.of(relationship.endpointSpiffeId);
    const { authorities, foreign, trustDomain } = this.#dependencies;
    if (id.trustDomain.equals(trustDomain)) return authorities.rootsDer();
    const other = await foreign.of(id.trustDomain.name);
    const name = id.trustDomain.name;
    if (other?.altered === true && other.roots.length === 0)
      throw unverifiable(
        `the bundle of ${name} in the database was altered past the audit log, and none of its ` +
          'roots is on record',
        'Somebody writes to the database past the server.',
      );
    if (other?.bundle?.roots.length === 0)
      throw unverifiable(
        `the bundle of ${name} that it gave last has no root that can be used`,
        'Ask them why: this ends the trust in all of their SVIDs.',
      );
    return (other?.roots ?? []).map((root) => Buffer.from(root, 'base64'));
  }

  /** Once, before the first poll: what earlier processes left, and whether it is news still. */
  async #remember(polled: Polled, { accepted }: ProvenFederation): Promise<void> {
    if (polled.onRecordAt !== undefined) return;
    const { audit, clock, logger } = this.#dependencies;
    const record = await pollRecord(audit, polled, accepted);
    const now = clock.now();
    polled.onRecordAt = record.refreshedAt ?? 0;
    polled.state = firstState(now, record);
    const { trustDomain } = polled;
    if (record.shrunk !== undefined && now - record.shrunk.at < newsSeconds)
      logger.warn(
        { alert: true, trustDomain, ...record.shrunk },
        'the bundle of a foreign trust domain has lost keys before the start of this server',
      );
  }

  async #recovered(polled: Polled, { changed }: JudgedBundle): Promise<void> {
    const { clock, logger } = this.#dependencies;
    const { trustDomain, state } = polled;
    const { failures, failure, leftStale, announcedStale } = state;
    if (failure !== undefined)
      logger.info(
        { trustDomain, failures },
        'the bundle endpoint of a foreign trust domain gives its bundle again',
      );
    const now = clock.now();
    const isDue = now - (polled.onRecordAt ?? 0) >= confirmationSeconds;
    // an accepted bundle is on record as such
    if (changed) polled.onRecordAt = now;
    else if (isDue || leftStale || announcedStale) {
      polled.onRecordAt = now;
      await this.#record(confirmedEvent(polled, clock.nowMs()));
    }
  }

  /** What only tells operators stops no poll. */
  async #record(event: AuditEvent): Promise<void> {
    const { audit, logger } = this.#dependencies;
    await audit
      .append([event])
      .catch((thrown: unknown) =>
        logger.error({ ...errorFields(thrown), kind: event.kind }, 'a poll is not on record'),
      );
  }

  /** Once for each kind of failure in a row. */
  async #announce({ trustDomain, state }: Polled, error: PkiError): Promise<void> {
    if (state.failure?.code === error.code) return;
    const { clock, logger } = this.#dependencies;
    const alert = alarming.includes(error.code);
    logger.warn(
      { ...errorFields(error), trustDomain, ...(alert ? { alert } : {}) },
      'no bundle was taken from the endpoint of a foreign trust domain',
    );
    if (!alert) return;
    const detail: Record<string, AuditValue> = { code: error.code, reason: error.message };
    await this.#record({
      timeMs: clock.nowMs(),
      actor: 'server',
      kind: 'federation.bundle-refused',
      subject: `spiffe://${trustDomain}`,
      detail,
    });
  }

  async #announceStale(polled: Polled, everySeconds: number): Promise<void> {
    const { clock, logger } = this.#dependencies;
    const { state, trustDomain } = polled;
    if (state.announcedStale || !isStale(state, everySeconds, clock.now())) return;
    polled.state = { ...state, announcedStale: true };
    logger.warn(
      { alert: true, trustDomain, refreshedAt: state.refreshedAt, failures: state.failures },
      'the bundle of a foreign trust domain is stale: its endpoint has confirmed it for several ' +
        'polls no more',
    );
    await this.#record(staleEvent(polled, state.refreshedAt, clock.nowMs()));
  }

  #schedule(polled: Polled, everySeconds: number): void {
    if (polled.ended.signal.aborted || this.#closed) return;
    const { clock, random } = this.#dependencies;
    // spread, so that several servers do not ask at once
    const delaySeconds = everySeconds * (0.9 + 0.1 * random.uniform());
    polled.state = { ...polled.state, nextAt: clock.now() + Math.round(delaySeconds) };
    polled.cancel = clock.after(delaySeconds * 1000, () => void this.#poll(polled));
  }
}

const unverifiable = (why: string, more: string): PkiError =>
  new PkiError('FEDERATION_ENDPOINT_UNTRUSTED', `nothing verifies the endpoint: ${why}`, {
    next:
      'Delete the relationship, and create it again with a bundle that its operators hand over ' +
      `(--bundle FILE). ${more}`,
  });

function end(polled: Polled): void {
  polled.cancel();
  polled.ended.abort();
}
