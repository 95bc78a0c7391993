import { fail, ok, type Result } from '../common/errors/index.ts';
import { isReserved, parseDnsName, SpiffeId, type TrustDomain } from '../common/spiffe/index.ts';
import type { Role } from './delegation.ts';
import type { NameOwners } from './name-owners.ts';
import type { Proven } from './proven.ts';
import type { NamesSubject } from './subject.ts';

/**
 * The acts that a role can allow. A change of roles, and making an admin, are not among them: those
 * require every right (`holdsEverything`).
 */
export const verbs = [
  'entry.read',
  'entry.write',
  'agent.read',
  'agent.ban',
  'agent.evict',
  'token.read',
  'token.create',
  'delegation.read',
  'delegation.write',
  'federation.read',
  'federation.write',
  'role.read',
  'tenant.read',
  'tenant.write',
  'policy.read',
  'authority.read',
  'authority.rotate',
  'authority.taint',
  'authority.revoke',
  'authority.force',
  'certificate.read',
  'certificate.mint',
  'certificate.issue',
  'certificate.revoke',
  'key.read',
  'key.block',
  'audit.read',
  'server.read',
  'approval.read',
  'approval.submit',
  'acme.read',
  'acme.write',
  'target.read',
  'target.change',
] as const;
export type Verb = (typeof verbs)[number];

/** The target of an act. */
export type Target =
  /** One identity. */
  | { readonly kind: 'id'; readonly spiffeId: string }
  /** The names of an endpoint or a Linkerd proxy. Each must be covered. */
  | { readonly kind: 'names'; readonly subject: NamesSubject }
  /** Every identity whose text starts with the prefix: what a template or pattern can produce. */
  | { readonly kind: 'below'; readonly prefix: string }
  /** A tenant, and what belongs to it beside certificates. */
  | { readonly kind: 'tenant'; readonly name: string }
  /** No identity: any role with the verb allows it, on any prefix. */
  | { readonly kind: 'none' };

export type Grant = Pick<Role, 'verbs' | 'prefixes'>;

export const wholeTrustDomain = (trustDomain: TrustDomain): string => `${trustDomain.id}/`;

/** The read-only role that always exists. Only its members are stored. */
export const auditorRole = 'auditor';
export const auditorGrant = (trustDomain: TrustDomain): Grant => ({
  verbs: ['*.read'],
  prefixes: [wholeTrustDomain(trustDomain)],
});

/** What roles grant that the log vouches for. What the auditor may is fixed in code. */
export const grantsOf = (
  roles: readonly Proven<Role>[],
  trustDomain: TrustDomain,
): readonly Grant[] =>
  roles.map((role) => (role.name === auditorRole ? auditorGrant(trustDomain) : role));

/**
 * Whether one role has both the verb and a prefix over the target. The verb of one role and the
 * prefix of another do not add up.
 */
export const permits = (grants: readonly Grant[], verb: Verb, target: Target): boolean =>
  grants.some(
    (grant) =>
      grant.verbs.some((allowed) => allowsVerb(allowed, verb)) &&
      (target.kind === 'names'
        ? coversNames(grant.prefixes, target.subject)
        : target.kind === 'tenant'
          ? coversTenant(grant.prefixes, target.name)
          : grant.prefixes.some((prefix) => covers(prefix, target))),
  );

/** Every verb on the whole trust domain. */
export const holdsEverything = (grants: readonly Grant[], trustDomain: TrustDomain): boolean =>
  grants.some(
    ({ verbs: allowed, prefixes }) =>
      allowed.includes('*') && prefixes.includes(wholeTrustDomain(trustDomain)),
  );

/** The prefixes on which the roles allow the verb, to narrow a list. */
export const prefixesFor = (grants: readonly Grant[], verb: Verb): readonly string[] => [
  ...new Set(
    grants
      .filter((grant) => grant.verbs.some((allowed) => allowsVerb(allowed, verb)))
      .flatMap(({ prefixes }) => prefixes),
  ),
];

