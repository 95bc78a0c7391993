import { z } from 'zod';
import { PkiError } from '../common/errors/index.ts';
import { parseInstant } from '../common/runtime/instant.ts';
import { nearest } from '../common/runtime/nearest.ts';
import type { Entry } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import { parseDuration } from './output.ts';

const text = z.string('it is text');
const flag = z.boolean('it is true or false');
const texts = z.array(text, 'it is a list of texts');

/** Seconds, or text such as `1h`. */
const ttl = z
  .union([z.int(), z.string()], 'it is whole seconds or a duration such as 1h')
  .transform((value, { addIssue }) => {
    try {
      return parseDuration(String(value));
    } catch (thrown) {
      const { message, next } = PkiError.from(thrown);
      addIssue(`${message}. ${next}`);
      return z.NEVER;
    }
  });

/** Unix seconds, or an ISO 8601 instant. */
const instant = z
  .union([z.int(), z.string()], 'it is Unix seconds or an ISO 8601 instant')
  .transform((value, { addIssue }) => {
    const seconds = typeof value === 'number' ? value : parseInstant(value);
    if (seconds !== undefined) return seconds;
    addIssue(`${JSON.stringify(value)} is not an instant; write Unix seconds or ISO 8601`);
    return z.NEVER;
  });

/**
 * An entry in the file of `entry apply` and `entry export`; see docs/entries.md. An absent field
 * has its default. Imported dynamically, since it loads zod.
 */
const entryFileSchema = z.strictObject(
  {
    id: text.optional(),
    spiffeId: text,
    parentId: text,
    selectors: texts,
    x509Ttl: ttl.optional(),
    jwtTtl: ttl.optional(),
    profile: text.optional(),
    dnsNames: texts.optional(),
    ips: texts.optional(),
    hint: text.optional(),
    expiresAt: instant.optional(),
    admin: flag.optional(),
    downstream: flag.optional(),
    allowWeakSelectors: flag.optional(),
    federatesWith: texts.optional(),
    placeholders: z
      .record(z.string(), texts, 'it is a mapping of placeholders to lists of values')
      .optional(),
  },
  'it is a mapping of keys to values',
);

export type EntryFile = z.input<typeof entryFileSchema>;

/**
 * Throws INVALID_REQUEST with every problem of the entry: the path of the field and its allowed
 * values, and for an unknown field the nearest known one.
 */
export function entryFromFile(value: unknown, where: string): Entry {
  const parsed = entryFileSchema.safeParse(value);
  if (!parsed.success)
    throw new PkiError(
      'INVALID_REQUEST',
      `${where}: ${parsed.error.issues.flatMap((issue) => problemsOf(issue, value)).join('; ')}`,
    );
  const file = parsed.data;
  return {
    id: file.id ?? '',
    spiffeId: file.spiffeId,
    parentId: file.parentId,
    selectors: file.selectors,
    x509TtlSeconds: file.x509Ttl ?? 0,
    jwtTtlSeconds: file.jwtTtl ?? 0,
    profile: file.profile ?? '',
    dnsNames: file.dnsNames ?? [],
    ips: file.ips ?? [],
    hint: file.hint ?? '',
    expiresAt: file.expiresAt ?? 0,
    admin: file.admin ?? false,
    downstream: file.downstream ?? false,
    allowWeakSelectors: file.allowWeakSelectors ?? false,
    federatesWith: file.federatesWith ?? [],
    placeholders: Object.entries(file.placeholders ?? {}).map(([placeholder, allowed]) => ({
      placeholder,
      allowed,
    })),
  };
}

function problemsOf(issue: z.core.$ZodIssue, entry: unknown): readonly string[] {
  if (issue.code === 'unrecognized_keys') return issue.keys.map(unknownKey);
  if (issue.path.length === 0) return [issue.message];
  const path = pathText(issue.path);
  return [isAbsent(entry, issue.path) ? `${path} is missing` : `${path}: ${issue.message}`];
}

function unknownKey(key: string): string {
  const near = nearest(key, Object.keys(entryFileSchema.shape));
  const hint = near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`;
  return `unknown key ${JSON.stringify(key)}${hint}`;
}

/** `selectors[1]`, `placeholders.user[0]`. */
const pathText = (path: readonly PropertyKey[]): string =>
  path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');

const isAbsent = (entry: unknown, path: readonly PropertyKey[]): boolean =>
  path.length === 1 && !Object.hasOwn(entry as object, path[0] as PropertyKey);
