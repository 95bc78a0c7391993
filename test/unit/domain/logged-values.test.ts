import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import {
  deletedObject,
  loggedObject,
  loggedText,
  loggedVersions,
  logObjectKinds,
  type LoggedValues,
} from '../../../src/domain/index.ts';

const values: { readonly [Kind in keyof LoggedValues]: LoggedValues[Kind] } = {
  entry: {
    id: 'web',
    spiffeId: 'spiffe://example.org/{unix.user}',
    isTemplate: true,
    placeholders: { 'unix.user': ['alice', 'bob'] },
    parentId: 'spiffe://example.org/meshca/agent/node-1',
    selectors: [
      { type: 'unix', value: 'user:web' },
      { type: 'unix', value: 'gid:5' },
    ],
    x509TtlSeconds: 60,
    jwtTtlSeconds: 0,
    profile: 'short-lived',
    dnsNames: ['web.example.org'],
    hint: 'a "hint"',
    expiresAt: 9,
    admin: false,
    downstream: true,
    allowWeakSelectors: false,
    revision: 7,
    createdAt: 1,
    updatedAt: 2,
    createdBy: 'uid:0',
    createdOrder: 5,
    federatesWith: ['partner.example.org'],
    ips: ['192.0.2.7'],
  },
  delegation: {
    id: 'd',
    clientId: 'spiffe://example.org/cp',
    patterns: ['spiffe://example.org/ns/*'],
    maxTtlSeconds: 3600,
    keyTypes: ['ec-p256'],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: 'short-lived',
    expiresAt: 0,
    revokedAt: null,
    createdAt: 1,
    createdBy: 'uid:0',
  },
  role: {
    name: 'ops',
    verbs: ['entry.*'],
    prefixes: ['spiffe://example.org/a/'],
    members: ['spiffe://example.org/alice'],
    createdAt: 1,
    updatedAt: 2,
  },
  authority: {
    id: 'a',
    kind: 'issuing',
    state: 'active',
    version: 4,
    keyType: 'ec-p256',
    token: 'issuing',
    ckaId: 'ab',
    parentId: null,
    scope: { share: 0.5 },
    spkiDer: Buffer.from('key'),
    certificateDer: null,
    subjectKeyId: null,
    notBefore: 1,
    notAfter: 2,
    createdAt: 1,
    activatedAt: 1,
    taintedAt: null,
  },
  agent: {
    spiffeId: 'spiffe://example.org/meshca/agent/node-1',
    attestationType: 'join_token',
    selectors: [{ type: 'node', value: 'a' }],
    state: 'active',
    stateReason: 'not digested',
    generation: 1,
    serial: '0a',
    spkiDer: Buffer.from('key'),
    attestedAt: 1,
    renewedAt: 2,
    svidNotAfter: 3,
    lastSeenAt: 4,
    version: 'not digested',
    survivedOutageSeconds: 5,
  },
  'join-token': {
    id: 't',
    tokenSha256: 'ab',
    agentId: 'spiffe://example.org/meshca/agent/node-1',
    nodeSelectors: [],
    expiresAt: 9,
    boundPublicKeySha256: 'cd',
    usedAt: 8,
    resultSerial: '0a',
    createdBy: 'uid:0',
    createdAt: 1,
  },
  bundle: { sequence: 3, document: '{}', jws: 'a.b.c', createdAt: 1 },
  rotation: {
    id: 'r',
    kind: 'root',
    state: 'running',
    version: 1,
    spec: { goal: 'replace' } as never,
    createdBy: 'uid:0',
    createdAt: 1,
    updatedAt: 99,
  },
  'approval-policy': {
    version: 1,
    policy: { enabled: true, required: 2, lifeSeconds: 60, approvers: [] },
    updatedAt: 1,
    updatedBy: 'uid:0',
  },
  'issuance-policy': {
    version: 3,
    sha256: 'ab',
    reason: 'why',
    activatedAt: 1,
    activatedBy: 'uid:0',
  },
  operation: {
    id: 'o',
    version: 1,
    bytes: Buffer.from('bytes'),
    method: 'BanAgent',
    proposer: 'uid:0',
    createdAt: 1,
    expiresAt: 2,
    state: 'pending',
    approvals: [],
    outcome: '',
    evidence: '',
    decidedAt: 0,
    updatedAt: 1,
  },
  revocation: {
    serial: '0a',
    authorityId: 'a',
    reason: 'keyCompromise',
    revokedAt: 1,
    revokedBy: 'uid:0',
    notAfter: 2,
    shard: 7,
  },
  crl: {
    authorityId: 'a',
    shard: 7,
    number: 5,
    thisUpdate: 1,
    nextUpdate: 2,
    der: Buffer.from('crl'),
  },
  'agent-line': {
    spiffeId: 'spiffe://example.org/meshca/agent/node-1',
    svids: [
      { serial: '0a', renewed: null },
      { serial: '0b', renewed: '0a' },
    ],
    inUse: '0a',
    kept: null,
  },
  clock: { bootId: 'boot', uptimeMs: 5, wallMs: 9, standing: 'believed', seconds: 0 },
  'token-use': {
    id: 'ab',
    issuer: 'ci',
    subject: 'repo:a',
    grantee: 'web',
    publicKeySha256: 'cd',
    usedAt: 1,
    expiresAt: 2,
    serial: '0a',
    endedAt: null,
  },
  federation: {
    trustDomain: 'partner.test',
    id: 'r',
    endpointUrl: 'https://partner.test/bundle',
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: 'spiffe://partner.test/server',
    webRoots: ['MII='],
    createdAt: 1,
    createdBy: 'uid:0',
  },
  'foreign-bundle': {
    trustDomain: 'partner.test',
    relationshipId: 'r',
    sequence: 3,
    refreshHintSeconds: 60,
    roots: ['MII='],
    jwtKeys: [{ keyId: 'k', spki: 'MFk=' }],
    documentSha256: 'ab',
    receivedAt: 5,
  },
  'blocked-key': { publicKeySha256: 'cd', reason: 'stolen', blockedAt: 1, blockedBy: 'uid:0' },
  tenant: {
    name: 'shop',
    description: 'the shop',
    dnsSuffixes: ['shop.example.org'],
    spiffePrefixes: ['spiffe://example.org/shop/'],
    quotaCertificates: 100,
    quotaSeconds: 60,
    state: 'active',
    version: 2,
    createdAt: 1,
    updatedAt: 3,
    createdBy: 'uid:0',
  },
  'eab-key': {
    id: 'k',
    tenant: 'shop',
    description: 'gateways',
    dnsPatterns: ['*.shop.example.org'],
    ipRanges: ['192.0.2.0/24'],
    wildcards: true,
    profiles: ['classic'],
    ttlSeconds: 0,
    keyTypes: ['ec-p256'],
    proof: 'challenge',
    challengeTypes: ['http-01'],
    accounts: 'single',
    accountId: 'a',
    quotaCertificates: 10,
    quotaSeconds: 60,
    expiresAt: 9,
    revokedAt: null,
    version: 2,
    createdAt: 1,
    createdBy: 'uid:0',
    source: {
      ...{ by: 'svid', spiffeId: 'spiffe://example.org/ci', delegationId: 'd' },
      ...{ serial: '0a', agent: null },
    },
  },
  'acme-account': {
    id: 'a',
    algorithm: 'ES256',
    jwk: { crv: 'P-256', kty: 'EC', x: 'x', y: 'y' },
    thumbprint: 'ab',
    contacts: ['mailto:ops@example.org'],
    status: 'valid',
    eabKeyId: 'k',
    tenant: 'shop',
    version: 1,
    createdAt: 1,
    updatedAt: 2,
  },
  'acme-order': {
    id: 'o',
    accountId: 'a',
    eabKeyId: 'k',
    tenant: 'shop',
    authorizations: [
      {
        identifier: { type: 'dns', value: 'www.shop.example.org' },
        wildcard: false,
        status: 'valid',
        shownBy: 'owner',
        expiresAt: 9,
        token: '',
        challenges: [],
      },
    ],
    profile: 'classic',
    replaces: '0a',
    stage: 'finalizing',
    csrDer: Buffer.from('csr'),
    serial: null,
    problem: null,
    expiresAt: 9,
    createdAt: 1,
    version: 3,
  },
};

