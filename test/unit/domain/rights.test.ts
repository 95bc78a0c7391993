import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  firstEnded,
  finishingStates,
  wantRows,
  type EabKeySource,
  type Right,
  type RightNoun,
  type RightRows,
  type Rights,
} from '../../../src/domain/index.ts';

const now = 1_000;
const rows: { readonly [N in RightNoun]: RightRows[N] } = {
  authority: { state: 'active' },
  entry: { revision: 3, expiresAt: now + 1 },
  agent: { state: 'active', generation: 2 },
  'agent-line': {
    line: {
      spiffeId: 'spiffe://mesh.test/meshca/agent/n',
      svids: [
        { serial: '30', renewed: null },
        { serial: '40', renewed: '30' },
      ],
      inUse: '40',
      kept: '30',
    },
  },
  delegation: { revokedAt: null, expiresAt: 0 },
  certificate: { state: 'issued', notBefore: now, notAfter: now, revoked: false },
  'public-key': { blocked: false },
  policy: { version: 7 },
  quota: { ends: [now, now + 5] },
  tenant: { state: 'active' },
  'eab-key': { revokedAt: null, expiresAt: now + 1, source: null },
  'acme-account': { status: 'valid' },
  'acme-order': {
    version: 4,
    stage: 'finalizing',
    authorizations: [{ identifier: { type: 'dns', value: 'a.example.org' }, status: 'valid' }],
  },
};
const standing: Rights = [
  { kind: 'authority', id: 'a', states: finishingStates },
  { kind: 'entry', id: 'e', revision: 3 },
  { kind: 'agent', spiffeId: 'spiffe://mesh.test/meshca/agent/n', generation: 2 },
  { kind: 'agent-svid', spiffeId: 'spiffe://mesh.test/meshca/agent/n', serial: '40' },
  { kind: 'delegation', id: 'd' },
  { kind: 'caller', serial: '40' },
  { kind: 'key', publicKeySha256: 'ab' },
  { kind: 'policy', version: 7 },
  { kind: 'quota', counter: 'r', rule: 'r', limit: 2, perSeconds: 60 },
  { kind: 'tenant', name: 't' },
  { kind: 'eab-key', id: 'k' },
  { kind: 'acme-account', id: 'a' },
  { kind: 'acme-order', id: 'o', version: 4 },
];

type Rows = { readonly [N in RightNoun]?: RightRows[N] | 'unproven' | undefined };

/** Judges with the rows that the rights named, and no others. */
function judge(rights: Rights, changed: Rows = {}): string | undefined {
  const named = new Set<string>();
  const all: Rows = { ...rows, ...changed };
  wantRows(rights, (noun, key) => {
    named.add(`${noun} ${key}`);
    return all[noun] as never;
  });
  return firstEnded(
    rights,
    (noun, key) => {
      assert.ok(named.has(`${noun} ${key}`), `${noun} ${key} is read and was not named`);
      return all[noun] as never;
    },
    now,
  )?.code;
}

test('rights stand while their rows are what they were', () => {
  assert.equal(judge(standing), undefined);
  assert.equal(judge([]), undefined);
});

