import { PkiError, unwrap } from '../../common/errors/index.ts';
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
  type NamesSubject,
  type Proven,
  type RegistrationEntry,
  type Requester,
  type Rights,
  type Subject,
} from '../../domain/index.ts';
import type { LeafRequest } from '../../issuance/issuer.ts';
import { requesterOf, type AgentCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import { ttlClamped, ttlWithin } from '../requests.ts';
import type { X509SvidItem } from '../services.ts';
import type { ServiceSettings } from '../settings.ts';
import type { ItemTerms } from './decided.ts';

const maximumSelectors = 256;

/** What an entry gives to each item that names it. */
export interface GrantedEntry {
  readonly entry: Proven<RegistrationEntry>;
  readonly names: NamesSubject | undefined;
  /** Absent: of a template, which each item fills anew. */
  readonly fixed: Subject | undefined;
  readonly rights: Rights;
}

/**
 * Makes the requests of one call. What holds for all its items, or for all that name one entry, is
 * made once. Owner of the entries that were proven for this call.
 */
export class SvidBatch {
  readonly #settings: ServiceSettings;
  readonly #caller: AgentCaller;
  readonly #requester: Requester;
  readonly #callerRights: Rights;
  readonly #nodeSelectors: readonly string[];
  readonly #granted = new Map<string, GrantedEntry>();

  constructor(settings: ServiceSettings, caller: AgentCaller, agent: Proven<Agent>) {
    this.#settings = settings;
    this.#caller = caller;
    this.#requester = requesterOf(caller);
    this.#callerRights = callerRights(caller);
    this.#nodeSelectors = agent.selectors.map(selectorText);
  }

  /** `obtain` throws for an entry that gives nothing. It is asked again for each item of such a one. */
  granted(entryId: string, obtain: () => Proven<RegistrationEntry>): GrantedEntry {
    let granted = this.#granted.get(entryId);
    if (granted === undefined) {
      granted = this.#grantOf(obtain());
      this.#granted.set(entryId, granted);
    }
    return granted;
  }

  leafRequest(
    { entry, names, fixed, rights }: GrantedEntry,
    item: X509SvidItem,
    { requestId, isNew, signal }: ItemTerms,
  ): LeafRequest {
    const selectors = selectorTexts(item.selectors);
    const within = item.clampTtl === true ? ttlClamped : ttlWithin;
    const { minimumTtlSeconds } = this.#settings;
    const request = {
      requestId,
      isNew,
      csrDer: item.csrDer,
      subject: fixed ?? subjectOf(entry, identityOf(entry, item.selectors, selectors)),
      kind: names !== undefined ? 'endpoint' : entry.admin ? 'admin' : 'workload',
      profile: entry.profile,
      ttlSeconds: within(
        item.ttlSeconds,
        minimumTtlSeconds,
        entryTtlSeconds(entry, this.#settings),
      ),
      endsWithIssuer: true,
      caller: this.#requester,
      holder: this.#caller.spiffeId,
      entryId: entry.id,
      delegationId: null,
      replaces: serialOrNull(item.replacesSerial),
      rights,
      reason: { agent: this.#caller.spiffeId, entry: entry.id, selectors },
      nodeSelectors: this.#nodeSelectors,
      signal,
    } as const satisfies LeafRequest;
    if (names === undefined) return request;
    const owner = entry.spiffeId;
    return {
      ...request,
      claim: { by: 'spiffe-id', id: owner },
      reason: { ...request.reason, owner },
    };
  }

  #grantOf(entry: Proven<RegistrationEntry>): GrantedEntry {
    const names = namesOfEntry(entry);
    return {
      entry,
      names,
      fixed: entry.isTemplate ? undefined : subjectOf(entry, SpiffeId.of(entry.spiffeId)),
      rights: [{ kind: 'entry', id: entry.id, revision: entry.revision }, ...this.#callerRights],
    };
  }
}

const subjectOf = (entry: RegistrationEntry, spiffeId: SpiffeId): Subject =>
  namesOfEntry(entry) ?? spiffeSubject(spiffeId, entry.dnsNames);

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
 * The selectors of a process as texts.
 *
 * @throws PkiError SELECTOR_INVALID, INVALID_REQUEST
 */
export function selectorTexts(selectors: readonly Selector[]): readonly string[] {
  if (selectors.length > maximumSelectors)
    throw new PkiError(
      'INVALID_REQUEST',
      `a request has at most ${maximumSelectors} selectors, this one has ${selectors.length}`,
    );
  return selectors.map((selector) => {
    const text = selectorText(selector);
    unwrap(parseSelector(text));
    return text;
  });
}

/**
 * The ID of an entry for a process. It is fixed, or made from the template with allowed values of
 * the selectors that the agent attested. For a template the process must also have the entry's own
 * selectors. `texts`: the same selectors as texts.
 */
export function identityOf(
  entry: Proven<RegistrationEntry>,
  selectors: readonly Selector[],
  texts: readonly string[],
): SpiffeId {
  if (!entry.isTemplate) return SpiffeId.of(entry.spiffeId);
  const attested = new Set(texts);
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
