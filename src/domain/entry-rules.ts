import { fail, ok, PkiError, unwrap, type Result } from '../common/errors/index.ts';
import { isOneLine } from '../common/runtime/index.ts';
import {
  expectPossible,
  isPathSegment,
  isReserved,
  parseSelector,
  parseTemplate,
  selectorText,
  serverId,
  SpiffeId,
  tokenIssuerOf,
  type AllowedValues,
  type Selector,
  type Template,
  type TrustDomain,
} from '../common/spiffe/index.ts';
import { entryProfiles, isNamesProfile, maximumLifeOf } from './certificate.ts';
import { checkNamesEntry } from './entry-names.ts';
import type { AgentNames } from './agent.ts';
import type { EntryDraft } from './entry.ts';
import { checkFederatesWith } from './federation/relationship.ts';
import { checkDnsNames } from './names.ts';
import type { ReservedDnsName } from './reserved-names.ts';

export interface EntryLimits {
  readonly trustDomain: TrustDomain;
  readonly agentNames: AgentNames;
  /** Whether an issuer of tokens of this name is configured. */
  readonly isTokenIssuer: (name: string) => boolean;
  readonly reservedDnsNames: readonly ReservedDnsName[];
  readonly minimumTtlSeconds: number;
  readonly maximumX509TtlSeconds: number;
  readonly maximumJwtTtlSeconds: number;
}

const entryIdPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const maximumSelectors = 64;
const maximumHintLength = 128;
const maximumAllowedValues = 1000;
/**
 * Facts that narrow an identity but do not prove who runs the process: a process that connects and
 * then execs keeps its socket.
 */
const weakSelectors = ['unix:path:', 'unix:sha256:', 'peer:pinned'];

/**
 * The entry in the form that may be stored, by all rules that concern this entry alone.
 *
 * @throws PkiError with the code of the broken rule
 */
export function checkEntry(
  input: Omit<EntryDraft, 'isTemplate'>,
  limits: EntryLimits,
  now: number,
): EntryDraft {
  if (!entryIdPattern.test(input.id))
    throw new PkiError(
      'INVALID_REQUEST',
      `entry ID ${JSON.stringify(input.id.slice(0, 80))} is invalid: it needs at most 64 ` +
        'characters of [A-Za-z0-9._-] and starts with a letter or digit',
    );
  const isTemplate = /[{}]/.test(input.spiffeId);
  const placeholders = isTemplate
    ? checkTemplate(input, limits.trustDomain)
    : checkStated(input, limits.trustDomain);
  const parent = unwrap(parentKind(input.parentId, limits));
  if (parent === 'server') checkNodeSet(input, isTemplate);
  else if (parent === 'token-issuer') checkTokenEntry(input);
  else if (input.parentId === input.spiffeId)
    throw new PkiError('PARENT_INVALID', `the entry ${input.spiffeId} is its own parent`);
  // admins are named singly: a template would make an admin of every match
  if (isTemplate && (input.admin || input.downstream))
    throw new PkiError('TEMPLATE_INVALID', 'a template can be neither admin nor downstream');
  if (!entryProfiles.includes(input.profile))
    throw new PkiError(
      'INVALID_REQUEST',
      `profile ${JSON.stringify(String(input.profile).slice(0, 40))} is not one of ${entryProfiles.join(', ')}`,
    );
  checkLifetimes(input, limits, now);
  if (input.hint.length > maximumHintLength || !isOneLine(input.hint))
    throw new PkiError(
      'INVALID_REQUEST',
      `the hint has control characters or more than ${maximumHintLength} characters`,
    );
  return {
    ...input,
    isTemplate,
    placeholders,
    selectors: checkSelectors(input, parent),
    ...(isNamesProfile(input.profile)
      ? checkNamesEntry(input, parent, limits.reservedDnsNames)
      : { dnsNames: checkDnsNames(input.dnsNames, limits.reservedDnsNames), ips: noIps(input) }),
    federatesWith: checkFederatesWith(input.federatesWith, limits.trustDomain),
  };
}