/** As the records of existing logs commit to them. */
const texts: Readonly<Record<keyof LoggedValues, string>> = {
  entry:
    '["web","spiffe://example.org/{unix.user}",1,"{\\"unix.user\\":[\\"alice\\",' +
    '\\"bob\\"]}","spiffe://example.org/meshca/agent/node-1","[\\"unix:gid:5\\",' +
    '\\"unix:user:web\\"]",60,0,"short-lived","[\\"web.example.org\\"]","a ' +
    '\\"hint\\"",9,0,1,0,7,1,2,"uid:0",5,"[\\"partner.example.org\\"]","[\\"192.0.2.7\\"]"]',
  delegation:
    '["d","spiffe://example.org/cp","[\\"spiffe://example.org/ns/*\\"]",' +
    '3600,"[\\"ec-p256\\"]","[]","short-lived",0,null,1,"uid:0","[]",0]',
  role:
    '["ops","[\\"entry.*\\"]","[\\"spiffe://example.org/a/\\"]",' +
    '"[\\"spiffe://example.org/alice\\"]",1,2]',
  authority:
    '["a","issuing","active",4,"ec-p256","issuing","ab",null,"{\\"share\\":0.5}",' +
    '"6b6579",null,null,1,2,1,1,null,null,null]',
  agent:
    '["spiffe://example.org/meshca/agent/node-1","join_token","[{\\"type\\":\\"node\\",' +
    '\\"value\\":\\"a\\"}]","active",1,"0a","6b6579",1,2,3]',
  'join-token':
    '["t","ab","spiffe://example.org/meshca/agent/node-1","[]",9,"uid:0",1,"cd",8,"0a"]',
  bundle: '[3,"{}","a.b.c",1]',
  rotation: '["r","root","running",1,"{\\"goal\\":\\"replace\\"}","uid:0",1]',
  'approval-policy':
    '[1,"{\\"enabled\\":true,\\"required\\":2,\\"lifeSeconds\\":60,\\"approvers\\":[]}",1,"uid:0"]',
  'issuance-policy': '[3,"ab","why",1,"uid:0"]',
  operation: '["o",1,"6279746573","BanAgent","uid:0",1,2,"pending","[]","","",0,1]',
  revocation: '["0a","a","keyCompromise",1,"uid:0",2,7]',
  crl: `["a",5,1,2,"${createHash('sha256').update('crl').digest('hex')}",7]`,
  'agent-line':
    '["spiffe://example.org/meshca/agent/node-1","[[\\"0a\\",null],[\\"0b\\",\\"0a\\"]]",' +
    '"0a",null]',
  clock: '["boot",5,9,"believed",0]',
  'token-use': '["ab","ci","repo:a","web","cd",1,2,"0a",null]',
  federation:
    '["partner.test","r","https://partner.test/bundle","https_spiffe",' +
    '"spiffe://partner.test/server","[\\"MII=\\"]",1,"uid:0"]',
  'foreign-bundle': '["partner.test","r",3,60,"[\\"MII=\\"]","[[\\"k\\",\\"MFk=\\"]]","ab",5]',
  'blocked-key': '["cd","stolen",1,"uid:0"]',
  tenant:
    '["shop","the shop","[\\"shop.example.org\\"]","[\\"spiffe://example.org/shop/\\"]",' +
    '100,60,"active",2,1,3,"uid:0"]',
  'eab-key':
    '["k","shop","gateways","[\\"*.shop.example.org\\"]","[\\"192.0.2.0/24\\"]",' +
    '1,"[\\"classic\\"]",0,"[\\"ec-p256\\"]","challenge","[\\"http-01\\"]","single","a",' +
    '10,60,9,null,2,1,"uid:0",' +
    '"{\\"by\\":\\"svid\\",\\"spiffeId\\":\\"spiffe://example.org/ci\\",' +
    '\\"delegationId\\":\\"d\\",\\"serial\\":\\"0a\\",\\"agent\\":null}"]',
  'acme-account':
    '["a","ES256","{\\"crv\\":\\"P-256\\",\\"kty\\":\\"EC\\",\\"x\\":\\"x\\",' +
    '\\"y\\":\\"y\\"}","ab","[\\"mailto:ops@example.org\\"]","valid","k","shop",1,1,2]',
  'acme-order':
    '["o","a","k","shop","[{\\"identifier\\":{\\"type\\":\\"dns\\",' +
    '\\"value\\":\\"www.shop.example.org\\"},\\"wildcard\\":false,' +
    '\\"status\\":\\"valid\\",\\"shownBy\\":\\"owner\\",' +
    '\\"expiresAt\\":9,\\"token\\":\\"\\",\\"challenges\\":[]}]","classic","0a",' +
    `"finalizing","${createHash('sha256').update('csr').digest('hex')}",null,null,9,1,3]`,
};

