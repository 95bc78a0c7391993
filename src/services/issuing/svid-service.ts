import { PkiError } from '../../common/errors/index.ts';
import { isOneLine, KeyedBuckets } from '../../common/runtime/index.ts';
import {
  namesOfEntry,
  type Agent,
  type Proven,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { IssuedJwt } from '../../issuance/issuer.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { AgentStore, EntryStore } from '../../store/ports/index.ts';
import { requesterOf, type AgentCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import type { JwtSvidAsk, SvidOutcome, Svids, X509SvidItem } from '../services.ts';
import { decideEach, issueDecided, type Decided, type IssuingDependencies } from './decided.ts';
import type { NodeSetIndex } from '../agents/node-set-index.ts';
import { refusing } from '../callers/refusal-log.ts';
import { identityOf, selectorTexts, SvidBatch } from './svid-batch.ts';
import {
  checkBatchSize,
  checkRequestId,
  enforceRate,
  requireAgent,
  ttlWithin,
} from '../requests.ts';
import { standingAgent } from '../agents/standing-agent.ts';

export interface SvidDependencies extends IssuingDependencies {
  readonly agents: Pick<AgentStore, 'byId'>;
  readonly entries: Pick<EntryStore, 'byIds'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'prove' | 'announceAbsent'>;
  readonly nodeSets: Pick<NodeSetIndex, 'parents'>;
  readonly authorities: Pick<Authorities, 'namesRootsDer'>;
}

const maximumAudiences = 16;
const maximumAudienceBytes = 512;

/**
 * SVIDs for the workloads of an agent. The agent gets only entries below its own parents, whatever
 * it requests.
 */
export class SvidService implements Svids {
  readonly #dependencies: SvidDependencies;
  readonly #buckets: KeyedBuckets;

  constructor(dependencies: SvidDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  signX509(
    caller: AgentCaller,
    items: readonly X509SvidItem[],
    signal?: AbortSignal,
  ): Promise<readonly SvidOutcome[]> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'SignX509Svids' },
      async () => {
        requireAgent(caller);
        checkBatchSize(items.length);
        enforceRate(this.#buckets.take(caller.spiffeId, items.length), 'too many certificates');
        const { agent, parents } = await this.#agentOf(caller);
        const entryIds = new Set(items.map(({ entryId }) => entryId));
        const entries = await this.#dependencies.entries.byIds([...entryIds]);
        const batch = new SvidBatch(this.#dependencies.settings, caller, agent);
        const entryOf = new Map(entries.map((entry) => [entry.id, entry]));
        const decided = decideEach(
          items,
          { nowMs: this.#dependencies.clock.nowMs(), signal },
          ({ entryId }) => entryId,
          (item, terms) => {
            const { entryId } = item;
            const granted = batch.granted(entryId, () =>
              this.#obtainable(entryOf.get(entryId), entryId, parents),
            );
            return batch.leafRequest(granted, item, terms);
          },
        );
        const outcomes = await issueDecided(
          this.#dependencies,
          { caller, operation: 'SignX509Svids' },
          decided,
        );
        return outcomes.map((outcome, index) => this.#withRoots(outcome, decided[index]));
      },
    );
  }

  /** No bundle has the roots of names, so that they come with each certificate below them. */
  #withRoots(outcome: SvidOutcome, decided: Decided | undefined): SvidOutcome {
    const isOfNames = decided?.ok === true && decided.request.kind === 'endpoint';
    return outcome.ok && isOfNames
      ? { ...outcome, namesRootsDer: this.#dependencies.authorities.namesRootsDer() }
      : outcome;
  }

  signJwt(
    caller: AgentCaller,
    ask: JwtSvidAsk,
    signal?: AbortSignal,
  ): Promise<IssuedJwt & { readonly spiffeId: string; readonly serverTime: number }> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'SignJwtSvid', subject: ask.entryId.slice(0, 64) },
      async () => {
        requireAgent(caller);
        checkRequestId(ask.requestId);
        const audience = checkAudience(ask.audience);
        enforceRate(this.#buckets.take(caller.spiffeId), 'too many tokens');
        const { parents } = await this.#agentOf(caller);
        const [row] = await this.#dependencies.entries.byIds([ask.entryId]);
        const entry = this.#obtainable(row, ask.entryId, parents);
        if (namesOfEntry(entry) !== undefined)
          throw new PkiError(
            'ENTRY_NOT_AUTHORIZED',
            `the entry ${entry.id} gives names and no identity, so that nobody gets a JWT-SVID for it`,
          );
        const selectors = selectorTexts(ask.selectors);
        const spiffeId = identityOf(entry, ask.selectors, selectors);
        const { settings } = this.#dependencies;
        const entryTtl =
          entry.jwtTtlSeconds === 0
            ? Math.min(settings.defaultJwtTtlSeconds, settings.maximumJwtTtlSeconds)
            : Math.min(entry.jwtTtlSeconds, settings.maximumJwtTtlSeconds);
        const issued = await this.#dependencies.issuer.issueJwt({
          caller: requesterOf(caller),
          spiffeId,
          audience,
          entryId: entry.id,
          holder: caller.spiffeId,
          ttlSeconds: ttlWithin(ask.ttlSeconds, settings.minimumTtlSeconds, entryTtl),
          rights: [
            { kind: 'entry', id: entry.id, revision: entry.revision },
            ...callerRights(caller),
          ],
          reason: {
            agent: caller.spiffeId,
            entry: entry.id,
            selectors,
          },
          signal,
        });
        return {
          ...issued,
          spiffeId: spiffeId.toString(),
          serverTime: this.#dependencies.clock.now(),
        };
      },
    );
  }

  async #agentOf(
    caller: AgentCaller,
  ): Promise<{ readonly agent: Proven<Agent>; readonly parents: readonly string[] }> {
    const agent = await standingAgent(this.#dependencies, caller);
    return { agent, parents: await this.#dependencies.nodeSets.parents(agent) };
  }

  /**
   * One answer for an entry that is unknown, of another node, or expired, so that an agent learns
   * nothing of other entries.
   */
  #obtainable(
    entry: RegistrationEntry | undefined,
    entryId: string,
    parents: readonly string[],
  ): Proven<RegistrationEntry> {
    const now = this.#dependencies.clock.now();
    if (
      entry === undefined ||
      !parents.includes(entry.parentId) ||
      (entry.expiresAt !== 0 && entry.expiresAt <= now)
    ) {
      // announces a row that somebody altered or took away; the agent learns nothing of it
      if (entry === undefined) this.#dependencies.objects.announceAbsent('entry', entryId);
      else this.#dependencies.objects.prove('entry', entry);
      throw new PkiError(
        'ENTRY_NOT_AUTHORIZED',
        `no entry ${JSON.stringify(entryId.slice(0, 64))} gives an identity to this agent`,
      );
    }
    return this.#dependencies.objects.require('entry', entry);
  }
}

function checkAudience(audience: readonly string[]): readonly string[] {
  if (audience.length === 0)
    throw new PkiError('INVALID_REQUEST', 'a JWT-SVID needs at least one audience');
  if (audience.length > maximumAudiences)
    throw new PkiError(
      'INVALID_REQUEST',
      `a JWT-SVID has at most ${maximumAudiences} audiences, this request has ${audience.length}`,
    );
  // the audience appears in audit records, logs and tables
  const bad = audience.find(
    (text) => text === '' || Buffer.byteLength(text) > maximumAudienceBytes || !isOneLine(text),
  );
  if (bad !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `an audience is empty, has control characters or more than ${maximumAudienceBytes} bytes`,
    );
  return [...new Set(audience)];
}
