import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr } from '../../../src/common/x509/index.ts';
import type {
  AgentCaller,
  DelegateCaller,
  DelegatedItem,
  EntryInput,
  SvidOutcome,
} from '../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
  selector,
  type ServicesWorld,
} from '../../support/services-world.ts';

// What the advice of a code says is done here, and must help. The table: docs/advice.md.

type Rough = Partial<EntryInput>;
const placeholders = { 'unix.user': ['alice'] };

test('an entry that was refused is taken once it is corrected as the advice says', async () => {
  await using w = await createServicesWorld();
  const create = async (name: string, over: Rough): Promise<string> => {
    const [result] = await w.services.entries.create(local, [
      entryInput({ id: name, spiffeId: id(`/${name}`), parentId: agentId('n1'), ...over }),
    ]);
    return result?.ok === true ? 'taken' : (result?.error.code ?? 'none');
  };
  const table: readonly (readonly [code: string, refused: Rough, corrected: Rough])[] = [
    ['SPIFFE_ID_INVALID', { spiffeId: id('/a//b') }, { spiffeId: id('/a/b') }],
    ['TRUST_DOMAIN_FOREIGN', { spiffeId: 'spiffe://other.test/c' }, { spiffeId: id('/c') }],
    ['SPIFFE_ID_RESERVED', { spiffeId: id('/meshca/web') }, { spiffeId: id('/web') }],
    [
      'TEMPLATE_INVALID',
      { spiffeId: id('/u/{unix.user}') },
      { spiffeId: id('/u/{unix.user}'), placeholders },
    ],
    ['PARENT_INVALID', { parentId: id('/elsewhere') }, { parentId: agentId('n2') }],
    [
      'SELECTOR_INVALID',
      { selectors: [{ type: 'UNIX', value: 'uid:1000' }] },
      { selectors: [selector('unix:uid:1000')] },
    ],
    [
      'SELECTORS_WEAK',
      { selectors: [selector('unix:path:/bin/app')] },
      { selectors: [selector('unix:path:/bin/app'), selector('unix:uid:1000')] },
    ],
    ['DNS_NAME_INVALID', { dnsNames: ['*.Web.test'] }, { dnsNames: ['web.test'] }],
    ['DNS_NAME_RESERVED', { dnsNames: ['ca.mesh.test'] }, { dnsNames: ['api.mesh.test'] }],
    ['TTL_OUT_OF_RANGE', { x509TtlSeconds: 86_401 }, { x509TtlSeconds: 86_400 }],
    ['INVALID_REQUEST', { hint: 'two\nlines' }, { hint: 'one line' }],
  ];
  for (const [index, [code, refused, corrected]] of table.entries()) {
    assert.equal(await create(`e${index}`, refused), code);
    assert.equal(await create(`e${index}`, corrected), 'taken', code);
  }
});

test('a name that is taken, an ID that is not there, and an old version are mended by their advice', async () => {
  await using w = await createServicesWorld();
  const draft = entryInput({ id: 'web', spiffeId: id('/web'), parentId: agentId('n1') });
  const create = async (name: string): Promise<string> => {
    const [result] = await w.services.entries.create(local, [{ ...draft, id: name }]);
    return result?.ok === true ? 'taken' : (result?.error.code ?? 'none');
  };
  assert.equal(await create('web'), 'taken');
  assert.equal(await create('web'), 'ALREADY_EXISTS');
  const get = async (name: string): Promise<string> =>
    w.services.entries.get(local, name).then(
      (entry) => entry.spiffeId,
      (error: PkiError) => error.code,
    );
  assert.equal(await get('wbe'), 'NOT_FOUND');
  const listed = await w.services.entries.list(local, {}, { size: 10 });
  assert.equal(await get(listed.items[0]?.id as string), id('/web'));

  const update = async (hint: string, version: number): Promise<string> =>
    w.services.entries.update(local, { ...draft, hint }, version).then(
      () => 'taken',
      (error: PkiError) => error.code,
    );
  const { revision } = await w.services.entries.get(local, 'web');
  // ALREADY_EXISTS: update the existing object
  assert.equal(await update('one', revision), 'taken');
  assert.equal(await update('two', revision), 'CONFLICT');
  assert.equal(await update('two', (await w.services.entries.get(local, 'web')).revision), 'taken');
});