function noIps({ profile, ips }: Pick<EntryDraft, 'profile' | 'ips'>): readonly string[] {
  if (ips.length === 0) return [];
  throw new PkiError(
    'INVALID_REQUEST',
    `a certificate of the profile ${profile} has no IP address`,
    {
      next: 'Leave the addresses out, or use the profile short or classic, which has names alone.',
    },
  );
}

type ParentKind = 'server' | 'agent' | 'node-set' | 'token-issuer';

/**
 * The kind of a parent, from its ID. Whether a node set with that ID exists is checked by the
 * store. Fails with PARENT_INVALID.
 */
function parentKind(
  text: string,
  {
    trustDomain,
    agentNames,
    isTokenIssuer,
  }: Pick<EntryLimits, 'trustDomain' | 'agentNames' | 'isTokenIssuer'>,
): Result<ParentKind> {
  const id = SpiffeId.parse(text);
  if (!id.ok) return fail('PARENT_INVALID', `parent: ${id.error.message}`);
  if (!id.value.trustDomain.equals(trustDomain))
    return fail(
      'PARENT_INVALID',
      `the parent ${text} is not in the trust domain ${trustDomain.name}`,
    );
  if (id.value.equals(serverId(trustDomain))) return ok('server');
  if (agentNames.isAgent(id.value)) return ok('agent');
  const issuer = tokenIssuerOf(id.value);
  if (issuer !== undefined)
    return isTokenIssuer(issuer)
      ? ok('token-issuer')
      : fail('PARENT_INVALID', `the parent ${text} is no issuer in tokens.issuers of the server`, {
          next: 'Correct the name: "meshca token issuers" lists them.',
        });
  if (isReserved(id.value) || id.value.path === '')
    return fail(
      'PARENT_INVALID',
      `the parent ${text} is neither an agent, nor a node set, nor the server`,
    );
  return ok('node-set');
}

/**
 * An ID that a user may state: in this trust domain, with a path, not reserved. Fails with
 * SPIFFE_ID_* or TRUST_DOMAIN_FOREIGN.
 */
export function userSpiffeId(text: string, trustDomain: TrustDomain): Result<SpiffeId> {
  const id = SpiffeId.parse(text);
  if (!id.ok) return id;
  if (!id.value.trustDomain.equals(trustDomain))
    return fail('TRUST_DOMAIN_FOREIGN', `${text} is not in the trust domain ${trustDomain.name}`);
  if (id.value.path === '')
    return fail('SPIFFE_ID_INVALID', `${text} names the trust domain, not an identity in it`);
  if (isReserved(id.value)) return fail('SPIFFE_ID_RESERVED', `${text} is reserved for the CA`);
  return id;
}

export const allowedValues = (
  placeholders: Readonly<Record<string, readonly string[]>>,
): AllowedValues => new Map(Object.entries(placeholders));

/** The text up to the first placeholder. Every ID of the template starts with it. */
export const fixedPrefix = (template: string): string =>
  template.slice(0, Math.max(template.indexOf('{'), 0));

/** Whether all selectors are facts that prove nothing about who runs the process. */
const isWeak = (selectors: readonly Selector[]): boolean =>
  selectors.every((selector) =>
    weakSelectors.some((weak) => selectorText(selector).startsWith(weak)),
  );

function checkStated(
  input: Omit<EntryDraft, 'isTemplate'>,
  trustDomain: TrustDomain,
): Readonly<Record<string, readonly string[]>> {
  unwrap(userSpiffeId(input.spiffeId, trustDomain));
  if (Object.keys(input.placeholders).length > 0)
    throw new PkiError(
      'TEMPLATE_INVALID',
      `${input.spiffeId} has no placeholder, but there are values for ` +
        `${Object.keys(input.placeholders).join(', ').slice(0, 200)}`,
    );
  return {};
}

