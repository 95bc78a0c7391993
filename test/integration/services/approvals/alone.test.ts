import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import type { Client } from '@grpc/grpc-js';
import { approvalLine, operationSha256 } from '../../../../src/common/approval/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../../src/common/x509/index.ts';
import { databasePath } from '../../../../src/config/index.ts';
import { rows } from '../../../../src/api/index.ts';
import {
  aliceId,
  startDualWorld,
  switchOn,
  type DualWorld,
} from '../../../support/dual-control.ts';
import { codeOf, unaryCall, untypedCall, type AdminMethod } from '../../../support/server.ts';
import { sshSign } from '../../../support/ssh.ts';

/**
 * Alice is an admin with every right, one of three approvers, and sits on the local socket. Two are
 * needed. Whatever she tries alone must come to nothing.
 */
let w: DualWorld;
let alice: Client;
const everything = { verbs: ['*'], prefixes: ['spiffe://mesh.test/'] };
const local = (method: string, request: object = {}): Promise<any> =>
  w.server.admin(method as AdminMethod, request);
const remote = (method: string, request: object = {}): Promise<any> =>
  untypedCall(alice, `/meshca.admin.v1.${method}`, request);
const submit = (id: string, signature: string): Promise<string> =>
  codeOf(local('Approvals/SubmitApproval', { id, signature }));
const putRole = (name: string): object => ({ role: { name, ...everything, members: [] } });
const roleNames = async (): Promise<readonly string[]> =>
  (await local('Roles/ListRoles')).roles.map((each: any) => each.name);
const csr = async (): Promise<Buffer> =>
  createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
const entry = (changes: object): object => ({
  entries: [
    {
      spiffeId: 'spiffe://mesh.test/app',
      parentId: 'spiffe://mesh.test/meshca/agent/node-1',
      selectors: [`unix:uid:${1000 + Math.floor(Math.random() * 50_000)}`],
      ...changes,
    },
  ],
});

before(async () => {
  w = await startDualWorld();
  await w.server.admin('Roles/PutRole', {
    role: { name: 'root-team', ...everything, members: [aliceId, 'spiffe://mesh.test/admin/bob'] },
  });
  const { results } = await w.server.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'bobs-entry',
        spiffeId: 'spiffe://mesh.test/admin/bob',
        parentId: 'spiffe://mesh.test/meshca/agent/bobs-node',
        selectors: ['unix:uid:2001'],
        admin: true,
      },
      {
        id: 'ops-nodes',
        spiffeId: 'spiffe://mesh.test/nodes/ops',
        parentId: 'spiffe://mesh.test/meshca/server',
        selectors: ['node:ops:yes'],
      },
      {
        id: 'plain',
        spiffeId: 'spiffe://mesh.test/plain',
        parentId: 'spiffe://mesh.test/meshca/agent/node-1',
        selectors: ['unix:uid:3001'],
      },
    ],
  });
  for (const { problem } of results) assert.equal(problem ?? null, null);
  await w.server.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'ops-admin',
        spiffeId: 'spiffe://mesh.test/admin/ops',
        parentId: 'spiffe://mesh.test/nodes/ops',
        selectors: ['unix:uid:2002'],
        admin: true,
      },
    ],
  });
  alice = w.server.client(await w.server.mint(aliceId, { admin: true }));
  await switchOn(w);
});
after(async () => w?.[Symbol.asyncDispose]());

