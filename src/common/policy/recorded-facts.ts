import { SpiffeId } from '../spiffe/index.ts';
import { keyTypes } from '../x509/index.ts';
import {
  factsSha256,
  laterFacts,
  policyCallers,
  policyKinds,
  policyProfiles,
  statedLater,
  type LaterFact,
  type PolicyFacts,
  type PolicyKind,
} from './facts.ts';

/** An act in a record of the audit log, before it is known what the record states. */
export interface RecordedAct {
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

export type StatedFacts = Readonly<Record<string, string | number | readonly string[]>>;

/**
 * The facts that a record does not state by itself, so that no fact stands in it twice. A reader
 * gets all of them again by `factsIn`. `callerClass` is always among them, and marks a record that
 * has its facts.
 */
export function unstatedFacts(facts: PolicyFacts, act: RecordedAct): StatedFacts {
  const { detail } = act;
  const stated: Record<string, string | number | readonly string[]> = {
    callerClass: facts.caller,
  };
  if (facts.at !== secondOf(act)) stated['policyAt'] = facts.at;
  if (facts.kind !== kindOf(act)) stated['policyKind'] = facts.kind;
  if (facts.callerName !== act.actor) stated['callerName'] = facts.callerName;
  if (facts.ttlSeconds !== undefined && facts.ttlSeconds !== detail['cutFromSeconds'])
    stated['ttlSeconds'] = facts.ttlSeconds;
  if (facts.entryId !== undefined && facts.entryId !== detail['entry'])
    stated['entry'] = facts.entryId;
  if (facts.delegationId !== undefined && facts.delegationId !== detail['delegation'])
    stated['delegation'] = facts.delegationId;
  for (const name of laterFacts) {
    const value = facts[name];
    const field = laterFields[name];
    if (value !== undefined && value !== detail[field]) stated[field] = value;
  }
  const spiffeId = facts.spiffeId?.toString();
  if (spiffeId !== undefined && spiffeId !== act.subject) stated['spiffeId'] = spiffeId;
  if (facts.kind === 'jwt-svid') {
    if (detail['audience'] === undefined) stated['audience'] = facts.audiences ?? [];
    return stated;
  }
  const { dnsNames = [], ips = [], profile, keyType } = facts;
  if (keyType !== undefined) stated['keyType'] = keyType;
  if (profile !== undefined && facts.kind !== 'downstream' && profile !== detail['profile'])
    stated['profile'] = profile;
  if (!isOne(dnsNames, nameIn(act.subject, 'dns:'))) stated['dnsNames'] = dnsNames;
  if (!isOne(ips, nameIn(act.subject, 'ip:'))) stated['ips'] = ips;
  return stated;
}

/** Where records have the later facts. */
const laterFields: Readonly<Record<LaterFact, string>> = {
  tenant: 'tenant',
  eabKeyId: 'eabKey',
  exchangedBy: 'exchangedBy',
  exchangedDelegation: 'exchangedDelegation',
  tokenIssuer: 'tokenIssuer',
  tokenSubject: 'tokenSubject',
};

const secondOf = ({ timeMs }: RecordedAct): number => Math.floor(timeMs / 1000);

/** The kind of request by the record alone. A CA downstream has the kind of all authorities. */
function kindOf({ kind, detail }: RecordedAct): string | undefined {
  const { certificateKind } = detail;
  if (kind.startsWith('jwt.')) return 'jwt-svid';
  if (certificateKind === 'authority') return 'downstream';
  return typeof certificateKind === 'string' ? certificateKind : undefined;
}

const nameIn = (subject: string, prefix: string): string | undefined =>
  subject.startsWith(prefix) ? subject.slice(prefix.length) : undefined;

const isOne = (names: readonly string[], name: string | undefined): boolean =>
  name === undefined ? names.length === 0 : names.length === 1 && names[0] === name;

/** What a record says of a decision on a request. */
export type DecidedFacts =
  | {
      readonly type: 'decided';
      readonly facts: PolicyFacts;
      readonly allowed: boolean;
      /** 0: the built-in policy. */
      readonly version: number;
      readonly rule: string | undefined;
    }
  /** The request was subject to a policy, and its record can not show all its facts. */
  | { readonly type: 'unknown'; readonly why: 'older' | 'differs' }
  /** No policy decides about it. */
  | { readonly type: 'none' };

/** Records of what was issued under a policy. */
export const issuedKinds: ReadonlySet<string> = new Set([
  'certificate.issued',
  'authority.downstream',
  'jwt.issued',
]);
const refusals = new Set(['certificate.refused', 'request.refused']);
/** The codes of refusals by a policy. */
const denials: ReadonlySet<unknown> = new Set(['POLICY_DENIED', 'POLICY_FAILED']);
/** Certificates of these kinds are not subject to a policy. */
const untouched: ReadonlySet<unknown> = new Set(['agent', 'server']);

/**
 * What a record says of a decision. A record from before the facts were recorded is `older`: what
 * it lacks is never guessed. One whose facts have another digest than the decided ones `differs`.
 */
export function decisionIn(act: RecordedAct): DecidedFacts {
  const { kind, detail } = act;
  const isIssued = issuedKinds.has(kind);
  if (!isIssued && !(refusals.has(kind) && denials.has(detail['code']))) return { type: 'none' };
  if (untouched.has(detail['certificateKind'])) return { type: 'none' };
  const facts = factsIn(act);
  if (facts === undefined) return { type: 'unknown', why: 'older' };
  const { policyVersion, policyFacts, policyRule } = detail;
  if (policyFacts !== undefined && !digestsOf(facts).includes(policyFacts))
    return { type: 'unknown', why: 'differs' };
  return {
    type: 'decided',
    facts,
    allowed: isIssued,
    version: typeof policyVersion === 'number' ? policyVersion : 0,
    rule: typeof policyRule === 'string' ? policyRule : undefined,
  };
}

/** As this release decides, and as one did that knew none of the later facts. */
function digestsOf(facts: PolicyFacts): readonly unknown[] {
  const earlier: Partial<Record<LaterFact, string>> & PolicyFacts = { ...facts };
  for (const name of laterFacts) delete earlier[name];
  return [factsSha256(facts), factsSha256(earlier)];
}

/** Earlier records for the holder of a token have its subject as well, and it was no fact. */
function laterIn(detail: RecordedAct['detail']): ReturnType<typeof statedLater> {
  const { tokenIssuer } = laterFields;
  const hasToken = text(detail[tokenIssuer]) !== undefined;
  return statedLater({
    tenant: text(detail[laterFields.tenant]),
    eabKeyId: text(detail[laterFields.eabKeyId]),
    exchangedBy: text(detail[laterFields.exchangedBy]),
    exchangedDelegation: text(detail[laterFields.exchangedDelegation]),
    tokenIssuer: text(detail[tokenIssuer]),
    tokenSubject: hasToken ? text(detail[laterFields.tokenSubject]) : undefined,
  });
}

/** Undefined: the record does not have them. */
function factsIn(act: RecordedAct): PolicyFacts | undefined {
  const { detail, subject } = act;
  const caller = oneOf(policyCallers, detail['callerClass']);
  const kind = oneOf(policyKinds, detail['policyKind'] ?? kindOf(act));
  if (caller === undefined || kind === undefined) return undefined;
  const isJwt = kind === 'jwt-svid';
  const spiffeId = spiffeIdIn(text(detail['spiffeId']) ?? subject, kind);
  if (spiffeId === null) return undefined;
  return {
    at: count(detail['policyAt']) ?? secondOf(act),
    kind,
    caller,
    callerName: text(detail['callerName']) ?? act.actor,
    spiffeId,
    dnsNames: isJwt ? undefined : namesIn(detail['dnsNames'], nameIn(subject, 'dns:')),
    ips: isJwt ? undefined : namesIn(detail['ips'], nameIn(subject, 'ip:')),
    audiences: isJwt ? namesIn(detail['audience'], undefined) : undefined,
    profile: isJwt ? undefined : profileIn(kind, detail['profile']),
    keyType: isJwt ? undefined : oneOf(keyTypes, detail['keyType']),
    ttlSeconds: count(detail['ttlSeconds']) ?? count(detail['cutFromSeconds']),
    entryId: text(detail['entry']),
    delegationId: text(detail['delegation']),
    ...laterIn(detail),
  };
}

/** Null: a text that must be an ID and is none. */
function spiffeIdIn(text: string, kind: PolicyKind): SpiffeId | undefined | null {
  if (kind === 'downstream' || !text.startsWith('spiffe://')) return undefined;
  const parsed = SpiffeId.parse(text);
  return parsed.ok ? parsed.value : null;
}

const oneOf = <const T extends string>(values: readonly T[], value: unknown): T | undefined =>
  values.find((known) => known === value);

const profileIn = (kind: PolicyKind, value: unknown) =>
  kind === 'downstream' ? 'downstream' : oneOf(policyProfiles, value);

const text = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : undefined;
const count = (value: unknown): number | undefined =>
  typeof value === 'number' ? value : undefined;
const namesIn = (value: unknown, name: string | undefined): readonly string[] =>
  Array.isArray(value) ? value.map(String) : name === undefined ? [] : [name];
