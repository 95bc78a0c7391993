import { PkiError } from '../common/errors/index.ts';
import { nearest } from '../common/runtime/nearest.ts';
import type { Entry, Entry__Output } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import { parseDuration } from './output.ts';

/**
 * An entry as the file of `entry apply` and `entry export` writes it; docs/entries.md. What is
 * absent has its default.
 */
export interface EntryFile {
  readonly id?: string;
  readonly spiffeId: string;
  readonly parentId: string;
  readonly selectors: readonly string[];
  /** Seconds, or text such as `1h`. */
  readonly x509Ttl?: number | string;
  readonly jwtTtl?: number | string;
  readonly profile?: string;
  readonly dnsNames?: readonly string[];
  readonly hint?: string;
  /** Unix seconds, or an ISO 8601 instant. */
  readonly expiresAt?: number | string;
  readonly admin?: boolean;
  readonly downstream?: boolean;
  readonly allowWeakSelectors?: boolean;
  readonly placeholders?: Readonly<Record<string, readonly string[]>>;
}

const fields: Readonly<
  Record<keyof EntryFile, 'string' | 'boolean' | 'strings' | 'ttl' | 'instant' | 'placeholders'>
> = {
  id: 'string',
  spiffeId: 'string',
  parentId: 'string',
  selectors: 'strings',
  x509Ttl: 'ttl',
  jwtTtl: 'ttl',
  profile: 'string',
  dnsNames: 'strings',
  hint: 'string',
  expiresAt: 'instant',
  admin: 'boolean',
  downstream: 'boolean',
  allowWeakSelectors: 'boolean',
  placeholders: 'placeholders',
};

/**
 * Throws INVALID_REQUEST that names the entry and the field; an unknown field with the nearest
 * known one.
 */
export function entryFromFile(file: EntryFile, where: string): Entry {
  if (typeof file !== 'object' || file === null || Array.isArray(file))
    throw new PkiError('INVALID_REQUEST', `${where} is not a mapping`);
  for (const [key, value] of Object.entries(file)) {
    const kind = (fields as Record<string, string>)[key];
    if (kind === undefined) {
      const near = nearest(key, Object.keys(fields));
      throw new PkiError(
        'INVALID_REQUEST',
        `${where}: unknown key ${JSON.stringify(key)}${near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`}`,
      );
    }
    if (!fits(kind, value))
      throw new PkiError(
        'INVALID_REQUEST',
        `${where}: ${key} has the wrong type; it is ${kindText[kind] ?? kind}`,
      );
  }
  for (const key of ['spiffeId', 'parentId', 'selectors'] as const)
    if (file[key] === undefined)
      throw new PkiError('INVALID_REQUEST', `${where}: ${key} is missing`);
  return {
    id: file.id ?? '',
    spiffeId: file.spiffeId,
    parentId: file.parentId,
    selectors: [...file.selectors],
    x509TtlSeconds: ttl(file.x509Ttl),
    jwtTtlSeconds: ttl(file.jwtTtl),
    profile: file.profile ?? '',
    dnsNames: [...(file.dnsNames ?? [])],
    hint: file.hint ?? '',
    expiresAt: instantOf(file.expiresAt, where),
    admin: file.admin ?? false,
    downstream: file.downstream ?? false,
    allowWeakSelectors: file.allowWeakSelectors ?? false,
    placeholders: Object.entries(file.placeholders ?? {}).map(([placeholder, allowed]) => ({
      placeholder,
      allowed: [...allowed],
    })),
  };
}

/** The shortest file form that means the same entry. */
export function entryFile(entry: Entry__Output): EntryFile {
  return {
    id: entry.id,
    spiffeId: entry.spiffeId,
    parentId: entry.parentId,
    selectors: entry.selectors,
    ...(entry.x509TtlSeconds === 0 ? {} : { x509Ttl: entry.x509TtlSeconds }),
    ...(entry.jwtTtlSeconds === 0 ? {} : { jwtTtl: entry.jwtTtlSeconds }),
    ...(entry.profile === 'short-lived' ? {} : { profile: entry.profile }),
    ...(entry.dnsNames.length === 0 ? {} : { dnsNames: entry.dnsNames }),
    ...(entry.hint === '' ? {} : { hint: entry.hint }),
    ...(entry.expiresAt === 0 ? {} : { expiresAt: new Date(entry.expiresAt * 1000).toISOString() }),
    ...(entry.admin ? { admin: true } : {}),
    ...(entry.downstream ? { downstream: true } : {}),
    ...(entry.allowWeakSelectors ? { allowWeakSelectors: true } : {}),
    ...(entry.placeholders.length === 0
      ? {}
      : {
          placeholders: Object.fromEntries(
            entry.placeholders.map(({ placeholder, allowed }) => [placeholder, allowed]),
          ),
        }),
  };
}

const kindText: Readonly<Record<string, string>> = {
  string: 'text',
  boolean: 'true or false',
  strings: 'a list of texts',
  ttl: 'seconds or a duration such as 1h',
  instant: 'Unix seconds or an ISO 8601 instant',
  placeholders: 'a mapping of placeholders to lists of values',
};

function fits(kind: string, value: unknown): boolean {
  const isTexts = (each: unknown): boolean =>
    Array.isArray(each) && each.every((item) => typeof item === 'string');
  switch (kind) {
    case 'strings':
      return isTexts(value);
    case 'ttl':
    case 'instant':
      return typeof value === 'string' || (typeof value === 'number' && Number.isInteger(value));
    case 'placeholders':
      return typeof value === 'object' && value !== null && Object.values(value).every(isTexts);
    default:
      return typeof value === kind;
  }
}

const ttl = (value: number | string | undefined): number =>
  value === undefined ? 0 : typeof value === 'number' ? value : parseDuration(value);

function instantOf(value: number | string | undefined, where: string): number {
  if (value === undefined) return 0;
  const seconds = typeof value === 'number' ? value : Math.floor(Date.parse(value) / 1000);
  if (!Number.isFinite(seconds))
    throw new PkiError(
      'INVALID_REQUEST',
      `${where}: expiresAt ${JSON.stringify(value)} is not an instant`,
    );
  return seconds;
}