test('each kind names the rows that it reads, and says why it ended', () => {
  const endings: readonly (readonly [Rows, string])[] = [
    [{ authority: undefined }, 'AUTHORITY_TAINTED'],
    [{ authority: { state: 'tainted' } }, 'AUTHORITY_TAINTED'],
    [{ entry: undefined }, 'ENTRY_NOT_AUTHORIZED'],
    [{ entry: { revision: 4, expiresAt: 0 } }, 'ENTRY_CHANGED'],
    [{ entry: { revision: 3, expiresAt: now } }, 'ENTRY_NOT_AUTHORIZED'],
    [{ agent: undefined }, 'AGENT_EVICTED'],
    [{ agent: { state: 'banned', generation: 2 } }, 'AGENT_BANNED'],
    [{ agent: { state: 'evicted', generation: 2 } }, 'AGENT_EVICTED'],
    [{ agent: { state: 'active', generation: 3 } }, 'AGENT_SUPERSEDED'],
    [{ 'agent-line': undefined }, 'AGENT_EVICTED'],
    [
      {
        'agent-line': {
          line: {
            spiffeId: 'spiffe://mesh.test/meshca/agent/n',
            svids: [
              { serial: '40', renewed: null },
              { serial: '50', renewed: '40' },
            ],
            inUse: '50',
            kept: '40',
          },
        },
      },
      'AGENT_SUPERSEDED',
    ],
    [{ delegation: undefined }, 'OUTSIDE_DELEGATION'],
    [{ delegation: { revokedAt: 1, expiresAt: 0 } }, 'OUTSIDE_DELEGATION'],
    [{ delegation: { revokedAt: null, expiresAt: now } }, 'OUTSIDE_DELEGATION'],
    [{ certificate: undefined }, 'CERTIFICATE_UNKNOWN'],
    [{ certificate: { ...rows.certificate, state: 'withheld' } }, 'CERTIFICATE_UNKNOWN'],
    [{ certificate: { ...rows.certificate, revoked: true } }, 'CERTIFICATE_REVOKED'],
    [{ certificate: { ...rows.certificate, notAfter: now - 1 } }, 'CERTIFICATE_EXPIRED'],
    [{ certificate: { ...rows.certificate, notBefore: now + 1 } }, 'CERTIFICATE_EXPIRED'],
    [{ 'public-key': { blocked: true } }, 'KEY_BLOCKED'],
    [{ 'public-key': undefined }, 'KEY_BLOCKED'],
    [{ policy: { version: 8 } }, 'POLICY_CHANGED'],
    [{ policy: undefined }, 'POLICY_CHANGED'],
    [{ quota: { ends: [now + 5, now + 1] } }, 'POLICY_QUOTA_USED'],
    [{ tenant: undefined }, 'TENANT_ENDED'],
    [{ tenant: { state: 'ended' } }, 'TENANT_ENDED'],
    [{ 'eab-key': undefined }, 'EAB_KEY_ENDED'],
    [{ 'eab-key': { revokedAt: 1, expiresAt: 0, source: null } }, 'EAB_KEY_ENDED'],
    [{ 'eab-key': { revokedAt: null, expiresAt: now, source: null } }, 'EAB_KEY_ENDED'],
    [{ 'acme-account': undefined }, 'ACME_ACCOUNT_ENDED'],
    [{ 'acme-account': { status: 'deactivated' } }, 'ACME_ACCOUNT_ENDED'],
    [{ 'acme-account': { status: 'revoked' } }, 'ACME_ACCOUNT_ENDED'],
    [{ 'acme-order': undefined }, 'ACME_ORDER_ENDED'],
    [{ 'acme-order': { ...rows['acme-order'], version: 5 } }, 'ACME_ORDER_ENDED'],
    [{ 'acme-order': { ...rows['acme-order'], stage: 'issued' } }, 'ACME_ORDER_ENDED'],
    [
      {
        'acme-order': {
          ...rows['acme-order'],
          authorizations: (['valid', 'deactivated'] as const).map((status) => ({
            identifier: { type: 'dns', value: 'b.example.org' },
            status,
          })),
        },
      },
      'ACME_ORDER_ENDED',
    ],
  ];
  for (const [changed, code] of endings)
    assert.equal(judge(standing, changed), code, JSON.stringify(changed));
});

test('a quota names whose it is, its limit, and when the next place is free', () => {
  const taken = { ends: [now + 5, now + 60] };
  for (const [of, code, text] of [
    ['rule', 'POLICY_QUOTA_USED', 'the rule x of the policy allows 2 in 60 s'],
    ['tenant', 'TENANT_QUOTA_USED', 'the quota of the tenant x allows 2 in 60 s'],
    ['eab-key', 'EAB_QUOTA_USED', 'the quota of the EAB key x allows 2 in 60 s'],
  ] as const) {
    const place = { counter: 'c', of, rule: 'x', limit: 2, perSeconds: 60 };
    const why = firstEnded([{ kind: 'quota', ...place }], () => taken as never, now);
    assert.equal(why?.code, code);
    assert.ok(why.message.startsWith(text), why.message);
    assert.match(why.message, /free at 1970-01-01T00:16:45/);
  }
});