test('a delegation that was refused is taken once it is corrected as the advice says', async () => {
  await using w = await createServicesWorld();
  const good = {
    clientId: id('/cp'),
    patterns: [id('/a/*')],
    maxTtlSeconds: 60,
    keyTypes: [] as readonly string[],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
  };
  const create = (over: object): Promise<string> =>
    w.services.delegations.create(local, { ...good, ...over }).then(
      () => 'taken',
      (error: PkiError) => error.code,
    );
  for (const [code, refused, corrected] of [
    ['PATTERN_INVALID', { patterns: [id('/a*')] }, { patterns: [id('/*')] }],
    ['KEY_UNSUPPORTED', { keyTypes: ['ed25519'] }, { keyTypes: ['ec-p256'] }],
    [
      'IP_ADDRESS_INVALID',
      { profile: 'short', patterns: [], ipRanges: ['/8'] },
      { profile: 'short', patterns: [], ipRanges: ['10.0.0.0/8'] },
    ],
  ] as const) {
    assert.equal(await create(refused), code);
    assert.equal(await create(corrected), 'taken', code);
  }
});

const codesOf = (outcomes: readonly SvidOutcome[]): readonly string[] =>
  outcomes.map((each) => (each.ok ? 'signed' : each.error.code));

test('a request to sign that was refused is signed once it is corrected as the advice says', async () => {
  await using w = await createServicesWorld();
  await w.services.delegations.create(local, {
    clientId: id('/cp'),
    patterns: [id('/ns/*')],
    maxTtlSeconds: 600,
    keyTypes: [],
    dnsPatterns: [],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
  });
  const caller = (await w.mint('/cp', false)) as DelegateCaller;
  const key = newKey();
  const good: DelegatedItem = {
    requestId: uuidv7(),
    spiffeId: id('/ns/web'),
    dnsNames: [],
    ips: [],
    profile: '',
    csrDer: createCsr(key),
    ttlSeconds: 0,
  };
  const sign = async (over: Partial<DelegatedItem>): Promise<readonly string[]> =>
    codesOf(
      (await w.services.signing.sign(caller, [{ ...good, requestId: uuidv7(), ...over }])).outcomes,
    );
  for (const [code, refused] of [
    ['OUTSIDE_DELEGATION', { spiffeId: id('/other/web') }],
    ['CSR_MALFORMED', { csrDer: Buffer.concat([good.csrDer, Buffer.of(0)]) }],
    ['CSR_IDENTITY_MISMATCH', { csrDer: createCsr(key, { uriSan: id('/ns/db') }) }],
  ] as const) {
    assert.deepEqual(await sign(refused), [code]);
    assert.deepEqual(await sign({}), ['signed'], code);
  }
});

async function signFor(w: ServicesWorld, caller: AgentCaller, count: number): Promise<string> {
  const items = Array.from({ length: count }, () => ({
    requestId: uuidv7(),
    entryId: 'web',
    csrDer: createCsr(newKey()),
    ttlSeconds: 0,
    selectors: [],
    replacesSerial: '',
  }));
  return w.services.svids.signX509(caller, items).then(
    (outcomes) => [...new Set(codesOf(outcomes))].join(),
    (error: PkiError) => error.code,
  );
}

test('an agent without an entry, and one that asks for too much, get their SVIDs by the advice', async () => {
  await using w = await createServicesWorld({ signingRate: { perSecond: 10, burst: 5 } });
  const { caller } = await w.joinAgent('n1');
  assert.equal(await signFor(w, caller, 1), 'ENTRY_NOT_AUTHORIZED');
  await w.addEntry({ id: 'web', spiffeId: id('/web'), parentId: agentId('n1') });
  assert.equal(await signFor(w, caller, 1), 'signed');

  assert.equal(await signFor(w, caller, 501), 'REQUEST_TOO_LARGE');
  assert.equal(await signFor(w, caller, 3), 'signed');
  assert.equal(await signFor(w, caller, 1), 'RATE_LIMITED');
  w.clock.advance(1000);
  assert.equal(await signFor(w, caller, 1), 'signed');
});
