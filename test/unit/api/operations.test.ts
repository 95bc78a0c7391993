import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Operations } from '../../../src/api/index.ts';
import type { Json } from '../../../src/common/approval/index.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import { systemClock } from '../../../src/common/runtime/index.ts';
import type { AgentCaller, LocalCaller } from '../../../src/services/callers/caller.ts';
import type { Services } from '../../../src/services/services.ts';

const operator: LocalCaller = { class: 'local', uid: 0, gid: 0, pid: 1 };
const agent: AgentCaller = {
  class: 'agent',
  kind: 'agent',
  spiffeId: 'spiffe://mesh.test/meshca/agent/a',
  serial: 'aa',
  notAfter: 0,
  authorityId: '',
  entryId: null,
  peer: 'x',
  generation: 1,
};
const banAgent = '/meshca.admin.v1.Agents/BanAgent';
const putRole = '/meshca.admin.v1.Roles/PutRole';
const mint = '/meshca.admin.v1.Certificates/MintX509Svid';
const putPolicy = '/meshca.admin.v1.Approvals/PutApprovalPolicy';

interface Held {
  readonly method: string;
  readonly request: Json;
  readonly deciding: unknown;
}

/** Services that record what they are asked for. */
function world({ enabled = true, matters = true } = {}) {
  const held: Held[] = [];
  const minted: object[] = [];
  const services = {
    gate: {
      inForce: async () => ({
        policy: { enabled, required: 2, lifeSeconds: 60, approvers: [] },
        version: 3,
      }),
      hold: async (_caller: unknown, call: Held) => {
        held.push(call);
        return new PkiError('APPROVAL_REQUIRED', 'held');
      },
    },
    sights: { idMatters: async () => matters },
    mint: {
      mint: async (_caller: unknown, request: object) => {
        minted.push(request);
        return {
          leaf: {
            serial: '0a',
            chainDer: [Buffer.from([1])],
            notAfter: 7,
            spiffeId: 'spiffe://x/y',
          },
          rootsDer: [],
        };
      },
    },
    roles: {
      list: async () => {
        throw new PkiError('ROLE_MISSING', 'no right to read roles');
      },
    },
  } as unknown as Services;
  return { operations: new Operations(services, systemClock, () => undefined), held, minted };
}

const mintRequest = {
  spiffeId: 'spiffe://mesh.test/web',
  dnsNames: [],
  csrDer: Buffer.from('csr'),
  ttlSeconds: 0,
  admin: false,
  requestId: 'r',
};

const callOf = (request: object) => ({
  caller: operator,
  request,
  signal: new AbortController().signal,
});

const refused = (code: string) => (thrown: unknown) => PkiError.from(thrown).code === code;

describe('dual control before an operation', () => {
  test('one that always waits is held with its request as JSON', async () => {
    const { operations, held } = world();
    const role = { name: 'x', verbs: [], prefixes: [], members: [], createdAt: 0, updatedAt: 0 };
    await assert.rejects(operations.pass(putRole, callOf({ role })), refused('APPROVAL_REQUIRED'));
    assert.deepEqual(held, [{ method: putRole, request: { role }, deciding: undefined }]);
  });

  test('one that never waits goes on', async () => {
    const { operations, held } = world();
    await operations.pass(banAgent, callOf({ spiffeId: 'x', reason: '' }));
    assert.deepEqual(held, []);
  });

  test('one by content waits when its request matters, and goes on otherwise', async () => {
    const mattering = world({ matters: true });
    await assert.rejects(
      mattering.operations.pass(mint, callOf(mintRequest)),
      refused('APPROVAL_REQUIRED'),
    );
    assert.deepEqual(mattering.held[0]?.request, { ...mintRequest, csrDer: 'Y3Ny' });
    await world({ matters: false }).operations.pass(mint, callOf(mintRequest));
  });

  test('while it is off nothing waits but the policy that switches it on, for its own approvers', async () => {
    const { operations, held } = world({ enabled: false });
    await operations.pass(mint, callOf(mintRequest));
    const off = { enabled: false, required: 0, lifeSeconds: 0, approvers: [] };
    await operations.pass(putPolicy, callOf({ policy: off, version: 3 }));
    const on = { ...off, enabled: true };
    await assert.rejects(
      operations.pass(putPolicy, callOf({ policy: on, version: 2 })),
      refused('CONFLICT'),
    );
    await assert.rejects(
      operations.pass(putPolicy, callOf({ policy: on, version: 3 })),
      refused('APPROVAL_POLICY_INVALID'),
    );
    assert.deepEqual(held, []);
  });
});

describe('an approved operation', () => {
  test('runs with its request read anew from JSON, and answers in JSON', async () => {
    const { operations, minted } = world();
    const answer = await operations.execute(mint, { ...mintRequest, csrDer: 'Y3Ny' }, operator);
    assert.deepEqual(minted, [mintRequest]);
    assert.deepEqual(answer, {
      serial: '0a',
      chainDer: ['AQ=='],
      notAfter: 7,
      rootsDer: [],
      spiffeId: 'spiffe://x/y',
    });
  });

  test('does not run where this release reads its request in another way', async () => {
    const { operations, minted } = world();
    for (const request of [
      { ...mintRequest, csrDer: 'Y3Ny', novel: true },
      { spiffeId: 'spiffe://mesh.test/web' },
    ])
      await assert.rejects(
        operations.execute(mint, request, operator),
        refused('APPROVAL_NOT_OPEN'),
      );
    assert.deepEqual(minted, []);
  });

  test('does not run as a method that does not exist or that gives many answers', async () => {
    const { operations } = world();
    for (const path of ['/meshca.admin.v1.Certificates/Steal', '/meshca.admin.v1.Server/Backup'])
      await assert.rejects(operations.execute(path, {}, operator), refused('NOT_IMPLEMENTED'));
  });
});

test('an operation runs for no caller of another class, whoever calls it', async () => {
  const { operations, minted } = world();
  await assert.rejects(
    operations.run(mint, agent, mintRequest, new AbortController().signal),
    refused('CALLER_NOT_ADMITTED'),
  );
  await assert.rejects(
    operations.run(
      mint,
      { class: 'anonymous', peer: 'x' },
      mintRequest,
      new AbortController().signal,
    ),
    refused('UNAUTHENTICATED'),
  );
  assert.deepEqual(minted, []);
});

test('a preview that its reader may not see says so, and fails nothing', async () => {
  const { operations } = world();
  const stated = { method: putRole, request: { role: { name: 'x' } } };
  assert.deepEqual(await operations.preview(stated, operator), [
    'the operation can not be compared with the present state: ROLE_MISSING no right to read roles',
  ]);
  assert.deepEqual(await operations.preview({ method: banAgent, request: {} }, operator), []);
});