test('no right stands on a row that the log does not vouch for', () => {
  for (const noun of Object.keys(rows) as RightNoun[])
    assert.equal(judge(standing, { [noun]: 'unproven' }), 'OBJECT_NOT_IN_LOG', noun);
});

test('the first right of the list that ended is the one that is named', () => {
  const gone: Rows = { entry: undefined, agent: undefined };
  assert.equal(judge(standing, gone), 'ENTRY_NOT_AUTHORIZED');
  assert.equal(judge([...standing].reverse(), gone), 'AGENT_EVICTED');
});

test('an authority that has become old finishes a leaf, and nothing where only active counts', () => {
  const old: Rows = { authority: { state: 'old' } };
  assert.equal(judge(standing, old), undefined);
  assert.equal(
    judge([{ kind: 'authority', id: 'a', states: ['active'] }], old),
    'AUTHORITY_TAINTED',
  );
});

test('a right of a kind that is not in the list does not stand', () => {
  for (const kind of ['weather', 'constructor', '__proto__'])
    assert.equal(judge([{ kind } as unknown as Right]), 'WITHHELD');
});

const common = { spiffeId: 'spiffe://mesh.test/shop/ci', delegationId: 'd' };
const svid: EabKeySource = { ...common, by: 'svid', serial: '40', agent: 'a' };
const token: EabKeySource = {
  ...common,
  ...{ by: 'token', issuer: 'ci', subject: 's', use: 'ab', entryId: 'e', entryRevision: 3 },
};
const exchanged = (source: EabKeySource) => ({
  'eab-key': { revokedAt: null, expiresAt: now + 1, source },
});
const eabKey: Rights = [{ kind: 'eab-key', id: 'k' }];

test('an exchanged key stands as long as its source, over later sessions of the agent', () => {
  assert.equal(judge(eabKey, exchanged(svid)), undefined);
  assert.equal(judge(eabKey, exchanged(token)), undefined);
  assert.equal(judge(eabKey, exchanged({ ...svid, agent: null })), undefined);
  assert.equal(
    judge(eabKey, { ...exchanged(svid), agent: { state: 'active', generation: 9 } }),
    undefined,
  );
});

test('an exchanged key ends with its source', () => {
  const ended: readonly (readonly [EabKeySource, Rows])[] = [
    ...[svid, token].flatMap((source) => [
      [source, { delegation: undefined }] as const,
      [source, { delegation: { revokedAt: 1, expiresAt: 0 } }] as const,
      [source, { delegation: { revokedAt: null, expiresAt: now } }] as const,
    ]),
    [svid, { agent: { state: 'banned', generation: 2 } }],
    [svid, { agent: { state: 'evicted', generation: 2 } }],
    [svid, { agent: undefined }],
    [svid, { certificate: { ...rows.certificate, revoked: true } }],
    [svid, { certificate: { ...rows.certificate, notAfter: now - 1 } }],
    [token, { entry: undefined }],
    [token, { entry: { revision: 4, expiresAt: 0 } }],
    [token, { entry: { revision: 3, expiresAt: now } }],
  ];
  for (const [source, change] of ended)
    assert.equal(
      judge(eabKey, { ...exchanged(source), ...change }),
      'EAB_KEY_ENDED',
      `${source.by} ${JSON.stringify(change)}`,
    );
  for (const noun of ['delegation', 'entry'] as const)
    assert.equal(
      judge(eabKey, { ...exchanged(token), [noun]: 'unproven' }),
      'OBJECT_NOT_IN_LOG',
      noun,
    );
});
