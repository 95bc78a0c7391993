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

/** The entries that the rules between entries need to see, named before they are read. */
export interface EntryReads {
  /** Each entry with one of these SPIFFE IDs. */
  readonly spiffeIds: readonly string[];
  /** Each template. */
  readonly templates: boolean;
  /** Each entry that is no template and whose SPIFFE ID starts with one of these. */
  readonly statedBelow: readonly string[];
}

/** What was read: the named entries, as they stand before the change. */
export interface EntrySight {
  bySpiffeId(spiffeId: string): readonly RegistrationEntry[];
  templates(): readonly RegistrationEntry[];
  statedBelow(prefix: string): Iterable<RegistrationEntry>;
}

type Stated = Pick<EntryDraft, 'id' | 'spiffeId' | 'isTemplate' | 'placeholders' | 'parentId'>;

/** What `checkConflicts` looks at for these drafts. */
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
 * The rules between entries, for the state that a change leads to: no template can produce an ID
 * that an entry states, and a parent that is neither agent nor server is a node set that exists.
 * `touched`: IDs that the change writes or deletes; whatever the sight says of them is ignored, so
 * it may be of before or after the change. Templates are matched against IDs and never written out.
 * Throws ALREADY_EXISTS or PARENT_INVALID.
 */
export function checkConflicts(
  sight: EntrySight,
  drafts: readonly EntryDraft[],
  touched: ReadonlySet<string>,
  trustDomain: TrustDomain,
): void {
  const others = (entries: readonly RegistrationEntry[]): readonly Stated[] =>
    entries.filter(({ id }) => !touched.has(id));
  const draftTemplates = drafts.filter(({ isTemplate }) => isTemplate);
  const draftIds = drafts.filter(({ isTemplate }) => !isTemplate);
  const templates = draftIds.length === 0 ? [] : [...others(sight.templates()), ...draftTemplates];
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
      ...others(sight.bySpiffeId(draft.parentId)),
      ...drafts.filter(({ spiffeId }) => spiffeId === draft.parentId),
    ];
    if (!defined.some(({ parentId }) => parentId === server))
      throw new PkiError(
        'PARENT_INVALID',
        `the parent ${draft.parentId} of entry ${draft.id} is no agent, and no entry defines a node set of that ID`,
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
      next: 'Take the value out of the allowed values of the template, or choose another ID for the entry.',
    },
  );

/** Of the parents that an entry may have, the server and agents lie below /meshca. */
const isNodeSet = (parentId: string): boolean => !isReserved(SpiffeId.of(parentId));
