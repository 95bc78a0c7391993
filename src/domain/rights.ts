import { nextFreePlace, type QuotaOwner, type QuotaPlace } from '../common/policy/index.ts';
import type { ErrorCode } from '../common/errors/index.ts';
import { acmeAccount, acmeOrder, eabKey, tenant } from './acme/rights.ts';
import { standingIn } from './agent-line.ts';
import type { AuthorityState } from './authority.ts';
import { blockedKeyText } from './blocked-key.ts';
import { agent, caller, delegation, entry } from './holder-rights.ts';
import {
  ended,
  type ReadProven,
  type ReadRow,
  type RightEnded,
  type RightKind,
  type WantRow,
} from './right-kind.ts';

/** The authority is in one of these states. */
export interface AuthorityRight {
  readonly kind: 'authority';
  readonly id: string;
  readonly states: readonly AuthorityState[];
}

/**
 * The states in which an authority may finish a signature. An authority that just became old
 * finishes its recorded intents: its retirement waits for them.
 */
export const finishingStates: readonly AuthorityState[] = ['active', 'old'];

const authority: RightKind<AuthorityRight> = {
  rows: ({ id }, want) => want('authority', id),
  ended({ id, states }, read) {
    const state = read('authority', id)?.state;
    return state !== undefined && states.includes(state)
      ? undefined
      : ended('AUTHORITY_TAINTED', `authority ${id} is ${state ?? 'gone'} and signs no more`);
  },
};

/** The SVID with which the agent calls is in use, or descends from the one in use. */
export interface AgentSvidRight {
  readonly kind: 'agent-svid';
  readonly spiffeId: string;
  readonly serial: string;
}

const agentSvid: RightKind<AgentSvidRight> = {
  rows: ({ spiffeId }, want) => want('agent-line', spiffeId),
  ended({ spiffeId, serial }, read) {
    const line = read('agent-line', spiffeId)?.line;
    if (line === undefined)
      return ended('AGENT_EVICTED', `there is no record of agent ${spiffeId}`);
    return standingIn(line, serial) === 'full'
      ? undefined
      : ended('AGENT_SUPERSEDED', `a newer SVID of agent ${spiffeId} is in use`);
  },
};

/** The key in the certificate is not blocked. */
export interface KeyRight {
  readonly kind: 'key';
  readonly publicKeySha256: string;
}

const key: RightKind<KeyRight> = {
  rows: ({ publicKeySha256 }, want) => want('public-key', publicKeySha256),
  ended: ({ publicKeySha256 }, read) =>
    read('public-key', publicKeySha256)?.blocked === false
      ? undefined
      : ended('KEY_BLOCKED', blockedKeyText(publicKeySha256)),
};

/** The version of the built-in policy. */
export const builtInPolicyVersion = 0;

/** The policy that allowed the item is still the present one. */
export interface PolicyRight {
  readonly kind: 'policy';
  readonly version: number;
}

const policy: RightKind<PolicyRight> = {
  rows: (_, want) => want('policy', ''),
  ended({ version }, read) {
    const present = read('policy', '')?.version;
    return present === version
      ? undefined
      : ended(
          'POLICY_CHANGED',
          `version ${version} of the policy allowed this, but version ${present} is now in force`,
        );
  },
};

/** A place in a quota is free. */
export interface QuotaRight extends QuotaPlace {
  readonly kind: 'quota';
}

const quota: RightKind<QuotaRight> = {
  rows: ({ counter }, want) => want('quota', counter),
  ended: (right, read, now) => placeEnded(right, read('quota', right.counter)?.ends ?? [], now),
};

/** Why no place is free. Undefined: one is. */
export function placeEnded(
  place: QuotaPlace,
  ends: readonly number[],
  now: number,
): RightEnded | undefined {
  const free = nextFreePlace(place, ends, now);
  if (free === undefined) return undefined;
  const { of = 'rule', rule, limit, perSeconds } = place;
  const { code, owner } = quotaOwners[of];
  return ended(
    code,
    `${owner(rule)} allows ${limit} in ${perSeconds} s, and all are used; the next place is free ` +
      `at ${new Date(free * 1000).toISOString()}`,
  );
}

const quotaOwners: Readonly<
  Record<QuotaOwner, { readonly code: ErrorCode; readonly owner: (name: string) => string }>
> = {
  rule: { code: 'POLICY_QUOTA_USED', owner: (name) => `the rule ${name} of the policy` },
  tenant: { code: 'TENANT_QUOTA_USED', owner: (name) => `the quota of the tenant ${name}` },
  'eab-key': { code: 'EAB_QUOTA_USED', owner: (name) => `the quota of the EAB key ${name}` },
};

const kinds = {
  authority,
  entry,
  agent,
  'agent-svid': agentSvid,
  delegation,
  caller,
  key,
  policy,
  quota,
  tenant,
  'eab-key': eabKey,
  'acme-account': acmeAccount,
  'acme-order': acmeOrder,
} as const;

/**
 * One right under which an item was prepared. The list of kinds is open: a new kind is a row in
 * `kinds`, and no other code has to know it.
 */
export type Right = {
  [K in keyof typeof kinds]: (typeof kinds)[K] extends RightKind<infer R> ? R : never;
}[keyof typeof kinds];

/**
 * The rights under which an item was prepared. Those with the most specific refusal come first. The
 * last transaction checks each one again, under the lock that taint, ban, delete and revoke also
 * take. The first that no longer stands makes the certificate withheld.
 */
export type Rights = readonly Right[];

/** Names every row that these rights read. A right of an unknown kind reads none. */
export function wantRows(rights: Rights, want: WantRow): void {
  for (const right of rights) kindOf(right)?.rows(right, want);
}

/**
 * The first right that no longer stands at `now`. A right of an unknown kind does not stand: an
 * older server refuses what it can not check. A right whose row the log does not vouch for does not
 * stand either, whatever the row says.
 */
export function firstEnded(rights: Rights, read: ReadRow, now: number): RightEnded | undefined {
  for (const right of rights) {
    const kind = kindOf(right);
    if (kind === undefined)
      return ended('WITHHELD', `this server can not check a right of kind ${right.kind}`);
    let altered: RightEnded | undefined;
    const readProven: ReadProven = (noun, key) => {
      const row = read(noun, key);
      if (row !== 'unproven') return row;
      altered ??= ended('OBJECT_NOT_IN_LOG', `the ${noun} ${key} differs from the audit log`);
      return undefined;
    };
    const why = kind.ended(right, readProven, now);
    if (altered !== undefined || why !== undefined) return altered ?? why;
  }
  return undefined;
}

function kindOf(right: Right): RightKind<Right> | undefined {
  return Object.hasOwn(kinds, right.kind) ? (kinds[right.kind] as RightKind<Right>) : undefined;
}
