import { PkiError, unwrap } from '../../common/errors/index.ts';
import { isOneLine, KeyedBuckets } from '../../common/runtime/index.ts';
import {
  parseSelector,
  parseTemplate,
  selectorText,
  SpiffeId,
  type Selector,
} from '../../common/spiffe/index.ts';
import {
  spiffeSubject,
  allowedValues,
  isNamesProfile,
  maximumLifeOf,
  namesLives,
  namesOfEntry,
  type Agent,
  type Proven,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { IssuedJwt, LeafRequest } from '../../issuance/issuer.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { AgentStore, EntryStore } from '../../store/ports/index.ts';
import { requesterOf, type AgentCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import type { JwtSvidAsk, SvidOutcome, Svids, X509SvidItem } from '../services.ts';
import { decideEach, issueDecided, type Decided, type IssuingDependencies } from './decided.ts';
import type { NodeSetIndex } from '../agents/node-set-index.ts';
import { refusing } from '../callers/refusal-log.ts';
import {
  checkBatchSize,
  checkRequestId,
  enforceRate,
  requireAgent,
  ttlClamped,
  ttlWithin,
} from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';
import { standingAgent } from '../agents/standing-agent.ts';

export interface SvidDependencies extends IssuingDependencies {
  readonly agents: Pick<AgentStore, 'byId'>;
  readonly entries: Pick<EntryStore, 'byIds'>;
  readonly objects: Pick<ObjectLedger, 'require' | 'prove' | 'announceAbsent'>;
  readonly nodeSets: Pick<NodeSetIndex, 'parents'>;
  readonly authorities: Pick<Authorities, 'namesRootsDer'>;
}

const maximumSelectors = 256;
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
        const entries = new Map(
          (
            await this.#dependencies.entries.byIds([
              ...new Set(items.map(({ entryId }) => entryId)),
            ])
          ).map((entry) => [entry.id, entry]),
        );
        const decided = decideEach(
          items,
          this.#dependencies.clock.nowMs(),
          ({ entryId }) => entryId,
          (item) =>
            this.#leafRequest(
              caller,
              agent,
              this.#obtainable(entries.get(item.entryId), item.entryId, parents),
              item,
            ),
        );
        const outcomes = await issueDecided(
          this.#dependencies,
          { caller, operation: 'SignX509Svids', signal },
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
        const spiffeId = identityOf(entry, ask.selectors);
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
            selectors: ask.selectors.map(selectorText),
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

  #leafRequest(
    caller: AgentCaller,
    agent: Proven<Agent>,
    entry: Proven<RegistrationEntry>,
    item: X509SvidItem,
  ): LeafRequest {
    const { settings } = this.#dependencies;
    const spiffeId = identityOf(entry, item.selectors);
    const names = namesOfEntry(entry);
    return {
      requestId: item.requestId,
      csrDer: item.csrDer,
      subject: names ?? spiffeSubject(spiffeId, entry.dnsNames),
      kind: names !== undefined ? 'endpoint' : entry.admin ? 'admin' : 'workload',
      profile: entry.profile,
      ttlSeconds: (item.clampTtl === true ? ttlClamped : ttlWithin)(
        item.ttlSeconds,
        settings.minimumTtlSeconds,
        entryTtlSeconds(entry, settings),
      ),
      endsWithIssuer: true,
      caller: requesterOf(caller),
      holder: caller.spiffeId,
      entryId: entry.id,
      delegationId: null,
      replaces: serialOrNull(item.replacesSerial),
      ...(names === undefined ? {} : { claim: { by: 'spiffe-id' as const, id: entry.spiffeId } }),
      rights: [{ kind: 'entry', id: entry.id, revision: entry.revision }, ...callerRights(caller)],
      reason: {
        agent: caller.spiffeId,
        entry: entry.id,
        ...(names === undefined ? {} : { owner: entry.spiffeId }),
        selectors: item.selectors.map(selectorText),
      },
      nodeSelectors: agent.selectors.map(selectorText),
    };
  }
}

/** The life that an entry gives. A limit that was lowered after the entry was made also applies. */
function entryTtlSeconds(
  { profile, x509TtlSeconds }: RegistrationEntry,
  settings: ServiceSettings,
): number {
  const stated = x509TtlSeconds === 0 ? undefined : x509TtlSeconds;
  if (isNamesProfile(profile))
    return Math.min(stated ?? namesLives[profile].usual, namesLives[profile].maximum);
  return Math.min(
    stated ?? settings.defaultX509TtlSeconds,
    settings.maximumX509TtlSeconds,
    maximumLifeOf(profile) ?? settings.maximumX509TtlSeconds,
  );
}

/**
 * The ID of an entry for a process. It is fixed, or made from the template with allowed values of
 * the selectors that the agent attested. For a template the process must also have the entry's own
 * selectors.
 */
function identityOf(entry: Proven<RegistrationEntry>, selectors: readonly Selector[]): SpiffeId {
  if (selectors.length > maximumSelectors)
    throw new PkiError(
      'INVALID_REQUEST',
      `a request has at most ${maximumSelectors} selectors, this one has ${selectors.length}`,
    );
  for (const selector of selectors) unwrap(parseSelector(selectorText(selector)));
  if (!entry.isTemplate) return SpiffeId.of(entry.spiffeId);
  const attested = new Set(selectors.map(selectorText));
  const missing = entry.selectors.find((selector) => !attested.has(selectorText(selector)));
  if (missing !== undefined)
    throw new PkiError(
      'ENTRY_NOT_AUTHORIZED',
      `the process lacks the selector ${selectorText(missing)} of the template's entry`,
    );
  const filled = unwrap(parseTemplate(entry.spiffeId)).fill(
    selectors,
    allowedValues(entry.placeholders),
  );
  if (!filled.ok)
    throw new PkiError('ENTRY_NOT_AUTHORIZED', filled.error.message, { cause: filled.error });
  return filled.value;
}

function serialOrNull(text: string): string | null {
  if (text === '') return null;
  if (!/^[0-9a-f]{2,40}$/.test(text))
    throw new PkiError('INVALID_REQUEST', 'replaces_serial is not a serial in lower-case hex');
  return text;
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
