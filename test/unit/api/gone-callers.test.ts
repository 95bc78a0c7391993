import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Operations } from '../../../src/api/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import {
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../support/services-world.ts';

const gone = AbortSignal.abort(new PkiError('CANCELLED', 'the client has gone'));
const here = new AbortController().signal;

const call = (w: ServicesWorld, method: string, request: object, signal: AbortSignal) =>
  new Operations(w.services, w.clock).run(`/meshca.admin.v1.${method}`, local, request, signal);

const entry = {
  id: 'web',
  spiffeId: id('/web'),
  parentId: id('/meshca/agent/n1'),
  selectors: ['unix:uid:1000'],
  placeholders: [],
  x509TtlSeconds: 0,
  jwtTtlSeconds: 0,
  profile: '',
  dnsNames: [],
  hint: '',
  expiresAt: 0,
  admin: false,
  downstream: false,
  allowWeakSelectors: false,
  revision: 0,
};
const role = { name: 'ops', verbs: ['*.read'], prefixes: [id('/')], members: [id('/a')] };
const delegation = {
  clientId: id('/istiod'),
  patterns: [id('/ns/*')],
  maxTtlSeconds: 600,
  keyTypes: [],
  dnsPatterns: [],
  profile: '',
  expiresAt: 0,
};

describe('a call of administration whose caller has gone', () => {
  test('writes nothing', async () => {
    await using w = await createServicesWorld();
    const made = { entries: [entry] };
    const batch = (await call(w, 'Entries/CreateEntries', made, gone)) as {
      readonly results: readonly { readonly problem?: { readonly code: string } }[];
    };
    assert.deepEqual(
      batch.results.map(({ problem }) => problem?.code),
      ['CANCELLED'],
    );
    for (const [method, request] of [
      ['Entries/ApplyEntries', { entries: [entry], prune: false, dryRun: false }],
      ['Roles/PutRole', { role }],
      ['Delegations/CreateDelegation', { delegation }],
      ['Tokens/CreateJoinToken', { agentName: 'n1', ttlSeconds: 60, nodeSelectors: [] }],
    ] as const)
      await assert.rejects(call(w, method, request, gone), { code: 'CANCELLED' }, method);
    assert.equal(await w.store.entries.count(), 0);
    const page = { size: 10 };
    assert.deepEqual((await w.store.roles.list(page)).items, []);
    assert.deepEqual((await w.store.delegations.list({ includeRevoked: true }, page)).items, []);
    assert.deepEqual((await w.store.tokens.list(page)).items, []);
    await call(w, 'Entries/CreateEntries', made, here);
    assert.equal(await w.store.entries.count(), 1, 'the same call is good while somebody waits');
  });

  test('reads no further page', async () => {
    await using w = await createServicesWorld();
    for (const method of [
      'Entries/ListEntries',
      'Agents/ListAgents',
      'Tokens/ListJoinTokens',
      'Delegations/ListDelegations',
      'Roles/ListRoles',
    ])
      await assert.rejects(
        call(w, method, { page: null, filter: null, state: '', includeRevoked: false }, gone),
        { code: 'CANCELLED' },
        method,
      );
  });

  test('takes away all the same what it took away', async () => {
    await using w = await createServicesWorld();
    const { caller } = await w.joinAgent('n1');
    const { spiffeId } = caller;
    await call(w, 'Agents/BanAgent', { spiffeId, reason: 'stolen' }, gone);
    assert.equal((await w.store.agents.byId(spiffeId))?.state, 'banned');
  });
});