describe('one admin alone: calls that make an admin or approver wait for approval', () => {
  const attempts: readonly (readonly [string, string, () => object | Promise<object>])[] = [
    [
      'enrolling an own second key',
      'Approvals/PutApprovalPolicy',
      () => ({
        version: 1,
        policy: {
          ...w.policy,
          approvers: [
            ...(w.policy as any).approvers,
            { name: 'mallory', publicKey: w.keys.mallory.publicKey },
          ],
        },
      }),
    ],
    [
      'replacing the key of an approver',
      'Approvals/PutApprovalPolicy',
      () => ({
        version: 1,
        policy: {
          ...w.policy,
          approvers: (w.policy as any).approvers.map((each: any) =>
            each.name === 'bob' ? { ...each, publicKey: w.keys.mallory.publicKey } : each,
          ),
        },
      }),
    ],
    [
      'lowering k',
      'Approvals/PutApprovalPolicy',
      () => ({ version: 1, policy: { ...w.policy, required: 1 } }),
    ],
    [
      'switching it off',
      'Approvals/PutApprovalPolicy',
      () => ({ version: 1, policy: { ...w.policy, enabled: false } }),
    ],
    [
      'losing the tie of own key and own identity',
      'Approvals/PutApprovalPolicy',
      () => ({
        version: 1,
        policy: {
          ...w.policy,
          approvers: (w.policy as any).approvers.map((each: any) => ({ ...each, identities: [] })),
        },
      }),
    ],
    ['a role', 'Roles/PutRole', () => putRole('mine')],
    ['deleting a role', 'Roles/DeleteRole', () => ({ name: 'root-team' })],
    [
      'minting an admin',
      'Certificates/MintX509Svid',
      async () => ({
        spiffeId: 'spiffe://mesh.test/new',
        csrDer: await csr(),
        requestId: uuidv7(),
        admin: true,
      }),
    ],
    [
      'minting for an ID that a role names',
      'Certificates/MintX509Svid',
      async () => ({
        spiffeId: 'spiffe://mesh.test/admin/bob',
        csrDer: await csr(),
        requestId: uuidv7(),
      }),
    ],
    ['an entry with the admin flag', 'Entries/CreateEntries', () => entry({ admin: true })],
    [
      'an admin entry hidden among others',
      'Entries/CreateEntries',
      () => ({
        entries: [...(entry({}) as any).entries, ...(entry({ admin: true }) as any).entries],
      }),
    ],
    ['a downstream entry', 'Entries/CreateEntries', () => entry({ downstream: true })],
    [
      'an entry for an ID that a role names',
      'Entries/CreateEntries',
      () => entry({ spiffeId: 'spiffe://mesh.test/admin/bob' }),
    ],
    [
      'a template that reaches an ID that a role names',
      'Entries/CreateEntries',
      () =>
        entry({
          spiffeId: 'spiffe://mesh.test/admin/{unix.user}',
          placeholders: [{ placeholder: 'unix.user', allowed: ['bob'] }],
        }),
    ],
    [
      'giving a plain entry the admin flag',
      'Entries/UpdateEntry',
      () => ({ entry: { ...(entry({ id: 'plain', admin: true }) as any).entries[0] } }),
    ],
    [
      'giving a plain entry an ID that a role names',
      'Entries/UpdateEntry',
      () => ({
        entry: {
          ...(entry({ id: 'plain', spiffeId: 'spiffe://mesh.test/admin/bob' }) as any).entries[0],
        },
      }),
    ],
    [
      'pointing an admin entry at another process',
      'Entries/UpdateEntry',
      () => ({
        entry: {
          id: 'bobs-entry',
          spiffeId: 'spiffe://mesh.test/admin/bob',
          parentId: 'spiffe://mesh.test/meshca/agent/node-1',
          selectors: ['unix:uid:1'],
          admin: true,
        },
      }),
    ],
    [
      'taking over an admin entry under another name',
      'Entries/UpdateEntry',
      () => ({
        entry: {
          id: 'bobs-entry',
          spiffeId: 'spiffe://mesh.test/x',
          parentId: 'spiffe://mesh.test/meshca/agent/node-1',
          selectors: ['unix:uid:1'],
        },
      }),
    ],
    ['applying an admin entry', 'Entries/ApplyEntries', () => entry({ admin: true })],
    ['pruning admin entries away', 'Entries/ApplyEntries', () => ({ ...entry({}), prune: true })],
    ['deleting an admin entry', 'Entries/DeleteEntries', () => ({ ids: ['plain', 'bobs-entry'] })],
    [
      'widening a node set with admins under it',
      'Entries/UpdateEntry',
      () => ({
        entry: {
          id: 'ops-nodes',
          spiffeId: 'spiffe://mesh.test/nodes/ops',
          parentId: 'spiffe://mesh.test/meshca/server',
          selectors: ['node:any:yes'],
        },
      }),
    ],
    [
      'a second definition of that node set',
      'Entries/CreateEntries',
      () =>
        entry({
          spiffeId: 'spiffe://mesh.test/nodes/ops',
          parentId: 'spiffe://mesh.test/meshca/server',
          selectors: ['node:other:yes'],
        }),
    ],
    [
      'a token for the node of an admin',
      'Tokens/CreateJoinToken',
      () => ({ agentName: 'bobs-node' }),
    ],
    [
      'a token with selectors, where a node set has admins',
      'Tokens/CreateJoinToken',
      () => ({ agentName: 'fresh', nodeSelectors: ['node:ops:yes'] }),
    ],
    [
      'a delegation',
      'Delegations/CreateDelegation',
      () => ({
        delegation: {
          clientId: 'spiffe://mesh.test/cp',
          patterns: ['spiffe://mesh.test/**'],
          maxTtlSeconds: 60,
        },
      }),
    ],
    ['a new authority', 'AuthoritySources/CreateAuthorityCsr', () => ({ kind: 'issuing' })],
    [
      'rotating',
      'Authorities/RotateAuthorities',
      () => ({ kind: 'root', force: true, reason: 'because' }),
    ],
    ['tainting', 'Authorities/TaintAuthority', () => ({ id: 'x', reason: 'because', force: true })],
    [
      'revoking an authority',
      'Authorities/RevokeAuthority',
      () => ({ id: 'x', reason: 'because', force: true }),
    ],
    ['revoking a certificate', 'Certificates/RevokeCertificate', () => ({ serial: 'aa' })],
  ];
  for (const [what, method, request] of attempts) {
    test(`${what}, over the network and as root on the local socket`, async () => {
      const [a, b] = [await request(), await request()];
      const first = await w.held(remote(method, a));
      const second = await w.held(local(method, b));
      for (const id of [first, second])
        await local('Approvals/WithdrawOperation', { id, reason: 'test' });
    });
  }

  test('each operation that always waits does so, even with an empty request', async () => {
    for (const { path, dualControl } of rows.values()) {
      if (dualControl !== 'always') continue;
      const method = path.replace('/meshca.admin.v1.', '');
      assert.equal(await codeOf(local(method)), 'APPROVAL_REQUIRED', method);
      // no more than a few may wait at a time
      const { operations } = await local('Approvals/ListOperations', { pendingOnly: true });
      for (const { id } of operations) await local('Approvals/WithdrawOperation', { id });
    }
  });

  test('daily work and emergencies do not wait', async () => {
    const made = await local('Entries/CreateEntries', entry({ id: 'daily' }));
    assert.equal(made.results[0].entry.id, 'daily');
    await local('Entries/DeleteEntries', { ids: ['daily'] });
    await local('Tokens/CreateJoinToken', { agentName: 'node-7' });
    await local('Certificates/MintX509Svid', {
      spiffeId: 'spiffe://mesh.test/tool',
      csrDer: await csr(),
      requestId: uuidv7(),
    });
    await local('Entries/ApplyEntries', { ...entry({ admin: true }), dryRun: true });
    const agent = await w.server.joinAgent('node-8');
    await remote('Agents/BanAgent', { spiffeId: agent.spiffeId, reason: 'test' });
  });
});

