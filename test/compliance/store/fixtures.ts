import { randomBytes } from 'node:crypto';
import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import { systemClock, uuidv7, type Clock } from '../../../src/common/runtime/index.ts';
import { parseSelector } from '../../../src/common/spiffe/index.ts';
import {
  finishingStates,
  type Agent,
  type AuditEvent,
  type AuditValue,
  type Authority,
  type AuthorityKind,
  type AuthorityRight,
  type Delegation,
  type EntryDraft,
  type Intent,
  type JoinToken,
  type Rights,
  type Role,
} from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import type { EntryWrite, FinishItem, Page, PageRequest } from '../../../src/store/ports/index.ts';

/** What an engine gives to the suite. */
export interface OpenedStore {
  readonly store: Ledger;
  readonly clock: ManualClock;
  /** Closes it and opens the same database again. */
  reopen(): Promise<OpenedStore>;
  /** Closes it and deletes everything. */
  [Symbol.asyncDispose](): Promise<void>;
}
export type OpenStore = (options?: { readonly removalLimit?: number }) => Promise<OpenedStore>;

/**
 * Both clocks are set by hand, so that no group of writes is split because the machine was slow;
 * timers are real.
 */
export class ManualClock implements Clock {
  #now = 1_800_000_000;
  readonly now = (): number => this.#now;
  readonly nowMs = (): number => this.#now * 1000;
  readonly monotonicMs = (): number => this.#now * 1000;
  readonly sleep = systemClock.sleep;
  readonly #delays = new Map<object, number>();
  readonly after = (delayMs: number, callback: () => void): (() => void) => {
    const timer = {};
    this.#delays.set(timer, delayMs);
    const cancel = systemClock.after(delayMs, () => {
      this.#delays.delete(timer);
      callback();
    });
    return () => {
      this.#delays.delete(timer);
      cancel();
    };
  };
  /** Whether a timer of this length or a shorter one runs. */
  waits(delayMs: number): boolean {
    return [...this.#delays.values()].some((each) => each <= delayMs);
  }
  advance(seconds: number): void {
    this.#now += seconds;
  }
}

export const start = 1_800_000_000;
export const agentId = 'spiffe://example.org/meshca/agent/node-1';
export const serverId = 'spiffe://example.org/meshca/server';

export const event = (
  kind: string,
  subject = 'x',
  detail: Record<string, AuditValue> = {},
): AuditEvent => ({
  timeMs: start * 1000,
  actor: 'uid:0',
  kind,
  subject,
  detail,
});

let serials = 0;
export const newSerial = (): string => {
  serials += 1;
  const serial = randomBytes(16);
  serial.writeUIntBE(0x5a_00_00_00_00_00 + serials, 0, 6);
  return serial.toString('hex');
};
export const digest = (): string => randomBytes(32).toString('hex');

export const intent = (changes: Partial<Intent> = {}): Intent => ({
  serial: newSerial(),
  spiffeId: 'spiffe://example.org/web',
  kind: 'workload',
  profile: 'short-lived',
  entryId: null,
  delegationId: null,
  requester: agentId,
  holder: agentId,
  publicKeySha256: digest(),
  requestId: uuidv7(),
  authorityId: 'authority-1',
  createdAtMs: start * 1000,
  notBefore: start - 30,
  notAfter: start + 3600,
  replaces: null,
  shard: 0,
  tenant: null,
  tbsDer: Buffer.from('tbs'),
  names: { dnsNames: [], ips: [] },
  ...changes,
});

/** The right of an authority to finish a signature. */
export const mayFinish = (id: string): AuthorityRight => ({
  kind: 'authority',
  id,
  states: finishingStates,
});

export const signed = (item: Intent, rights: Rights): FinishItem => ({
  kind: 'signed',
  serial: item.serial,
  certificateDer: Buffer.from(`certificate ${item.serial}`),
  sha256: digest(),
  rights,
  event: {
    ...event(issuedKind(item), item.serial, {
      spiffeId: item.spiffeId,
      serial: item.serial,
      certificateKind: item.kind,
      holder: item.holder,
      authority: item.authorityId,
      notAfter: item.notAfter,
    }),
    timeMs: item.createdAtMs,
  },
});

const issuedKind = ({ kind, holder }: Intent): string => {
  if (kind !== 'authority') return 'certificate.issued';
  return holder === 'server' ? 'authority.prepared' : 'authority.downstream';
};

/**
 * A self-signed P-256 certificate (openssl) with serial 5a0102030405060708090a0b0c0d0e0f and the
 * URI spiffe://example.org.
 */
export const rootDer = Buffer.from(
  'MIIBmzCCAUCgAwIBAgIQWgECAwQFBgcICQoLDA0ODzAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAl0ZXN0IHJvb3Qw' +
    'HhcNMjYxMTI0MjEwMDE3WhcNMzYxMTIxMjEwMDE3WjAUMRIwEAYDVQQDDAl0ZXN0IHJvb3QwWTATBgcqhkjOPQIB' +
    'BggqhkjOPQMBBwNCAARgwADYFnIatNyiRDB3zsSAsFSsQMrTs0mBXh7SBnX8MAWQc6Ts/Z965Y3IsSVebzmg0fQh' +
    'hf6rAYJiyDKmUFuGo3QwcjAdBgNVHQ4EFgQUZbbMQW/Ho9zvq0MwHWava7ptgd8wHwYDVR0jBBgwFoAUZbbMQW/H' +
    'o9zvq0MwHWava7ptgd8wDwYDVR0TAQH/BAUwAwEB/zAfBgNVHREEGDAWhhRzcGlmZmU6Ly9leGFtcGxlLm9yZzAK' +
    'BggqhkjOPQQDAgNJADBGAiEArUJgEWtH8isntF4zTikzvcu5cbAPvraTbqs7iQGCUeECIQCAQU19YTAGhDwifS6E' +
    'o09x+i/B9i45lakhHJYBVH6Gug==',
  'base64',
);
export const rootSerial = '5a0102030405060708090a0b0c0d0e0f';

export const authority = (changes: Partial<Authority> = {}): Authority => ({
  id: uuidv7(),
  kind: 'issuing',
  state: 'preparing',
  version: 1,
  keyType: 'ec-p256',
  token: 'issuing',
  ckaId: randomBytes(8).toString('hex'),
  parentId: null,
  scope: {},
  spkiDer: null,
  certificateDer: null,
  subjectKeyId: null,
  notBefore: 0,
  notAfter: 0,
  createdAt: start,
  activatedAt: null,
  taintedAt: null,
  publishedAt: null,
  taintWindowSeconds: null,
  ...changes,
});

export const jwtMade = {
  spkiDer: Buffer.from('spki'),
  certificateDer: null,
  subjectKeyId: null,
  notBefore: start,
  notAfter: start + 86_400,
};

/** An authority that signs. */
export async function activeAuthority(
  store: Ledger,
  kind: AuthorityKind = 'jwt',
): Promise<Authority> {
  const made = authority({ kind });
  await store.authorities.create(made, event('authority.created', made.id));
  let now = await store.authorities.complete(
    { id: made.id, version: 1 },
    jwtMade,
    event('authority.prepared', made.id),
  );
  for (const state of ['published', 'active'] as const) {
    now = await store.authorities.transition(
      { id: now.id, version: now.version, now: start },
      state,
      event(`authority.${state}`, now.id),
    );
  }
  return now;
}

/** Records an intent and finishes it as signed under an active authority's right alone. */
export async function issued(
  store: Ledger,
  authorityId: string,
  changes: Partial<Intent> = {},
): Promise<Intent> {
  const one = intent({ authorityId, ...changes });
  await store.issuance.recordIntents([one]);
  const [outcome] = await store.issuance.finish([signed(one, [mayFinish(authorityId)])]);
  if (outcome?.state !== 'issued') throw new Error(`not issued: ${JSON.stringify(outcome)}`);
  return one;
}

export const draft = (
  changes: Partial<EntryDraft> = {},
  selectors: readonly string[] = ['unix:uid:1000'],
): EntryDraft => ({
  id: uuidv7(),
  spiffeId: 'spiffe://example.org/web',
  isTemplate: false,
  placeholders: {},
  parentId: agentId,
  selectors: selectors.map((text) => {
    const parsed = parseSelector(text);
    if (!parsed.ok) throw parsed.error;
    return parsed.value;
  }),
  x509TtlSeconds: 0,
  jwtTtlSeconds: 0,
  profile: 'short-lived',
  dnsNames: [],
  hint: '',
  expiresAt: 0,
  admin: false,
  downstream: false,
  allowWeakSelectors: false,
  federatesWith: [],
  ips: [],
  ...changes,
});
export const creates = (made: EntryDraft): EntryWrite => ({
  action: 'create',
  id: made.id,
  draft: made,
  revision: 0,
  event: event('entry.created', made.id),
});
export const updates = (made: EntryDraft, revision = 0): EntryWrite => ({
  action: 'update',
  id: made.id,
  draft: made,
  revision,
  event: event('entry.updated', made.id),
});
export const deletes = (id: string, revision = 0): EntryWrite => ({
  action: 'delete',
  id,
  revision,
  event: event('entry.deleted', id),
});
export const by = { now: start, createdBy: 'uid:0' };

type Attested = Omit<
  Agent,
  'generation' | 'line' | 'state' | 'stateReason' | 'lastSeenAt' | 'survivedOutageSeconds'
>;
export const attested = (changes: Partial<Attested> = {}): Attested => ({
  spiffeId: agentId,
  attestationType: 'join_token',
  selectors: [{ type: 'join_token', value: 'x' }],
  serial: newSerial(),
  spkiDer: Buffer.from('agent key'),
  attestedAt: start,
  renewedAt: start,
  svidNotAfter: start + 3600,
  version: '0.1.0',
  ...changes,
});

export const joinToken = (changes: Partial<JoinToken> = {}): JoinToken => ({
  id: uuidv7(),
  tokenSha256: digest(),
  agentId,
  nodeSelectors: [],
  expiresAt: start + 600,
  boundPublicKeySha256: null,
  usedAt: null,
  resultSerial: null,
  createdBy: 'uid:0',
  createdAt: start,
  ...changes,
});

export const delegation = (changes: Partial<Delegation> = {}): Delegation => ({
  id: uuidv7(),
  clientId: 'spiffe://example.org/istiod',
  patterns: ['spiffe://example.org/ns/*/sa/*'],
  maxTtlSeconds: 3600,
  keyTypes: ['ec-p256'],
  dnsPatterns: [],
  ipRanges: [],
  wildcards: false,
  profile: 'short-lived',
  expiresAt: 0,
  revokedAt: null,
  createdAt: start,
  createdBy: 'uid:0',
  ...changes,
});

export const role = (changes: Partial<Role> = {}): Role => ({
  name: 'auditor',
  verbs: ['*.read'],
  prefixes: ['spiffe://example.org/'],
  members: ['spiffe://example.org/alice'],
  createdAt: start,
  updatedAt: start,
  ...changes,
});

export async function everyPage<T>(
  read: (page: PageRequest) => Promise<Page<T>>,
  size: number,
): Promise<readonly T[]> {
  const items: T[] = [];
  for (let after: string | undefined; ; ) {
    const page = await read(after === undefined ? { size } : { size, after });
    items.push(...page.items);
    if (page.next === undefined) return items;
    after = page.next;
  }
}

export const code =
  (expected: ErrorCode) =>
  (error: unknown): boolean => {
    if (error instanceof PkiError && error.code === expected) return true;
    throw error;
  };