test('the text of each kind is that of the records in existing logs', () => {
  for (const kind of logObjectKinds)
    assert.equal(loggedText(kind, values[kind] as never), texts[kind], kind);
});

test('the texts of older releases stay as they were', () => {
  const older = (kind: 'join-token' | 'entry' | 'delegation' | 'revocation' | 'crl') =>
    loggedVersions(kind)
      .slice(1)
      .map(({ text }) => text(values[kind] as never));
  assert.deepEqual(older('join-token'), [
    '["t","ab","spiffe://example.org/meshca/agent/node-1","[]",9,"uid:0",1]',
  ]);
  assert.deepEqual(older('revocation'), [texts.revocation.replace(',7]', ']')]);
  assert.deepEqual(older('crl'), [texts.crl.replace(',7]', ']')]);
  const federated = ',5,"[\\"partner.example.org\\"]","[\\"192.0.2.7\\"]"]';
  assert.deepEqual(older('entry'), [
    texts.entry.replace(',"[\\"192.0.2.7\\"]"]', ']'),
    texts.entry.replace(federated, ',5]'),
    texts.entry.replace(federated, ']'),
  ]);
});

test('an entry under a record of an older release comes before all others, whatever its row says', () => {
  const older = loggedVersions('entry').at(-1);
  assert.equal(older?.vouched({ ...values.entry, createdOrder: 99 }).createdOrder, 0);
  for (const kind of ['revocation', 'crl'] as const)
    assert.equal(loggedVersions(kind)[1]?.vouched(values[kind] as never).shard, 0);
});

