import { PkiError } from '../common/errors/index.ts';
import type { Entry, Entry__Output } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import { parseDuration } from './output.ts';

export interface EntryFlags {
  readonly id?: string;
  readonly spiffeId?: string;
  readonly parentId?: string;
  readonly selector?: readonly string[];
  readonly ttl?: string;
  readonly jwtTtl?: string;
  readonly profile?: string;
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly hint?: string;
  readonly expires?: string;
  readonly admin?: boolean;
  readonly downstream?: boolean;
  readonly allowWeakSelectors?: boolean;
  readonly federatesWith?: readonly string[];
  readonly allow?: readonly string[];
}

export function draftOf(flags: EntryFlags, present: Entry__Output | undefined, now: number): Entry {
  return {
    id: flags.id ?? present?.id ?? '',
    spiffeId: flags.spiffeId ?? present?.spiffeId ?? '',
    parentId: flags.parentId ?? present?.parentId ?? '',
    selectors: [...(flags.selector ?? present?.selectors ?? [])],
    x509TtlSeconds: flags.ttl === undefined ? (present?.x509TtlSeconds ?? 0) : ttlOf(flags.ttl),
    jwtTtlSeconds: flags.jwtTtl === undefined ? (present?.jwtTtlSeconds ?? 0) : ttlOf(flags.jwtTtl),
    profile: flags.profile ?? present?.profile ?? '',
    dnsNames: [...(flags.dns ?? present?.dnsNames ?? [])],
    ips: [...(flags.ip ?? present?.ips ?? [])],
    hint: flags.hint ?? present?.hint ?? '',
    expiresAt: flags.expires === undefined ? (present?.expiresAt ?? 0) : endOf(flags.expires, now),
    admin: flags.admin ?? present?.admin ?? false,
    downstream: flags.downstream ?? present?.downstream ?? false,
    allowWeakSelectors: flags.allowWeakSelectors ?? present?.allowWeakSelectors ?? false,
    federatesWith: [...(flags.federatesWith ?? present?.federatesWith ?? [])],
    placeholders:
      flags.allow === undefined ? (present?.placeholders ?? []) : flags.allow.map(allowed),
  };
}

const ttlOf = (text: string): number => (text === 'default' ? 0 : parseDuration(text));
const endOf = (text: string, now: number): number =>
  text === 'never' ? 0 : now + parseDuration(text);

function allowed(text: string): { placeholder: string; allowed: string[] } {
  const [placeholder, values] = text.split('=', 2);
  if (!placeholder || !values)
    throw new PkiError(
      'INVALID_REQUEST',
      `--allow ${JSON.stringify(text)} is not placeholder=value,value`,
    );
  return { placeholder, allowed: values.split(',') };
}