describe('one admin alone: no signature counts as two', () => {
  test('her signature does not count for her own proposal, and counts once for others', async () => {
    const own = await w.held(remote('Roles/PutRole', putRole('mine')));
    assert.equal(await submit(own, await w.sign(own, w.keys.alice)), 'APPROVAL_NOT_COUNTED');
    const asRoot = await w.held(local('Roles/PutRole', putRole('mine')));
    assert.equal(await submit(asRoot, await w.sign(asRoot, w.keys.alice)), 'resolved');
    assert.equal(await submit(asRoot, await w.sign(asRoot, w.keys.alice)), 'APPROVAL_NOT_COUNTED');
    assert.equal(
      (await local('Approvals/GetOperation', { id: asRoot })).operation.status,
      'pending',
    );
    assert.ok(!(await roleNames()).includes('mine'));
  });

  test('a strange key, another namespace, another text and another operation do not count', async () => {
    const id = await w.held(local('Roles/PutRole', putRole('strange')));
    const other = await w.held(local('Roles/PutRole', putRole('harmless')));
    const { line, bytes, operation } = await local('Approvals/GetOperation', { id });
    assert.equal(
      line,
      approvalLine({ trustDomain: 'mesh.test', id }, operationSha256(bytes as Buffer)),
    );
    assert.equal(operation.sha256, operationSha256(bytes as Buffer));
    assert.equal(await submit(id, await w.sign(id, w.keys.mallory)), 'APPROVAL_NOT_COUNTED');
    assert.equal(await submit(id, await w.sign(id, w.keys.bob, 'git')), 'SSH_SIGNATURE_INVALID');
    assert.equal(
      await submit(id, await w.sign(id, w.keys.bob, 'meshca-approval@v2')),
      'SSH_SIGNATURE_INVALID',
    );
    assert.equal(
      await submit(
        id,
        await sshSign(w.dir, w.keys.bob.keyPath, (line as string).trimEnd(), {
          namespace: 'meshca-approval@v1',
        }),
      ),
      'SSH_SIGNATURE_INVALID',
    );
    // bob approved the harmless one: that is no approval of this one
    const forOther = await w.sign(other, w.keys.bob);
    assert.equal(await submit(other, forOther), 'resolved');
    assert.equal(await submit(id, forOther), 'SSH_SIGNATURE_INVALID');
    assert.equal((await local('Approvals/GetOperation', { id })).approvals.length, 0);
  });

  test('approvals of an executed operation count for no repetition of it', async () => {
    const id = await w.held(local('Roles/PutRole', putRole('once')));
    const signatures = await Promise.all([w.keys.bob, w.keys.carol].map((key) => w.sign(id, key)));
    for (const signature of signatures) assert.equal(await submit(id, signature), 'resolved');
    await w.approve(
      await w.held(local('Roles/DeleteRole', { name: 'once' })),
      w.keys.bob,
      w.keys.carol,
    );
    for (const signature of signatures)
      assert.equal(await submit(id, signature), 'APPROVAL_NOT_OPEN');
    const again = await w.held(local('Roles/PutRole', putRole('once')));
    for (const signature of signatures)
      assert.equal(await submit(again, signature), 'SSH_SIGNATURE_INVALID');
    assert.ok(!(await roleNames()).includes('once'));
  });

  test('an operation fails when its proposer has lost his rights since', async () => {
    const erin = w.server.client(await mintApproved('spiffe://mesh.test/admin/erin'));
    await w.approve(
      await w.held(
        local('Roles/PutRole', {
          role: { name: 'erins', ...everything, members: ['spiffe://mesh.test/admin/erin'] },
        }),
      ),
      w.keys.bob,
      w.keys.carol,
    );
    const id = await w.held(
      unaryCall(erin, '/meshca.admin.v1.Roles/PutRole', putRole('erins-second')),
    );
    await w.approve(id, w.keys.bob);
    await w.approve(
      await w.held(local('Roles/DeleteRole', { name: 'erins' })),
      w.keys.bob,
      w.keys.carol,
    );
    const done = await w.approve(id, w.keys.carol);
    assert.equal(done.operation!.status, 'failed');
    assert.match(done.operation!.outcome, /^ROLE_MISSING/);
    assert.equal(
      await codeOf(unaryCall(erin, '/meshca.admin.v1.Roles/PutRole', putRole('erins-third'))),
      'ROLE_MISSING',
    );
  });
});

