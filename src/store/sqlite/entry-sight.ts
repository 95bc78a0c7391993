import { PkiError } from '../../common/errors/index.ts';
import type { EntryReads, EntrySight, RegistrationEntry } from '../../domain/index.ts';
import { toEntry } from './entry-row.ts';
import type { entryReads } from './entry-statements.ts';

/** Gives a guard the entries that it named, inside its transaction. */
export function createEntrySight({
  bySpiffeId,
  templates,
  idsFrom,
}: ReturnType<typeof entryReads>): (reads: EntryReads) => EntrySight {
  /** Reads pages of IDs. An open cursor would break at the next run of its statement. */
  function* statedBelow(prefix: string): Generator<RegistrationEntry> {
    const limit = 200;
    const end = `${prefix}\u{10ffff}`;
    for (const entry of bySpiffeId.all({ spiffe_id: prefix }))
      if (entry.is_template === 0) yield toEntry(entry);
    for (let after = prefix; ; ) {
      const ids = idsFrom.all({ after, end, limit });
      for (const { spiffe_id: id } of ids) {
        for (const entry of bySpiffeId.all({ spiffe_id: id }))
          if (entry.is_template === 0) yield toEntry(entry);
      }
      const last = ids.at(-1);
      if (ids.length < limit || last === undefined) return;
      after = last.spiffe_id;
    }
  }
  return (reads) => {
    const ids = new Set(reads.spiffeIds);
    const prefixes = new Set(reads.statedBelow);
    return {
      bySpiffeId: (id) => bySpiffeId.all({ spiffe_id: named(ids, id) }).map(toEntry),
      templates: () =>
        reads.templates ? templates.all({}).map(toEntry) : notNamed('the templates'),
      statedBelow: (prefix) => statedBelow(named(prefixes, prefix)),
    };
  };
}

const notNamed = (rows: string): never => {
  throw new PkiError('INTERNAL', `a guard looks at ${rows}, which it has not named`);
};
const named = (names: ReadonlySet<string>, name: string): string =>
  names.has(name) ? name : notNamed(`entries of ${name}`);
