import assert from 'node:assert/strict';
import { sign, type KeyObject } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { uuidv7, type Logger, silentLogger } from '../../../src/common/runtime/index.ts';
import {
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  spkiOf,
} from '../../../src/common/x509/index.ts';
import { attestationMessage } from '../../../src/common/wire/attestation-message.ts';
import { fromServiceError } from '../../../src/common/wire/index.ts';
import {
  allMethods,
  attestByToken,
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  untypedCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';

/** What somebody with a certificate, a token or an old key tries beyond what is his. */
import { patienceMs } from '../../support/until.ts';

const signX509 = '/meshca.issuer.v1.AgentIssuer/SignX509Svids';
const renew = '/meshca.issuer.v1.AgentIssuer/RenewAgent';
const id = (path: string): string => `spiffe://${testTrustDomain}${path}`;
const logger: Logger = silentLogger;
let t: TestServer;
let mallory: Credential;
let victim: Credential;

before(async () => {
  t = await startTestServer({ logger });
  [mallory, victim] = [await t.joinAgent('mallory'), await t.joinAgent('victim')];
  const { results } = await t.admin('Entries/CreateEntries', {
    entries: [
      { id: 'hers', spiffeId: id('/hers'), parentId: victim.spiffeId, selectors: ['unix:uid:1'] },
      { id: 'his', spiffeId: id('/his'), parentId: mallory.spiffeId, selectors: ['unix:uid:1'] },
      {
        id: 'his-other',
        spiffeId: id('/his-other'),
        parentId: mallory.spiffeId,
        selectors: ['unix:uid:1'],
      },
    ],
  });
  for (const result of results)
    assert.equal(result.outcome, 'entry', JSON.stringify(result.problem));
});
after(() => t?.[Symbol.asyncDispose]());

const newKey = async (): Promise<KeyObject> => (await generateKeyPairAsync('ec-p256')).privateKey;
const signOne = async (as: Credential, item: object): Promise<any> =>
  (await unaryCall(t.client(as), signX509, { items: [item] })).results[0];

describe('request IDs', () => {
  test('the request ID and key of another agent give nothing of what he got', async () => {
    const csrDer = createCsr(await newKey());
    const requestId = uuidv7();
    const hers = await signOne(victim, { requestId, entryId: 'hers', csrDer });
    assert.equal(hers.outcome, 'svid');
    assert.equal(
      (await signOne(mallory, { requestId, entryId: 'hers', csrDer })).refusal.code,
      'ENTRY_NOT_AUTHORIZED',
    );
    const his = await signOne(mallory, { requestId, entryId: 'his', csrDer });
    assert.equal(his.svid.spiffeId, id('/his'));
    assert.notEqual(his.svid.serial, hers.svid.serial);
  });

  test('the same ID and key for two entries, one after the other or at once, give each its own identity', async () => {
    const csrDer = createCsr(await newKey());
    for (const at of ['in turn', 'at once']) {
      const requestId = uuidv7();
      const asks = ['his', 'his-other'].map(
        (entryId) => () => signOne(mallory, { requestId, entryId, csrDer }),
      );
      const answers =
        at === 'at once'
          ? await Promise.all(asks.map((ask) => ask()))
          : [await asks[0]!(), await asks[1]!()];
      assert.deepEqual(
        answers.map(({ svid }) => svid.spiffeId),
        [id('/his'), id('/his-other')],
        at,
      );
    }
  });

  test('a repeated request after its entry is gone gives nothing', async () => {
    await t.admin('Entries/CreateEntries', {
      entries: [
        {
          id: 'soon-gone',
          spiffeId: id('/soon-gone'),
          parentId: mallory.spiffeId,
          selectors: ['unix:uid:1'],
        },
      ],
    });
    const ask = { requestId: uuidv7(), entryId: 'soon-gone', csrDer: createCsr(await newKey()) };
    assert.equal((await signOne(mallory, ask)).outcome, 'svid');
    await t.admin('Entries/DeleteEntries', { ids: ['soon-gone'] });
    assert.equal((await signOne(mallory, ask)).refusal.code, 'ENTRY_NOT_AUTHORIZED');
  });

  test('a certificate of another holder can not be marked as replaced', async () => {
    const hers = await signOne(victim, {
      requestId: uuidv7(),
      entryId: 'hers',
      csrDer: createCsr(await newKey()),
    });
    await signOne(mallory, {
      requestId: uuidv7(),
      entryId: 'his',
      csrDer: createCsr(await newKey()),
      replacesSerial: hers.svid.serial,
    });
    assert.equal(
      (await t.admin('Certificates/GetCertificate', { serial: hers.svid.serial })).replacedBy,
      '',
    );
  });
});

describe('old keys and tokens', () => {
  async function recover(spiffeId: string, serial: string, key: KeyObject): Promise<string> {
    const method = allMethods()['/meshca.issuer.v1.NodeAttestation/Attest']!;
    const call = t
      .client()
      .makeBidiStreamRequest(
        method.path,
        method.requestSerialize as (value: object) => Buffer,
        method.responseDeserialize as (bytes: Buffer) => any,
        new Metadata(),
        { deadline: Date.now() + patienceMs },
      );
    const fresh = await newKey();
    return new Promise((resolve) => {
      call.on('data', (message: any) => {
        if (message.svid) {
          resolve('recovered');
          call.end();
          return;
        }
        const { nonce, trustDomain, serverCertificateSha256 } = message.challenge;
        call.write({
          answer: {
            payload: sign(
              'sha256',
              attestationMessage({
                nonce,
                trustDomainName: trustDomain,
                serverCertificateSha256,
                newSpkiDer: spkiOf(fresh),
              }),
              key,
            ),
          },
        });
      });
      call.on('error', (error: ServiceError) => resolve(fromServiceError(error).code));
      call.write({
        start: {
          protocolVersion: 1,
          agentVersion: 'x',
          requestId: uuidv7(),
          csrDer: createCsr(fresh),
          expiredSvid: { spiffeId, serial },
        },
      });
    });
  }

  /** Its sync session is welcomed. */
  async function use(credential: Parameters<typeof t.client>[0]): Promise<void> {
    const method = allMethods()['/meshca.issuer.v1.AgentIssuer/Sync']!;
    const stream = t
      .client(credential)
      .makeBidiStreamRequest<object, any>(
        method.path,
        method.requestSerialize as (value: object) => Buffer,
        method.responseDeserialize as (bytes: Buffer) => any,
        new Metadata(),
        { deadline: Date.now() + patienceMs },
      );
    await new Promise<void>((resolve, reject) => {
      stream.on('error', reject);
      stream.on('data', (message: any) => {
        if (message.welcome) resolve();
      });
      stream.write({
        hello: { protocolVersion: 1, agentVersion: 'x', capabilities: [], bundleSequence: 0 },
      });
    });
    stream.cancel();
  }

  test('the key of an SVID does not bring an agent back once a later SVID is in use', async () => {
    const first = await t.joinAgent('renewed');
    const key = await newKey();
    const renewed = await unaryCall(t.client(first), renew, {
      requestId: uuidv7(),
      csrDer: createCsr(key),
      agentVersion: 'x',
    });
    const { spiffeId, serial, chainDer } = renewed;
    await use({ spiffeId, serial, chainDer, privateKey: key });
    assert.equal(await recover(first.spiffeId, first.serial, first.privateKey), 'AGENT_SUPERSEDED');
    assert.equal(
      await recover(first.spiffeId, renewed.serial, first.privateKey),
      'ATTESTATION_FAILED',
    );
    assert.equal(await recover(first.spiffeId, renewed.serial, key), 'recovered');
  });

  test("evicted and banned agents can't recover by key, and a stranger learns nothing about them", async () => {
    const [evicted, banned] = [await t.joinAgent('evicted'), await t.joinAgent('banned')];
    await t.admin('Agents/EvictAgent', { spiffeId: evicted.spiffeId });
    await t.admin('Agents/BanAgent', { spiffeId: banned.spiffeId });
    assert.equal(
      await recover(evicted.spiffeId, evicted.serial, evicted.privateKey),
      'AGENT_EVICTED',
    );
    assert.equal(await recover(banned.spiffeId, banned.serial, banned.privateKey), 'AGENT_BANNED');
    const other = await newKey();
    for (const [spiffeId, serial] of [
      [banned.spiffeId, banned.serial],
      [banned.spiffeId, '01'],
      [id('/meshca/agent/never-was'), '01'],
    ] as const)
      assert.equal(await recover(spiffeId, serial, other), 'ATTESTATION_FAILED');
    for (const spiffeId of [
      id('/meshca/server'),
      id('/web'),
      'spiffe://other/meshca/agent/x',
      id('/meshca/agent/a/b'),
    ])
      assert.equal(await recover(spiffeId, '01', other), 'ATTESTATION_FAILED');
  });

  test('a banned agent can not come back with a new token', async () => {
    const agent = await t.joinAgent('banned-again');
    await t.admin('Agents/BanAgent', { spiffeId: agent.spiffeId });
    assert.ok(
      ['AGENT_BANNED', 'resolved'].includes(
        await codeOf(t.admin('Tokens/CreateJoinToken', { agentName: 'banned-again' })),
      ),
    );
    const made = await t
      .admin('Tokens/CreateJoinToken', { agentName: 'banned-again' })
      .catch(() => undefined);
    if (made) assert.equal(await codeOf(attestByToken(t.client(), made.token)), 'AGENT_BANNED');
  });

  test('a used token with another key, a guess, and the token that is nearly right are refused alike', async () => {
    const { token } = await t.admin('Tokens/CreateJoinToken', { agentName: 'tokens' });
    await attestByToken(t.client(), token);
    for (const bad of [
      token,
      'x',
      '',
      `${token}=`,
      token.toUpperCase(),
      ` ${token}`,
      'A'.repeat(300),
    ])
      assert.equal(await codeOf(attestByToken(t.client(), bad)), 'JOIN_TOKEN_INVALID', bad);
  });

  test('names of agents can not leave their folder', async () => {
    for (const agentName of [
      '',
      '.',
      '..',
      'a/b',
      'x509pop',
      '../server',
      'a b',
      'ä',
      'a\u0000',
      'a\n',
      '%2e',
      'a'.repeat(129),
    ])
      assert.equal(
        await codeOf(t.admin('Tokens/CreateJoinToken', { agentName })),
        'INVALID_REQUEST',
        JSON.stringify(agentName),
      );
    for (const ttlSeconds of [-1, 1, 8 * 86_400, 2_147_483_647])
      assert.equal(
        await codeOf(t.admin('Tokens/CreateJoinToken', { agentName: 'ok', ttlSeconds })),
        'TTL_OUT_OF_RANGE',
        String(ttlSeconds),
      );
  });
});

describe('names and numbers at the edge', () => {
  const create = async (over: object): Promise<string> => {
    // beside a good one, which must not be held up
    const {
      results: [result, other],
    } = await t.admin('Entries/CreateEntries', {
      entries: [
        { spiffeId: id('/edge'), parentId: mallory.spiffeId, selectors: ['unix:uid:7'], ...over },
        {
          id: 'good',
          spiffeId: id('/good'),
          parentId: mallory.spiffeId,
          selectors: ['unix:uid:8'],
        },
      ],
    });
    assert.equal(other!.outcome, 'entry', JSON.stringify(other!.problem));
    await t.admin('Entries/DeleteEntries', { ids: ['good'] });
    if (result!.outcome === 'entry') await t.admin('Entries/DeleteEntries', { ids: [result!.id] });
    return result!.outcome === 'entry' ? 'created' : result!.problem!.code;
  };
  const cases: readonly (readonly [what: string, over: object, code: string])[] = [
    ['the server', { spiffeId: id('/meshca/server') }, 'SPIFFE_ID_RESERVED'],
    ['the reserved root', { spiffeId: id('/meshca') }, 'SPIFFE_ID_RESERVED'],
    [
      'a trust domain in capitals',
      { spiffeId: `spiffe://${testTrustDomain.toUpperCase()}/x` },
      'SPIFFE_ID_INVALID',
    ],
    ['a scheme in capitals', { spiffeId: `SPIFFE://${testTrustDomain}/x` }, 'SPIFFE_ID_INVALID'],
    ['percent encoding', { spiffeId: id('/%6deshca/server') }, 'SPIFFE_ID_INVALID'],
    ['dot segments', { spiffeId: id('/x/../meshca/server') }, 'SPIFFE_ID_INVALID'],
    ['a double slash', { spiffeId: id('//meshca/server') }, 'SPIFFE_ID_INVALID'],
    ['a full-width letter', { spiffeId: id('/ｍeshca/server') }, 'SPIFFE_ID_INVALID'],
    ['user information', { spiffeId: `spiffe://x@${testTrustDomain}/x` }, 'SPIFFE_ID_INVALID'],
    ['a port', { spiffeId: `spiffe://${testTrustDomain}:443/x` }, 'SPIFFE_ID_INVALID'],
    ['a query', { spiffeId: id('/x?y') }, 'SPIFFE_ID_INVALID'],
    ['a fragment', { spiffeId: id('/x#y') }, 'SPIFFE_ID_INVALID'],
    ['a NUL', { spiffeId: id('/x\u0000') }, 'SPIFFE_ID_INVALID'],
    [
      'a template for the server',
      {
        spiffeId: id('/{unix.user}/server'),
        placeholders: [{ placeholder: 'unix.user', allowed: ['meshca'] }],
      },
      'SPIFFE_ID_RESERVED',
    ],
    [
      'a template that joins to it',
      {
        spiffeId: id('/mesh{unix.user}/server'),
        placeholders: [{ placeholder: 'unix.user', allowed: ['ca'] }],
      },
      'SPIFFE_ID_RESERVED',
    ],
    [
      'a template with a path in a value',
      {
        spiffeId: id('/u/{unix.user}'),
        placeholders: [{ placeholder: 'unix.user', allowed: ['a/b'] }],
      },
      'TEMPLATE_INVALID',
    ],
    [
      '__proto__ as placeholder',
      {
        spiffeId: id('/u/{unix.user}'),
        placeholders: [{ placeholder: '__proto__', allowed: ['a'] }],
      },
      'TEMPLATE_INVALID',
    ],
    ['the DNS name of the CA', { dnsNames: ['localhost'] }, 'DNS_NAME_RESERVED'],
    ['it in capitals', { dnsNames: ['LOCALHOST'] }, 'DNS_NAME_INVALID'],
    ['it with a dot at its end', { dnsNames: ['localhost.'] }, 'DNS_NAME_INVALID'],
    ['a wildcard', { dnsNames: ['*.example.org'] }, 'DNS_NAME_INVALID'],
    ['an address', { dnsNames: ['10.0.0.1'] }, 'DNS_NAME_INVALID'],
    ['a negative life', { x509TtlSeconds: -1 }, 'TTL_OUT_OF_RANGE'],
    ['a life that overflows', { x509TtlSeconds: 2_147_483_647 }, 'TTL_OUT_OF_RANGE'],
    ['a negative JWT life', { jwtTtlSeconds: -5 }, 'TTL_OUT_OF_RANGE'],
    ['an end in the past', { expiresAt: 1_000_000 }, 'INVALID_REQUEST'],
    ['a negative end', { expiresAt: -1 }, 'INVALID_REQUEST'],
    ['an end beyond what a number holds', { expiresAt: '9007199254740993' }, 'INVALID_REQUEST'],
    ['escape sequences in the hint', { hint: '\u001b[2Jgone' }, 'INVALID_REQUEST'],
    ['C1 escape sequences in the hint', { hint: '\u009b2Jgone' }, 'INVALID_REQUEST'],
    ['text that runs backwards in the hint', { hint: 'a\u202eb' }, 'INVALID_REQUEST'],
    ['a line break in a selector', { selectors: ['unix:user:a\nb'] }, 'SELECTOR_INVALID'],
  ];
  for (const [what, over, code] of cases)
    test(`an entry with ${what}: ${code}`, async () => assert.equal(await create(over), code));

  test('page tokens of others and of nobody are refused, and are no fault of the server', async () => {
    for (const token of [
      'x',
      "' OR 1=1 --",
      '9'.repeat(40),
      '-1',
      '\u0000',
      '1.2.3',
      'a'.repeat(5_000),
      '{"a":1}',
    ]) {
      for (const method of [
        'Certificates/ListCertificates',
        'Audit/ListAuditRecords',
        'Entries/ListEntries',
        'Agents/ListAgents',
        'Tokens/ListJoinTokens',
        'Roles/ListRoles',
        'Delegations/ListDelegations',
      ] as const) {
        const code = await codeOf(t.admin(method, { page: { size: 10, token } }));
        assert.ok(
          ['INVALID_REQUEST', 'resolved'].includes(code),
          `${method} ${JSON.stringify(token.slice(0, 20))}: ${code}`,
        );
      }
    }
    for (const size of [-1, 1001, 2_147_483_647]) {
      const code = await codeOf(t.admin('Certificates/ListCertificates', { page: { size } }));
      assert.ok(['INVALID_REQUEST', 'resolved'].includes(code), `${size}: ${code}`);
    }
    const found = await t.admin('Certificates/ListCertificates', {
      page: { size: 1 },
      filter: { spiffeIdPrefix: '%' },
    });
    assert.equal(found.certificates.length, 0);
  });
});

describe('what others grant', () => {
  async function admin(name: string, role: object): Promise<Credential> {
    const credential = await t.mint(id(`/admins/${name}`), { admin: true });
    await t.admin('Roles/PutRole', { role: { name, members: [credential.spiffeId], ...role } });
    return credential;
  }
  const as = (credential: Credential, method: string, request: object): Promise<string> =>
    codeOf(
      untypedCall(t.client(credential), `/meshca.admin.v1.${method}`, request).then((answer) => {
        const problem = answer.results?.[0]?.problem;
        if (problem) throw Object.assign(new Error(problem.message), { code: problem.code });
      }),
    );
  const entry = (path: string, over: object = {}): object => ({
    entries: [
      { spiffeId: id(path), parentId: mallory.spiffeId, selectors: ['unix:uid:9'], ...over },
    ],
  });

  test('an admin of one prefix reaches nothing beside it, by no spelling, template, pattern or node set', async () => {
    const team = await admin('team-a', { verbs: ['*'], prefixes: [id('/team-a/')] });
    assert.equal(await as(team, 'Entries/CreateEntries', entry('/team-a/x')), 'resolved');
    for (const path of ['/team-ab/x', '/team-a', '/x', '/team-b/x'])
      assert.equal(await as(team, 'Entries/CreateEntries', entry(path)), 'ROLE_MISSING', path);
    assert.equal(
      await as(
        team,
        'Entries/CreateEntries',
        entry('/{unix.user}/x', {
          placeholders: [{ placeholder: 'unix.user', allowed: ['team-a'] }],
        }),
      ),
      'ROLE_MISSING',
    );
    assert.equal(
      await as(team, 'Entries/CreateEntries', entry('/team-a/y', { admin: true })),
      'ROLE_MISSING',
    );
    assert.equal(
      await as(team, 'Entries/CreateEntries', entry('/team-a/z', { dnsNames: ['db.example.org'] })),
      'ROLE_MISSING',
    );
    assert.equal(
      await as(
        team,
        'Entries/CreateEntries',
        entry('/team-b/nodes', {
          parentId: id('/meshca/server'),
          selectors: ['x509pop:subject:cn:n'],
        }),
      ),
      'ROLE_MISSING',
    );
    for (const pattern of ['/**', '/*/x', '/team-ab/**', '/team-a'])
      assert.equal(
        await as(team, 'Delegations/CreateDelegation', {
          delegation: { clientId: id('/team-a/cp'), patterns: [id(pattern)], maxTtlSeconds: 3600 },
        }),
        'ROLE_MISSING',
        pattern,
      );
    assert.equal(
      await as(team, 'Delegations/CreateDelegation', {
        delegation: {
          clientId: id('/team-b/cp'),
          patterns: [id('/team-a/**')],
          maxTtlSeconds: 3600,
        },
      }),
      'ROLE_MISSING',
    );
    for (const pattern of ['/team-a/../**', '/team-a/**/x', '/team-a*', '/**/**', '/team-a/*x'])
      assert.equal(
        await as(team, 'Delegations/CreateDelegation', {
          delegation: { clientId: id('/team-a/cp'), patterns: [id(pattern)], maxTtlSeconds: 3600 },
        }),
        'PATTERN_INVALID',
        pattern,
      );
    assert.equal(await as(team, 'Agents/BanAgent', { spiffeId: victim.spiffeId }), 'ROLE_MISSING');
    assert.equal(await as(team, 'Tokens/CreateJoinToken', { agentName: 'team-a' }), 'ROLE_MISSING');
    assert.equal(
      await as(team, 'Roles/PutRole', {
        role: { name: 'team-a', verbs: ['*'], prefixes: [id('/')], members: [team.spiffeId] },
      }),
      'ROLE_MISSING',
    );
    assert.equal(
      await as(team, 'Certificates/MintX509Svid', {
        spiffeId: id('/team-a/m'),
        admin: true,
        csrDer: createCsr(await newKey()),
        requestId: uuidv7(),
      }),
      'ROLE_MISSING',
    );
  });

  test('who may write entries for his nodes by an alias of others can not widen it', async () => {
    const team = await admin('team-c', { verbs: ['entry.*'], prefixes: [id('/team-c/')] });
    assert.equal(
      await as(team, 'Entries/CreateEntries', entry('/team-c/x', { id: 'team-c-x' })),
      'resolved',
    );
    assert.equal(
      await as(team, 'Entries/UpdateEntry', {
        entry: {
          id: 'hers',
          spiffeId: id('/team-c/stolen'),
          parentId: mallory.spiffeId,
          selectors: ['unix:uid:9'],
        },
      }),
      'ROLE_MISSING',
    );
    assert.equal(
      await as(team, 'Entries/UpdateEntry', {
        entry: {
          id: 'team-c-x',
          spiffeId: id('/hers'),
          parentId: mallory.spiffeId,
          selectors: ['unix:uid:9'],
        },
      }),
      'ROLE_MISSING',
    );
    assert.ok(
      ['ROLE_MISSING', 'NOT_FOUND'].includes(
        await as(team, 'Entries/DeleteEntries', { ids: ['hers'] }),
      ),
    );
    // prune deletes only what he may write
    assert.equal(await as(team, 'Entries/ApplyEntries', { entries: [], prune: true }), 'resolved');
    assert.equal((await t.admin('Entries/GetEntry', { id: 'hers' })).id, 'hers');
  });

  test('a delegate signs nobody reserved, nothing outside, and what he signs opens no door', async () => {
    await t.admin('Delegations/CreateDelegation', {
      delegation: { clientId: id('/cp'), patterns: [id('/**')], maxTtlSeconds: 600 },
    });
    const delegate = await t.mint(id('/cp'));
    const client = t.client(delegate);
    const signed = async (over: object): Promise<any> =>
      unaryCall(client, '/meshca.signing.v1.Signing/Sign', {
        requestId: uuidv7(),
        csrDer: createCsr(await newKey()),
        ...over,
      });
    for (const path of ['/meshca/server', '/meshca/agent/x', '/meshca'])
      assert.equal(await codeOf(signed({ spiffeId: id(path) })), 'SPIFFE_ID_RESERVED', path);
    assert.equal(
      await codeOf(signed({ spiffeId: 'spiffe://elsewhere/x' })),
      'TRUST_DOMAIN_FOREIGN',
    );
    for (const ttlSeconds of [-1, 601, 2_147_483_647])
      assert.equal(
        await codeOf(signed({ spiffeId: id('/x'), ttlSeconds })),
        'TTL_OUT_OF_RANGE',
        String(ttlSeconds),
      );
    assert.equal(
      await codeOf(signed({ spiffeId: id('/x'), dnsNames: ['x.example.org'] })),
      'OUTSIDE_DELEGATION',
    );
    // his own ID: the certificate is a delegated one and no delegate
    const key = await newKey();
    const own = await signed({ spiffeId: id('/cp'), csrDer: createCsr(key) });
    const leaf = parseCertificate(own.chainDer[0]);
    assert.ok(leaf.ok);
    const posing = t.client({
      spiffeId: id('/cp'),
      serial: leaf.value.serialHex,
      chainDer: own.chainDer,
      privateKey: key,
    });
    assert.equal(
      await codeOf(
        unaryCall(posing, '/meshca.signing.v1.Signing/Sign', {
          requestId: uuidv7(),
          spiffeId: id('/y'),
          csrDer: createCsr(key),
        }),
      ),
      'CALLER_NOT_ADMITTED',
    );
  });
});

test('text of any size that is refused comes back, and goes to the log, only in part', async () => {
  for (const selectors of [
    [{ type: 'X'.repeat(2_000_000), value: 'a' }],
    [{ type: 'Ä'.repeat(500_000), value: 'a' }],
  ]) {
    const error = await unaryCall(t.client(mallory), signX509, {
      items: [
        { requestId: uuidv7(), entryId: 'his', csrDer: createCsr(await newKey()), selectors },
      ],
    }).then(
      () => undefined,
      (thrown: unknown) => thrown as { code: string; message: string },
    );
    assert.equal(error?.code, 'SELECTOR_INVALID');
    assert.ok(error.message.length < 2_100, `${error.message.length} characters`);
  }
  const long = await t.admin('Entries/GetEntry', { id: 'x'.repeat(1_000_000) }).then(
    () => undefined,
    (thrown: unknown) => thrown as { code: string },
  );
  assert.equal(long?.code, 'NOT_FOUND');
});
