import { fail, ok, PkiError, unwrap, type Result } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { parseTemplate, selectorText, SpiffeId, tokenIssuerId } from '../../common/spiffe/index.ts';
import {
  allowedValues,
  shortLivedMaximumSeconds,
  type Proven,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { EntryStore } from '../../store/ports/index.ts';
import type { ServiceSettings } from '../settings.ts';
import type { VerifiedToken } from './token-verifier.ts';

export interface GrantDependencies {
  readonly entries: Pick<EntryStore, 'byParents'>;
  readonly objects: Pick<ObjectLedger, 'require'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly settings: ServiceSettings;
}

/** An entry of the token's issuer, with the identity that it gives to this token or the reason. */
export interface JudgedEntry {
  readonly entry: Proven<RegistrationEntry>;
  /** Fails with ENTRY_NOT_AUTHORIZED. */
  readonly identity: Result<SpiffeId>;
}

/** What a job gets unless its entry says otherwise: it lasts for minutes. */
const defaultTtlSeconds = 600;

/** Judges each entry below the issuer of a token, by what the log says of it. */
export async function judgeEntries(
  { issuer, selectors }: Pick<VerifiedToken, 'issuer' | 'selectors'>,
  { entries, objects, clock, settings }: GrantDependencies,
): Promise<readonly JudgedEntry[]> {
  const parent = tokenIssuerId(settings.trustDomain, issuer).toString();
  const has = new Set(selectors.map(selectorText));
  const judged: JudgedEntry[] = [];
  for await (const page of pagesOf((request) => entries.byParents([parent], request)))
    for (const row of page) {
      const entry = objects.require('entry', row);
      judged.push({ entry, identity: identityOf(entry, has, selectors, clock.now()) });
    }
  return judged;
}

function identityOf(
  entry: Proven<RegistrationEntry>,
  has: ReadonlySet<string>,
  selectors: VerifiedToken['selectors'],
  now: number,
): Result<SpiffeId> {
  const no = (why: string): ReturnType<typeof fail> => fail('ENTRY_NOT_AUTHORIZED', why);
  if (entry.expiresAt !== 0 && entry.expiresAt <= now) return no('the entry has expired');
  const missing = entry.selectors.map(selectorText).filter((text) => !has.has(text));
  if (missing.length > 0) return no(`the token lacks ${missing.join(', ')}`);
  if (!entry.isTemplate) return ok(SpiffeId.of(entry.spiffeId));
  const filled = unwrap(parseTemplate(entry.spiffeId)).fill(
    selectors,
    allowedValues(entry.placeholders),
  );
  return filled.ok ? filled : no(filled.error.message);
}

/** The longest life of what the entry gives. A limit that was lowered later also applies. */
export const grantTtlSeconds = (
  { profile, x509TtlSeconds }: RegistrationEntry,
  settings: ServiceSettings,
): number =>
  Math.min(
    x509TtlSeconds === 0
      ? Math.min(settings.defaultX509TtlSeconds, defaultTtlSeconds)
      : x509TtlSeconds,
    settings.maximumX509TtlSeconds,
    profile === 'short-lived' ? shortLivedMaximumSeconds : Infinity,
  );

/** An entry that gives its token an identity. */
export interface Granted {
  readonly entry: Proven<RegistrationEntry>;
  readonly spiffeId: SpiffeId;
}

export const granted = (judged: readonly JudgedEntry[]): readonly Granted[] =>
  judged.flatMap(({ entry, identity }) =>
    identity.ok ? [{ entry, spiffeId: identity.value }] : [],
  );

/**
 * The only identity that a token gives, or the one that is wanted.
 *
 * @throws PkiError ENTRY_NOT_AUTHORIZED, TOKEN_GRANT_AMBIGUOUS
 */
export function chosenGrant(judged: readonly JudgedEntry[], wanted: string): Granted {
  const all = granted(judged);
  const fitting = all.filter(({ spiffeId }) => wanted === '' || spiffeId.toString() === wanted);
  const [first] = fitting;
  const names = [...new Set(all.map(({ spiffeId }) => spiffeId.toString()))];
  if (first === undefined)
    throw new PkiError(
      'ENTRY_NOT_AUTHORIZED',
      names.length === 0
        ? 'no entry below the issuer gives an identity to this token'
        : `no entry gives ${JSON.stringify(wanted.slice(0, 200))} to this token; it may have ` +
            `${names.join(', ').slice(0, 1000)}`,
      { next: 'Compare the claims of the token with the entries: "meshca token explain".' },
    );
  if (new Set(fitting.map(({ spiffeId }) => spiffeId.toString())).size > 1)
    throw new PkiError(
      'TOKEN_GRANT_AMBIGUOUS',
      `the token may have ${names.join(', ').slice(0, 1000)}`,
    );
  return first;
}
