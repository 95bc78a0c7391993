import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Operations } from '../../../src/api/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { RotatedKind } from '../../../src/domain/index.ts';
import {
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../support/services-world.ts';
import { SoftSecurityKey } from '../../support/ssh.ts';

const gone = AbortSignal.abort(new PkiError('CANCELLED', 'the client has gone'));
const here = new AbortController().signal;

const call = (w: ServicesWorld, method: string, request: object, signal: AbortSignal) =>
  new Operations(w.services, w.clock, () => undefined).run(
    `/meshca.admin.v1.${method}`,
    local,
    request,
    signal,
  );

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
  federatesWith: [],
  ips: [],
  revision: 0,
};
const role = { name: 'ops', verbs: ['*.read'], prefixes: [id('/')], members: [id('/a')] };
const delegation = {
  clientId: id('/istiod'),
  patterns: [id('/ns/*')],
  maxTtlSeconds: 600,
  keyTypes: [],
  dnsPatterns: [],
  ipRanges: [],
  wildcards: false,
  profile: '',
  expiresAt: 0,
};

const keys = { alice: new SoftSecurityKey('ed25519'), bob: new SoftSecurityKey('ed25519') };
const approvers = Object.entries(keys).map(([name, { publicKey }]) => ({
  name,
  publicKey,
  identities: [],
  notBefore: 0,
  notAfter: 0,
}));
const rotate = (kind: RotatedKind | '') => ({
  kind,
  reason: 'a test',
  stopAfter: '',
  force: false,
  shares: null,
  canary: null,
  replica: '',
  region: '',
});

/** The stand-in for rotation has no state to answer with, after the rotation is recorded. */
const opened = (w: ServicesWorld, kind: RotatedKind): Promise<void> =>
  assert.rejects(call(w, 'Authorities/RotateAuthorities', rotate(kind), here), {
    code: 'INTERNAL',
  });

/** The ID of a call that waits for approval. */
async function proposedIn({ services }: ServicesWorld): Promise<string> {
  const held = (await services.gate.hold(local, {
    method: '/meshca.admin.v1.Roles/PutRole',
    request: { name: 'x' },
  })) as PkiError;
  return String(held.detail['operationId']);
}

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

  test('reads no single object', async () => {
    await using w = await createServicesWorld();
    const { caller } = await w.joinAgent('n1');
    await call(w, 'Entries/CreateEntries', { entries: [entry] }, here);
    const operation = await proposedIn(w);
    for (const [method, request] of [
      ['Entries/GetEntry', { id: entry.id }],
      ['Agents/GetAgent', { spiffeId: caller.spiffeId }],
      ['Authorities/GetAuthority', { id: w.issuing.id }],
      ['Authorities/GetRotationStatus', {}],
      ['Authorities/ListUnreplaced', { id: w.issuing.id }],
      ['Authorities/PlanCompromise', { id: w.issuing.id }],
      ['Approvals/GetOperation', { id: operation }],
    ] as const)
      await assert.rejects(call(w, method, request, gone), { code: 'CANCELLED' }, method);
    await call(w, 'Entries/GetEntry', { id: entry.id }, here);
  });

  test('opens and continues no rotation, and accepts no clock', async () => {
    await using w = await createServicesWorld();
    await assert.rejects(call(w, 'Authorities/RotateAuthorities', rotate('issuing'), gone), {
      code: 'CANCELLED',
    });
    assert.deepEqual(await w.store.rotations.list({ underWay: true }), []);
    await opened(w, 'issuing');
    const [before] = await w.store.rotations.list({ underWay: true });
    const proceed = { ...rotate(''), id: before?.id, disregardedAgents: [] };
    await assert.rejects(call(w, 'Authorities/ContinueRotation', proceed, gone), {
      code: 'CANCELLED',
    });
    assert.deepEqual(await w.store.rotations.list({ underWay: true }), [before]);
    const accepted = { reason: 'the battery was empty' };
    await assert.rejects(call(w, 'Authorities/AcceptClock', accepted, gone), { code: 'CANCELLED' });
    assert.deepEqual(await w.audit('clock.accepted'), []);
  });

  test('proposes nothing, approves nothing, and leaves a result to its proposer', async () => {
    await using w = await createServicesWorld();
    const operations = new Operations(w.services, w.clock, () => undefined);
    const policy = { enabled: true, required: 2, lifeSeconds: 3600, approvers };
    const putPolicy = { policy, version: 0 };
    await assert.rejects(call(w, 'Approvals/PutApprovalPolicy', putPolicy, gone), {
      code: 'CANCELLED',
    });
    await call(w, 'Approvals/PutApprovalPolicy', putPolicy, here);
    const path = '/meshca.admin.v1.Roles/PutRole';
    await assert.rejects(
      operations.pass(path, {
        caller: local,
        request: { role: { ...role, createdAt: 0, updatedAt: 0 } },
        signal: gone,
      }),
      { code: 'CANCELLED' },
    );
    const pending = () => w.services.approvals.list(local, { pendingOnly: false }, { size: 10 });
    assert.deepEqual((await pending()).items, []);
    w.services.gate.connect(() => Promise.resolve({ done: true }));
    const id = await proposedIn(w);
    const { line } = await w.services.approvals.get(local, id);
    for (const key of Object.values(keys)) {
      const approval = { id, signature: key.sign(line, 'meshca-approval@v1') };
      const { approvals: before } = await w.services.approvals.get(local, id);
      await assert.rejects(call(w, 'Approvals/SubmitApproval', approval, gone), {
        code: 'CANCELLED',
      });
      const { approvals, status } = await w.services.approvals.get(local, id);
      assert.deepEqual([approvals, status], [before, 'pending']);
      await call(w, 'Approvals/SubmitApproval', approval, here);
    }
    assert.equal((await w.services.approvals.get(local, id)).status, 'executed');
    await assert.rejects(call(w, 'Approvals/TakeResult', { id }, gone), { code: 'CANCELLED' });
    const taken = await call(w, 'Approvals/TakeResult', { id }, here);
    assert.deepEqual(taken, { method: path, responseJson: '{"done":true}' });
  });

  test('takes away all the same what it took away', async () => {
    await using w = await createServicesWorld();
    const { caller } = await w.joinAgent('n1');
    const { spiffeId } = caller;
    await call(w, 'Agents/BanAgent', { spiffeId, reason: 'stolen' }, gone);
    assert.equal((await w.store.agents.byId(spiffeId))?.state, 'banned');
  });
});
