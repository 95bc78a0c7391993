import { fail, ok, type Result } from '../../../src/common/errors/index.ts';
import { isReserved, SpiffeId, TrustDomain } from '../../../src/common/spiffe/index.ts';
import type { TrustBundle } from '../../ports/bundles.ts';
import type { Identity } from '../../ports/entries.ts';
import type { GrantedBundles } from '../../ports/granted-bundles.ts';

/** The names of this agent for what every proxy asks for. */
export interface SecretNames {
  /** The first identity of the caller. */
  readonly defaultSvid: string;
  /** The bundle of the own trust domain. */
  readonly ownBundle: string;
  /** The bundles of all trust domains. */
  readonly allBundles: string;
}

/** How a proxy validates its peers. */
export interface Validation {
  readonly names: SecretNames;
  /**
   * True: bundles come with Envoy's SPIFFE validator, which takes each root for its own trust domain
   * alone. False: as plain `trusted_ca`.
   */
  readonly spiffeValidator: boolean;
}

/** What a name stands for. */
export type Wanted =
  | { readonly kind: 'default' }
  | { readonly kind: 'svid'; readonly id: SpiffeId }
  | { readonly kind: 'bundle'; readonly trustDomain: TrustDomain | 'own' }
  | { readonly kind: 'all bundles' }
  /** A name of Istio's agent for a file of its own. It is never served, and ends no stream. */
  | { readonly kind: 'file' };

const filePattern = /^file-(?:cert|root):/;
const maximumFileBytes = 512;

/** Reads a name. Fails with SECRET_NAME_INVALID if no entry can ever grant it. */
export function parseSecretName(name: string, validation: Validation): Result<Wanted> {
  const { defaultSvid, ownBundle, allBundles } = validation.names;
  if (name === defaultSvid) return ok({ kind: 'default' });
  if (name === ownBundle) return ok({ kind: 'bundle', trustDomain: 'own' });
  if (name === allBundles)
    return validation.spiffeValidator
      ? ok({ kind: 'all bundles' })
      : fail(
          'SECRET_NAME_INVALID',
          `${quote(name)} can not be served: without the SPIFFE validator the roots of one ` +
            'trust domain would validate names of the others',
          { next: 'Set sds.spiffeValidator, or ask for the bundle of one trust domain.' },
        );
  if (filePattern.test(name)) return parseFile(name);
  const id = SpiffeId.parse(name);
  if (!id.ok)
    return fail(
      'SECRET_NAME_INVALID',
      `${quote(name)} is none of ${defaultSvid}, ${ownBundle}, ${allBundles}, a SPIFFE ID, or the ID of a trust domain`,
    );
  if (id.value.path === '') return ok({ kind: 'bundle', trustDomain: id.value.trustDomain });
  return isReserved(id.value)
    ? fail('SECRET_NAME_INVALID', `${quote(name)} is an ID of the CA itself, which no proxy gets`)
    : ok({ kind: 'svid', id: id.value });
}

/** The caller chooses the rest of such a name, and no entry bounds it. */
const parseFile = (name: string): Result<Wanted> =>
  Buffer.byteLength(name) > maximumFileBytes
    ? fail(
        'SECRET_NAME_INVALID',
        `${quote(name)}… is too long: the name of a file has at most ${maximumFileBytes} bytes`,
        { next: 'Shorten the path of the file. The agent serves no files.' },
      )
    : ok({ kind: 'file' });

/** What a name stands for, for one caller now. */
export type GrantedSecret =
  | { readonly kind: 'svid'; readonly identity: Identity }
  /** Never empty. The own bundle is first, if it is among them. */
  | { readonly kind: 'bundles'; readonly bundles: readonly TrustBundle[] };

/** The rights of one caller now. */
export interface CallerRights extends GrantedBundles {
  /** By the entries, the default first. Empty: it gets nothing. */
  readonly identities: readonly Identity[];
}

/** Undefined: nothing of this name is granted to the caller now. */
export function grantedSecret(wanted: Wanted, rights: CallerRights): GrantedSecret | undefined {
  const { identities, own, federated } = rights;
  const [first] = identities;
  if (first === undefined) return undefined;
  switch (wanted.kind) {
    case 'file':
      return undefined;
    case 'default':
      return { kind: 'svid', identity: first };
    case 'svid': {
      const identity = identities.find(({ spiffeId }) => spiffeId.equals(wanted.id));
      return identity === undefined ? undefined : { kind: 'svid', identity };
    }
    case 'all bundles':
      return bundlesGrant([own, ...federated.values()]);
    case 'bundle': {
      const { trustDomain } = wanted;
      const bundle =
        trustDomain === 'own' || trustDomain.equals(own.trustDomain)
          ? own
          : federated.get(trustDomain.name);
      return bundle === undefined ? undefined : bundlesGrant([bundle]);
    }
  }
}

/** Without bundles that have no root: Envoy refuses a validator that has such a one. */
function bundlesGrant(bundles: readonly TrustBundle[]): GrantedSecret | undefined {
  const whole = bundles.filter(({ rootsDer }) => rootsDer.length > 0);
  return whole.length === 0 ? undefined : { kind: 'bundles', bundles: whole };
}

/** Everything that a caller gets who names nothing: each secret once, under its own ID. */
export function everyName({ identities, own, federated }: CallerRights): readonly string[] {
  if (identities.length === 0) return [];
  return [
    ...new Set(identities.map(({ spiffeId }) => spiffeId.toString())),
    own.trustDomain.id,
    ...[...federated.values()].map(({ trustDomain }) => trustDomain.id),
  ];
}

/** Clients limit the size of trailers. */
const listedCharacters = 1_200;

/** The names that this caller may ask for. */
export const namesOf = (
  rights: CallerRights,
  { names, spiffeValidator }: Validation,
): readonly string[] =>
  rights.identities.length === 0
    ? []
    : [
        names.defaultSvid,
        names.ownBundle,
        ...(spiffeValidator ? [names.allBundles] : []),
        ...everyName(rights),
      ];

/** The same for people. It tells nothing about other callers. */
export function allowedNames(rights: CallerRights, validation: Validation): string {
  const all = namesOf(rights, validation);
  let length = 0;
  const listed = all.filter((each) => (length += each.length + 2) <= listedCharacters);
  const more = all.length - listed.length;
  return `${listed.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

const quote = (name: string): string => JSON.stringify(name.slice(0, 200));