const tenantScope = 'tenant:';
export const isTenantScope = (scope: string): boolean => scope.startsWith(tenantScope);
/** The name in the scope of a tenant; undefined: it is another scope. */
export const tenantOfScope = (scope: string): string | undefined =>
  isTenantScope(scope) ? scope.slice(tenantScope.length) : undefined;

/** Its own scope, or one over the whole trust domain. */
const coversTenant = (scopes: readonly string[], name: string): boolean =>
  scopes.some((scope) => scope === `${tenantScope}${name}` || isWholeTrustDomain(scope));

const isWholeTrustDomain = (scope: string): boolean => /^spiffe:\/\/[^/]+\/$/.test(scope);

/**
 * The grants with what tenants own now beside the scopes of tenants: their SPIFFE ID prefixes, and
 * DNS scopes of their suffixes.
 */
export const withNamesOfTenants = (
  grants: readonly Grant[],
  owners: NameOwners,
): readonly Grant[] =>
  grants.map((grant) =>
    grant.prefixes.some(isTenantScope)
      ? {
          ...grant,
          prefixes: grant.prefixes.flatMap((scope) => [scope, ...ownedBy(scope, owners)]),
        }
      : grant,
  );

/** The grants without their scopes of tenants. */
export const withoutTenants = (grants: readonly Grant[]): readonly Grant[] =>
  grants.map((grant) => ({
    ...grant,
    prefixes: grant.prefixes.filter((scope) => !isTenantScope(scope)),
  }));

function ownedBy(scope: string, owners: NameOwners): readonly string[] {
  const name = tenantOfScope(scope);
  const tenant = name === undefined ? undefined : owners.named(name);
  if (tenant === undefined) return [];
  return [
    ...tenant.spiffePrefixes,
    ...tenant.dnsSuffixes.flatMap((suffix) => [`${dnsScope}${suffix}`, `${dnsScope}.${suffix}`]),
  ];
}

const dnsScope = 'dns:';
export const isDnsScope = (scope: string): boolean => scope.startsWith(dnsScope);

/**
 * A DNS scope is a suffix: `dns:.shop.example.org` for every name below it, or
 * `dns:www.example.org` for that name only. A wildcard is covered if all its names are. No suffix
 * covers an IP address: that requires every right.
 */
function coversNames(scopes: readonly string[], { dnsNames, ips }: NamesSubject): boolean {
  const inside = (name: string, scope: string): boolean =>
    scope.startsWith('.') ? name.endsWith(scope) : name === scope;
  const suffixes = scopes.filter(isDnsScope).map((scope) => scope.slice(dnsScope.length));
  return (
    ips.length === 0 &&
    dnsNames.length > 0 &&
    dnsNames.every((name) => suffixes.some((suffix) => inside(name, suffix)))
  );
}

/**
 * A prefix ends in a slash, so that it ends with a segment and `/team-a` never covers `/team-ab`.
 * Without a slash it means that ID only.
 */
function covers(prefix: string, target: Exclude<Target, { kind: 'names' | 'tenant' }>): boolean {
  if (target.kind === 'none') return true;
  const text = target.kind === 'id' ? target.spiffeId : target.prefix;
  return prefix.endsWith('/') ? text.startsWith(prefix) : target.kind === 'id' && text === prefix;
}

function allowsVerb(allowed: string, verb: Verb): boolean {
  if (allowed === '*' || allowed === verb) return true;
  const [noun, action] = verb.split('.') as [string, string];
  return allowed === `${noun}.*` || (action === 'read' && allowed === '*.read');
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,63}$/;
const maximumPerList = 1000;

export type RoleInput = Pick<Role, 'name' | 'verbs' | 'prefixes' | 'members'>;

/**
 * The role in the form that may be stored: sorted and unique. Fails with INVALID_REQUEST,
 * SPIFFE_ID_* or TRUST_DOMAIN_FOREIGN.
 */
