import { invalid, type Evidence, type Judged } from './outcome.ts';
import { parameters } from './parameters.ts';
import type { AcmeResolver } from './resolver.ts';

export interface DnsPersist01Dependencies {
  readonly resolver: Pick<AcmeResolver, 'textsAtEveryServer'>;
  /** The names of this CA, as in CAA records: `issuer-domain-names` of the challenge. */
  readonly identities: readonly string[];
  /** Unix seconds. */
  readonly now: () => number;
}

export interface DnsPersist01Ask {
  /** A DNS name without `*.`. */
  readonly name: string;
  readonly wildcard: boolean;
  readonly accountUri: string;
}

export const dnsPersist01Name = (name: string): string => `_validation-persist.${name}`;

/**
 * The challenge dns-persist-01 (draft-ietf-acme-dns-persist): a record that stays names this CA and
 * the account. Every authoritative server must have it. Records at parents are not read.
 */
export async function validateDnsPersist01(
  ask: DnsPersist01Ask,
  { resolver, identities, now }: DnsPersist01Dependencies,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const at = dnsPersist01Name(ask.name);
  const answers = await resolver.textsAtEveryServer(at, signal);
  if (!answers.ok) return answers;
  const seenAt = answers.value.map(({ server }) => server);
  for (const { server, texts } of answers.value) {
    const problem = persistProblem(texts, ask, { identities, now: now() });
    if (problem !== undefined)
      return invalid('unauthorized', `${at} at ${server}: ${problem}`, seenAt);
  }
  return { ok: true, value: { seenAt } };
}

/** Why none of these records authorizes the account; undefined: one does. Pure. */
export function persistProblem(
  texts: readonly string[],
  ask: Omit<DnsPersist01Ask, 'name'>,
  context: { readonly identities: readonly string[]; readonly now: number },
): string | undefined {
  if (texts.length === 0) return 'it has no TXT record';
  const reasons = texts.map((text) => refusalOf(text, ask, context));
  if (reasons.includes(undefined)) return undefined;
  // a record that names this CA says most of what is missing
  return reasons.find((reason) => reason !== otherIssuer) ?? otherIssuer;
}

const otherIssuer = 'no TXT record names this CA';

/** Undefined: this record authorizes the account. */
function refusalOf(
  text: string,
  { wildcard, accountUri }: Omit<DnsPersist01Ask, 'name'>,
  { identities, now }: { readonly identities: readonly string[]; readonly now: number },
): string | undefined {
  const [issuer = '', ...rest] = text.split(';').map((part) => part.trim());
  if (!identities.includes(issuer.toLowerCase().replace(/\.$/, ''))) return otherIssuer;
  const stated = parameters(rest);
  if (stated === undefined) return 'a parameter of the record for this CA is malformed';
  if (stated.get('accounturi') !== accountUri)
    return 'the record for this CA is for another account';
  const until = stated.get('persistuntil');
  if (until !== undefined && !/^\d{1,12}$/.test(until))
    return 'persistUntil of the record for this CA is no number of seconds';
  if (until !== undefined && Number(until) < now) return 'the record for this CA has ended';
  return wildcard && stated.get('policy')?.toLowerCase() !== 'wildcard'
    ? 'the record for this CA lacks policy=wildcard'
    : undefined;
}
