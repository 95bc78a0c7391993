import { createHash } from 'node:crypto';
import { invalid, type Evidence, type Judged } from './outcome.ts';
import type { AcmeResolver } from './resolver.ts';

export interface Dns01Dependencies {
  readonly resolver: Pick<AcmeResolver, 'textsAtEveryServer'>;
}

export interface Dns01Ask {
  /** A DNS name without `*.`. */
  readonly name: string;
  readonly keyAuthorization: string;
}

/** The name of the record (RFC 8555 section 8.4). */
export const dns01Name = (name: string): string => `_acme-challenge.${name}`;

/** Its value: base64url of the SHA-256 of the key authorization. */
export const dns01Value = (keyAuthorization: string): string =>
  createHash('sha256').update(keyAuthorization).digest('base64url');

/** The challenge dns-01. */
export const validateDns01 = (
  { name, keyAuthorization }: Dns01Ask,
  dependencies: Dns01Dependencies,
  signal: AbortSignal,
): Promise<Judged<Evidence>> =>
  validateDigestAt(dns01Name(name), keyAuthorization, dependencies, signal);

/** Every authoritative server must have the record; others may stand there. */
export async function validateDigestAt(
  at: string,
  keyAuthorization: string,
  { resolver }: Dns01Dependencies,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const answers = await resolver.textsAtEveryServer(at, signal);
  if (!answers.ok) return answers;
  const expected = dns01Value(keyAuthorization);
  const without = answers.value.filter(({ texts }) => !texts.includes(expected));
  const [first] = without;
  if (first === undefined)
    return { ok: true, value: { seenAt: answers.value.map(({ server }) => server) } };
  return invalid(
    'unauthorized',
    first.texts.length === 0
      ? `${at} has no TXT record at ${first.server} (${without.length} of ` +
          `${answers.value.length} name servers lack it)`
      : `none of the ${first.texts.length} TXT records of ${at} at ${first.server} is the ` +
          'digest of the key authorization of this challenge and account',
    answers.value.map(({ server }) => server),
  );
}