function checkTemplate(
  input: Omit<EntryDraft, 'isTemplate'>,
  trustDomain: TrustDomain,
): Readonly<Record<string, readonly string[]>> {
  const template: Template = unwrap(parseTemplate(input.spiffeId));
  if (template.trustDomainName !== trustDomain.name)
    throw new PkiError(
      'TRUST_DOMAIN_FOREIGN',
      `${input.spiffeId} is not in the trust domain ${trustDomain.name}`,
    );
  const foreign = Object.keys(input.placeholders).find(
    (name) => !template.placeholders.includes(name),
  );
  if (foreign !== undefined)
    throw new PkiError(
      'TEMPLATE_INVALID',
      `there are values for {${foreign.slice(0, 80)}}, which is not in the template`,
    );
  const checked: Record<string, readonly string[]> = {};
  for (const name of template.placeholders) {
    const values = Object.hasOwn(input.placeholders, name)
      ? (input.placeholders[name] as readonly string[])
      : [];
    if (values.length === 0)
      throw new PkiError('TEMPLATE_INVALID', `there are no allowed values for {${name}}`);
    if (values.length > maximumAllowedValues)
      throw new PkiError(
        'TEMPLATE_INVALID',
        `{${name}} has ${values.length} allowed values, more than ${maximumAllowedValues}`,
      );
    const bad = values.find((value) => !isPathSegment(value));
    if (bad !== undefined)
      throw new PkiError(
        'TEMPLATE_INVALID',
        `the value ${JSON.stringify(bad.slice(0, 80))} for {${name}} is not a path segment of [A-Za-z0-9._-]`,
      );
    checked[name] = [...new Set(values)].sort();
  }
  refuseReserved(template, checked, trustDomain);
  return checked;
}

/**
 * The parser refuses templates below /meshca. What remains is a first segment with a placeholder
 * whose values can form `meshca`. Only the first segment matters, so that no combination has to be
 * expanded.
 */
function refuseReserved(
  template: Template,
  placeholders: Readonly<Record<string, readonly string[]>>,
  trustDomain: TrustDomain,
): void {
  const first = template.text.slice(`${trustDomain.id}/`.length).split('/')[0] as string;
  const match = /^([^{}]*)\{([^{}]+)\}([^{}]*)$/.exec(first);
  if (match === null) return;
  const [, before, name, after] = match as unknown as [string, string, string, string];
  if ((placeholders[name] ?? []).some((value) => `${before}${value}${after}` === 'meshca'))
    throw new PkiError(
      'SPIFFE_ID_RESERVED',
      `the template ${template.text} can produce an ID below /meshca, which is reserved for the CA`,
    );
}

function checkNodeSet(input: Omit<EntryDraft, 'isTemplate'>, isTemplate: boolean): void {
  if (isTemplate)
    throw new PkiError(
      'PARENT_INVALID',
      'a node set has a fixed ID: the server can not be the parent of a template',
    );
  if (
    input.admin ||
    input.downstream ||
    input.dnsNames.length > 0 ||
    input.federatesWith.length > 0
  )
    throw new PkiError(
      'PARENT_INVALID',
      'an entry with the server as parent defines a node set: it gets no certificate, so it ' +
        'can be neither admin nor downstream nor have DNS names or foreign trust domains',
    );
}

/**
 * What an entry below an issuer of tokens grants goes to whoever has such a token. Its certificate
 * is no credential, and one issuer may serve the whole world: so the entry must say whose tokens it
 * means.
 */