export function checkRole(input: RoleInput, trustDomain: TrustDomain): Result<RoleInput> {
  if (!namePattern.test(input.name))
    return fail(
      'INVALID_REQUEST',
      `role name ${JSON.stringify(input.name.slice(0, 80))} is invalid: it needs at most 64 characters of [a-z0-9-]`,
    );
  for (const list of ['verbs', 'prefixes', 'members'] as const) {
    if (input[list].length > maximumPerList)
      return fail(
        'INVALID_REQUEST',
        `the role has ${input[list].length} ${list}, more than ${maximumPerList}`,
      );
  }
  for (const member of input.members) {
    const id = ownId(member, trustDomain);
    if (!id.ok) return id;
    if (isReserved(id.value))
      return fail('SPIFFE_ID_RESERVED', `the member ${member} is reserved for the CA`);
  }
  const members = sortedUnique(input.members);
  if (input.name === auditorRole) {
    const fixed = auditorGrant(trustDomain);
    const differs = (stated: readonly string[], fixed: readonly string[]): boolean =>
      stated.length > 0 && stated.join('\n') !== fixed.join('\n');
    if (differs(input.verbs, fixed.verbs) || differs(input.prefixes, fixed.prefixes))
      return fail(
        'INVALID_REQUEST',
        'the verbs and prefixes of the role auditor are fixed (*.read on everything): state only its members',
      );
    return ok({ name: input.name, verbs: fixed.verbs, prefixes: fixed.prefixes, members });
  }
  const unknown = input.verbs.find((verb) => !isVerbPattern(verb));
  if (unknown !== undefined)
    return fail(
      'INVALID_REQUEST',
      `${JSON.stringify(unknown.slice(0, 80))} is not a verb; the verbs are ${verbs.join(', ')}, noun.*, *.read and *`,
    );
  if (input.verbs.length === 0 || input.prefixes.length === 0)
    return fail('INVALID_REQUEST', 'a role needs at least one verb and one prefix');
  for (const prefix of input.prefixes) {
    const checked = checkPrefix(prefix, trustDomain);
    if (!checked.ok) return checked;
  }
  return ok({
    name: input.name,
    verbs: sortedUnique(input.verbs),
    prefixes: sortedUnique(input.prefixes),
    members,
  });
}

function isVerbPattern(text: string): boolean {
  if (text === '*' || text === '*.read' || verbs.includes(text as Verb)) return true;
  return text.endsWith('.*') && verbs.some((verb) => verb.startsWith(text.slice(0, -1)));
}

function checkPrefix(prefix: string, trustDomain: TrustDomain): Result<string> {
  if (isDnsScope(prefix)) return checkDnsScope(prefix);
  if (isTenantScope(prefix)) return checkTenantScope(prefix);
  if (prefix === wholeTrustDomain(trustDomain)) return ok(prefix);
  const id = ownId(prefix.endsWith('/') ? prefix.slice(0, -1) : prefix, trustDomain);
  if (!id.ok) return id;
  if (id.value.path === '')
    return fail(
      'INVALID_REQUEST',
      `the prefix ${prefix} names no identity; write ${wholeTrustDomain(trustDomain)} for all of them`,
    );
  return ok(prefix);
}

/** Whether there is such a tenant is another matter. */
const checkTenantScope = (scope: string): Result<string> =>
  namePattern.test(scope.slice(tenantScope.length))
    ? ok(scope)
    : fail(
        'INVALID_REQUEST',
        `the scope ${JSON.stringify(scope.slice(0, 90))} names no tenant: write tenant:NAME, ` +
          'with at most 64 characters of [a-z0-9-]',
      );

/** At least two labels: nobody owns a whole top-level domain. */
function checkDnsScope(scope: string): Result<string> {
  const text = scope.slice(dnsScope.length);
  const name = parseDnsName(text.startsWith('.') ? text.slice(1) : text);
  if (!name.ok) return name;
  return name.value.includes('.')
    ? ok(scope)
    : fail('INVALID_REQUEST', `the scope ${scope} has one label; a DNS scope needs two or more`);
}

function ownId(text: string, trustDomain: TrustDomain): Result<SpiffeId> {
  const id = SpiffeId.parse(text);
  if (id.ok && !id.value.trustDomain.equals(trustDomain))
    return fail('TRUST_DOMAIN_FOREIGN', `${text} is not in the trust domain ${trustDomain.name}`);
  return id;
}

const sortedUnique = (values: readonly string[]): readonly string[] => [...new Set(values)].sort();
