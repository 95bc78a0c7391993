import { PkiError, unwrap } from '../common/errors/index.ts';
import {
  isReserved,
  parseTemplate,
  serverId,
  SpiffeId,
  type TrustDomain,
} from '../common/spiffe/index.ts';
import type { EntryDraft, RegistrationEntry } from './entry.ts';
import { allowedValues, fixedPrefix } from './entry-rules.ts';

/** The entries that the rules between entries need, named before they are read. */
export interface EntryReads {
  /** Every entry with one of these SPIFFE IDs. */
  readonly spiffeIds: readonly string[];
  /** Every template. */
  readonly templates: boolean;
  /** Every entry that is not a template and whose SPIFFE ID starts with one of these texts. */
  readonly statedBelow: readonly string[];
}

/** The named entries, as they were before the change. */
export interface EntrySight {
  bySpiffeId(spiffeId: string): readonly RegistrationEntry[];
  templates(): readonly RegistrationEntry[];
  statedBelow(prefix: string): Iterable<RegistrationEntry>;
}

type Stated = Pick<EntryDraft, 'id' | 'spiffeId' | 'isTemplate' | 'placeholders' | 'parentId'>;

/** The entries that `checkConflicts` needs for these drafts. */
export function conflictReads(drafts: readonly EntryDraft[]): EntryReads {
  const parents = drafts.filter(({ parentId }) => isNodeSet(parentId));
  return {
    spiffeIds: [...new Set(parents.map(({ parentId }) => parentId))],
    templates: drafts.some(({ isTemplate }) => !isTemplate),
    statedBelow: drafts
      .filter(({ isTemplate }) => isTemplate)
      .map((draft) => fixedPrefix(draft.spiffeId)),
  };
}

/**
 * The rules between entries, for the state after a change. No template can produce an ID that an
 * entry states. A parent that is neither agent nor server is an existing node set. `touched`: IDs
 * that the change writes or deletes; the sight's entries with these IDs are ignored, so that the
 * sight may show the state before or after the change. Templates are matched against IDs and never
 * expanded.
 *
 * @throws PkiError ALREADY_EXISTS, PARENT_INVALID
 */
export function checkConflicts(
  sight: EntrySight,
  drafts: readonly EntryDraft[],
  touched: ReadonlySet<string>,
  trustDomain: TrustDomain,
): void {
  const untouched = (entries: readonly RegistrationEntry[]): readonly Stated[] =>
    entries.filter(({ id }) => !touched.has(id));
  const draftTemplates = drafts.filter(({ isTemplate }) => isTemplate);
  const draftIds = drafts.filter(({ isTemplate }) => !isTemplate);
  const templates =
    draftIds.length === 0 ? [] : [...untouched(sight.templates()), ...draftTemplates];
  const matchers = templates.map(matcherOf);
  for (const draft of draftIds) {
    const id = SpiffeId.of(draft.spiffeId);
    const producer = matchers.find(({ produces }) => produces(id));
    if (producer !== undefined) throw taken(draft.spiffeId, draft.id, producer.entry);
  }
  for (const draft of draftTemplates) {
    const { produces } = matcherOf(draft);
    for (const stated of sight.statedBelow(fixedPrefix(draft.spiffeId))) {
      if (!touched.has(stated.id) && produces(SpiffeId.of(stated.spiffeId)))
        throw taken(stated.spiffeId, stated.id, draft);
    }
  }
  const server = serverId(trustDomain).toString();
  for (const draft of drafts) {
    if (!isNodeSet(draft.parentId)) continue;
    const defined = [
      ...untouched(sight.bySpiffeId(draft.parentId)),
      ...drafts.filter(({ spiffeId }) => spiffeId === draft.parentId),
    ];
    if (!defined.some(({ parentId }) => parentId === server))
      throw new PkiError(
        'PARENT_INVALID',
        `the parent ${draft.parentId} of entry ${draft.id} is not an agent, and no entry ` +
          'defines a node set with that ID',
      );
  }
}

function matcherOf(entry: Stated): { readonly entry: Stated; produces(id: SpiffeId): boolean } {
  const template = unwrap(parseTemplate(entry.spiffeId));
  const allowed = allowedValues(entry.placeholders);
  return { entry, produces: (id) => template.canProduce(id, allowed) };
}

const taken = (spiffeId: string, statedBy: string, template: Stated): PkiError =>
  new PkiError(
    'ALREADY_EXISTS',
    `the template ${template.spiffeId} of entry ${template.id} can produce ${spiffeId}, which entry ${statedBy} states`,
    {
      next: 'Remove the value from the allowed values of the template, or choose another ID for the entry.',
    },
  );

/** True for a node set: of the possible parents, the server and the agents are below /meshca. */
const isNodeSet = (parentId: string): boolean => !isReserved(SpiffeId.of(parentId));
