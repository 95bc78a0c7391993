import { PkiError } from '../common/errors/index.ts';
import { selectorText } from '../common/spiffe/index.ts';
import { isNamesProfile } from './certificate.ts';
import type { EntryDraft, RegistrationEntry } from './entry.ts';
import { checkNames } from './names.ts';
import type { ReservedDnsName } from './reserved-names.ts';
import type { NamesSubject } from './subject.ts';

type Stated = Omit<EntryDraft, 'isTemplate'>;

/** The agent presents it for the file target of that name, and for no process. */
const targetSelector = 'target:name:';

/**
 * The names of an entry whose certificate has names and no SPIFFE ID. Its own SPIFFE ID says who
 * owns the certificate. Only a file target gets it: a process would take it for an identity.
 *
 * @throws PkiError with the code of the broken rule
 */
export function checkNamesEntry(
  input: Stated,
  parent: string,
  reserved: readonly ReservedDnsName[],
): Pick<NamesSubject, 'dnsNames' | 'ips'> {
  if (parent !== 'agent' && parent !== 'node-set')
    throw new PkiError(
      'PARENT_INVALID',
      `an entry of the profile ${input.profile} has an agent or a node set as its parent`,
    );
  if (/[{}]/.test(input.spiffeId) || input.admin || input.downstream)
    throw new PkiError(
      'INVALID_REQUEST',
      `an entry of the profile ${input.profile} gives names and no identity: it is no template, ` +
        'and makes neither an admin nor a downstream CA',
    );
  if (!input.selectors.some((selector) => selectorText(selector).startsWith(targetSelector)))
    throw new PkiError(
      'SELECTOR_INVALID',
      `an entry of the profile ${input.profile} is for a file target, and no selector names one`,
      { next: 'Add the selector target:name:NAME, with the name of the target on the agent.' },
    );
  const { dnsNames, ips } = checkNames(input, reserved);
  return { dnsNames, ips };
}

/** What the certificate of this entry names. Undefined: it is an identity. */
export const namesOfEntry = ({
  profile,
  dnsNames,
  ips,
}: Pick<RegistrationEntry, 'profile' | 'dnsNames' | 'ips'>): NamesSubject | undefined =>
  isNamesProfile(profile) ? { kind: 'names', dnsNames, ips } : undefined;