function checkTokenEntry(input: Omit<EntryDraft, 'isTemplate'>): void {
  if (input.admin || input.downstream)
    throw new PkiError(
      'PARENT_INVALID',
      'an entry below an issuer of tokens can be neither admin nor downstream: what a token led to is no credential',
      { next: 'Leave the flag out, or name an agent or a node set as the parent.' },
    );
  if (input.federatesWith.length > 0)
    throw new PkiError(
      'PARENT_INVALID',
      'an entry below an issuer of tokens gets no foreign bundles: there is no agent to hand them over',
      { next: 'Leave federatesWith out, or name an agent or a node set as the parent.' },
    );
  const foreign = input.selectors.find(({ type }) => !tokenSelectorTypes.includes(type));
  if (foreign !== undefined)
    throw new PkiError(
      'SELECTOR_INVALID',
      `no token has the selector ${selectorText(foreign).slice(0, 120)}: below an issuer of ` +
        `tokens selectors are of the types ${tokenSelectorTypes.join(', ')}`,
      { next: 'Use the claims as "meshca token explain" shows them.' },
    );
  if (input.allowWeakSelectors || input.selectors.some((each) => namesOwner(selectorText(each))))
    return;
  throw new PkiError(
    'SELECTORS_WEAK',
    'no selector says whose tokens the entry means: an issuer may serve many owners, and all their tokens would match',
    {
      next:
        `Add one of the claims ${owningClaims.join(', ')}, or k8s:ns; or set ` +
        'allow_weak_selectors where the issuer serves you alone.',
    },
  );
}

const tokenSelectorTypes: readonly string[] = ['oidc', 'k8s'];
/** Claims by which issuers name the owner of what asked for a token. */
const owningClaims = [
  'sub',
  'repository',
  'repository_id',
  'repository_owner',
  'repository_owner_id',
  'project_path',
  'project_id',
  'namespace_path',
  'namespace_id',
  'email',
] as const;
const namesOwner = (selector: string): boolean =>
  ['k8s:ns', 'k8s:pod-uid', ...owningClaims.map((claim) => `oidc:${claim}`)].some((prefix) =>
    selector.startsWith(`${prefix}:`),
  );

function checkLifetimes(
  input: Omit<EntryDraft, 'isTemplate'>,
  limits: EntryLimits,
  now: number,
): void {
  const ofProfile = maximumLifeOf(input.profile) ?? limits.maximumX509TtlSeconds;
  const x509Maximum = isNamesProfile(input.profile)
    ? ofProfile
    : Math.min(limits.maximumX509TtlSeconds, ofProfile);
  checkTtl('X.509', input.x509TtlSeconds, limits.minimumTtlSeconds, x509Maximum);
  checkTtl('JWT', input.jwtTtlSeconds, limits.minimumTtlSeconds, limits.maximumJwtTtlSeconds);
  if (
    !Number.isSafeInteger(input.expiresAt) ||
    input.expiresAt < 0 ||
    (input.expiresAt !== 0 && input.expiresAt <= now)
  )
    throw new PkiError('INVALID_REQUEST', 'expires_at must be 0 (never) or in the future');
}

function checkTtl(kind: string, seconds: number, minimum: number, maximum: number): void {
  if (seconds === 0) return;
  if (!Number.isSafeInteger(seconds) || seconds < minimum || seconds > maximum)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the ${kind} lifetime of ${seconds} s is outside ${minimum} to ${maximum} s`,
    );
}

function checkSelectors(
  input: Omit<EntryDraft, 'isTemplate'>,
  parent: ParentKind,
): readonly Selector[] {
  if (input.selectors.length === 0)
    throw new PkiError(
      'SELECTOR_INVALID',
      'the entry has no selector, so that it would match every process',
    );
  if (input.selectors.length > maximumSelectors)
    throw new PkiError(
      'SELECTOR_INVALID',
      `the entry has ${input.selectors.length} selectors, more than ${maximumSelectors}`,
    );
  const byText = new Map(input.selectors.map((selector) => [selectorText(selector), selector]));
  for (const text of byText.keys()) unwrap(parseSelector(text));
  const selectors = [...byText.keys()].sort().map((text) => unwrap(parseSelector(text)));
  if (isWeak(selectors) && !input.allowWeakSelectors)
    throw new PkiError(
      'SELECTORS_WEAK',
      'the entry has no other selectors than path or hash of the binary',
    );
  // those of a node set are selectors of nodes, which can be any text, and so are claims
  if (parent !== 'server' && parent !== 'token-issuer')
    for (const text of byText.keys()) expectPossible(text);
  return selectors;
}