test('an entry under a record of an older release names no foreign trust domain', () => {
  for (const { vouched } of loggedVersions('entry').slice(2))
    assert.deepEqual(vouched(values.entry).federatesWith, []);
});

test('an entry or delegation under a record of an older release grants no address and no wildcard', () => {
  for (const { vouched } of loggedVersions('entry').slice(1))
    assert.deepEqual(vouched(values.entry).ips, []);
  const altered = { ...values.delegation, ipRanges: ['0.0.0.0/0'], wildcards: true };
  const [, older] = loggedVersions('delegation');
  assert.deepEqual(older?.vouched(altered), values.delegation);
  assert.deepEqual(older?.text(altered), texts.delegation.replace(/,"\[\]",0\]$/, ']'));
});

test('an EAB key under a record of an older release has no source', () => {
  const [, older] = loggedVersions('eab-key');
  assert.equal(older?.text(values['eab-key']), texts['eab-key'].replace(/,"\{.*$/, ']'));
  assert.equal(older?.vouched(values['eab-key']).source, null);
});

test('a record commits to the digest of the text, under the ID of the object', () => {
  const ids = logObjectKinds.map((kind) => loggedObject(kind, values[kind] as never).id);
  assert.deepEqual(ids, [
    'web',
    'd',
    'ops',
    'a',
    'spiffe://example.org/meshca/agent/node-1',
    't',
    '3',
    'r',
    'policy',
    '3',
    'o',
    '0a',
    'a/7',
    'spiffe://example.org/meshca/agent/node-1',
    'clock',
    'ab',
    'partner.test',
    'partner.test',
    'cd',
    'shop',
    'k',
    'a',
    'o',
  ]);
  assert.equal(
    loggedObject('bundle', values.bundle).sha256,
    createHash('sha256').update('meshca-object-v1\n').update(texts.bundle).digest('hex'),
  );
  assert.deepEqual(deletedObject('entry', 'web'), { kind: 'entry', id: 'web', sha256: '' });
});

test('the order in which selectors are held does not change the text', () => {
  const { selectors } = values.entry;
  assert.equal(
    loggedText('entry', { ...values.entry, selectors: [...selectors].reverse() }),
    texts.entry,
  );
});