async function mintApproved(spiffeId: string) {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const id = await w.held(
    local('Certificates/MintX509Svid', {
      spiffeId,
      csrDer: createCsr(privateKey),
      requestId: uuidv7(),
      admin: true,
    }),
  );
  await w.approve(id, w.keys.bob, w.keys.carol);
  const minted = JSON.parse((await local('Approvals/TakeResult', { id })).responseJson) as {
    serial: string;
    chainDer: string[];
  };
  return {
    spiffeId,
    serial: minted.serial,
    chainDer: minted.chainDer.map((der) => Buffer.from(der, 'base64')),
    privateKey,
  };
}

describe('one admin alone, with write access to the database', () => {
  const sql = (statement: string, ...values: (string | number | Buffer)[]): void => {
    const database = new DatabaseSync(databasePath(w.server.config), { timeout: 2000 });
    try {
      assert.ok(Number(database.prepare(statement).run(...values).changes) > 0, statement);
    } finally {
      database.close();
    }
  };
  const database = (act: (database: DatabaseSync) => void): void => {
    const opened = new DatabaseSync(databasePath(w.server.config), { timeout: 2000 });
    try {
      act(opened);
    } finally {
      opened.close();
    }
  };
  const rows = (statement: string): any[] => {
    const database = new DatabaseSync(databasePath(w.server.config), {
      readOnly: true,
      timeout: 2000,
    });
    try {
      return database.prepare(statement).all();
    } finally {
      database.close();
    }
  };

  test('a changed request in the row of a half approved operation is refused', async () => {
    const id = await w.held(local('Roles/PutRole', putRole('innocent')));
    await w.approve(id, w.keys.bob);
    const signature = await w.sign(id, w.keys.carol);
    const [{ bytes }] = rows(`SELECT bytes FROM operations WHERE id = '${id}'`);
    sql(
      'UPDATE operations SET bytes = ? WHERE id = ?',
      Buffer.from(Buffer.from(bytes).toString().replace('innocent', 'tampered')),
      id,
    );
    assert.equal(await submit(id, signature), 'OBJECT_NOT_IN_LOG');
    assert.equal(await codeOf(local('Approvals/GetOperation', { id })), 'OBJECT_NOT_IN_LOG');
    const { operations } = await local('Approvals/ListOperations');
    assert.equal(operations.find((each: any) => each.id === id).status, 'altered');
    assert.ok(!(await roleNames()).includes('tampered'));
  });

  test('hiding an admin entry for a moment does not free a join token for its node', async () => {
    const [row] = rows("SELECT * FROM entries WHERE id = 'bobs-entry'");
    const ask = (): Promise<string> =>
      codeOf(local('Tokens/CreateJoinToken', { agentName: 'bobs-node' }));
    for (const [tamper, repair] of [
      [
        "UPDATE entries SET parent_id = 'spiffe://mesh.test/meshca/agent/elsewhere' WHERE id = 'bobs-entry'",
        () => sql("UPDATE entries SET parent_id = ? WHERE id = 'bobs-entry'", row.parent_id),
      ],
      [
        "UPDATE entries SET admin = 0, spiffe_id = 'spiffe://mesh.test/none' WHERE id = 'bobs-entry'",
        () =>
          sql("UPDATE entries SET admin = 1, spiffe_id = ? WHERE id = 'bobs-entry'", row.spiffe_id),
      ],
      [
        "UPDATE entries SET id = 'zz' WHERE id = 'ops-admin'",
        () => sql("UPDATE entries SET id = 'ops-admin' WHERE id = 'zz'"),
      ],
    ] as const) {
      database((each) => each.exec(`PRAGMA foreign_keys = OFF; ${tamper}`));
      const code = await ask();
      repair();
      assert.match(code, /^(OBJECT_NOT_IN_LOG|APPROVAL_REQUIRED)$/, tamper);
      assert.equal(await ask(), 'APPROVAL_REQUIRED');
    }
    database((each) =>
      each.exec(
        'PRAGMA foreign_keys = OFF; CREATE TEMP TABLE away AS SELECT * FROM entries WHERE ' +
          "id = 'bobs-entry'; DELETE FROM entries WHERE id = 'bobs-entry'; CREATE TABLE " +
          'main.kept AS SELECT * FROM temp.away',
      ),
    );
    assert.equal(await ask(), 'OBJECT_NOT_IN_LOG');
    database((each) =>
      each.exec(
        'PRAGMA foreign_keys = OFF; INSERT INTO entries SELECT * FROM kept; DROP TABLE kept',
      ),
    );
    assert.equal(await ask(), 'APPROVAL_REQUIRED');
    database((each) =>
      each.exec(
        'PRAGMA foreign_keys = OFF; CREATE TABLE kept AS SELECT * FROM roles; DELETE FROM roles',
      ),
    );
    assert.equal(
      await codeOf(
        local('Certificates/MintX509Svid', {
          spiffeId: 'spiffe://mesh.test/admin/bob',
          csrDer: await csr(),
          requestId: uuidv7(),
        }),
      ),
      'OBJECT_NOT_IN_LOG',
    );
    database((each) =>
      each.exec('PRAGMA foreign_keys = OFF; INSERT INTO roles SELECT * FROM kept; DROP TABLE kept'),
    );
  });

  test('an executed operation that is set back to pending is not executed again', async () => {
    const id = await w.held(local('Roles/PutRole', putRole('set-back')));
    const signature = await w.sign(id, w.keys.alice);
    await w.approve(id, w.keys.bob, w.keys.carol);
    sql("UPDATE operations SET state = 'pending', evidence = '', decided_at = 0 WHERE id = ?", id);
    assert.equal(await submit(id, signature), 'OBJECT_NOT_IN_LOG');
  });

  test('a changed, deleted or disabled policy row neither frees a call nor approves one', async () => {
    const [before] = rows('SELECT * FROM approval_policy');
    const pending = await w.held(local('Roles/PutRole', putRole('before-tampering')));
    const signature = await w.sign(pending, w.keys.bob);
    for (const tamper of [
      () =>
        sql(
          'UPDATE approval_policy SET policy = ?',
          String(before.policy).replace('"enabled":true', '"enabled":false'),
        ),
      () =>
        sql(
          'UPDATE approval_policy SET policy = ?',
          String(before.policy).replace(
            /ssh-ed25519 [A-Za-z0-9+/=]+/,
            w.keys.mallory.publicKey.split(' ').slice(0, 2).join(' '),
          ),
        ),
      () => sql('UPDATE approval_policy SET version = 0'),
      () => sql('DELETE FROM approval_policy'),
    ]) {
      tamper();
      assert.equal(await codeOf(local('Roles/PutRole', putRole('tampered'))), 'OBJECT_NOT_IN_LOG');
      assert.equal(
        await codeOf(
          remote('Certificates/MintX509Svid', {
            spiffeId: 'spiffe://mesh.test/y',
            csrDer: await csr(),
            requestId: uuidv7(),
            admin: true,
          }),
        ),
        'OBJECT_NOT_IN_LOG',
      );
      assert.equal(await submit(pending, signature), 'OBJECT_NOT_IN_LOG');
      sql(
        'INSERT OR REPLACE INTO approval_policy (id, version, policy, updated_at, updated_by) VALUES (1, ?, ?, ?, ?)',
        before.version,
        before.policy,
        before.updated_at,
        before.updated_by,
      );
    }
    assert.equal(await submit(pending, signature), 'resolved');
    assert.ok(!(await roleNames()).includes('tampered'));
  });

  test('a restart on a changed policy row frees nothing', async () => {
    const [before] = rows('SELECT * FROM approval_policy');
    await w.server.stop();
    sql('DELETE FROM approval_policy');
    await w.server.restart();
    assert.equal(
      await codeOf(w.server.admin('Roles/PutRole', putRole('after-restart'))),
      'OBJECT_NOT_IN_LOG',
    );
    sql(
      'INSERT INTO approval_policy (id, version, policy, updated_at, updated_by) VALUES (1, ?, ?, ?, ?)',
      before.version,
      before.policy,
      before.updated_at,
      before.updated_by,
    );
    await w.held(w.server.admin('Roles/PutRole', putRole('after-restart')));
  });
});

test('after all attempts she has no role, certificate or key', async () => {
  assert.ok(
    !(await roleNames()).some((name) =>
      [
        'mine',
        'strange',
        'tampered',
        'innocent',
        'erins-second',
        'erins-third',
        'after-restart',
      ].includes(name),
    ),
  );
  const { policy } = await w.server.admin('Approvals/GetApprovalPolicy');
  assert.deepEqual(
    [(policy as any).required, (policy as any).approvers.map((each: any) => each.name)],
    [2, ['alice', 'bob', 'carol']],
  );
});
