import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  canonicalJson,
  checkPolicy,
  operationBytes,
  readOperation,
  type ApprovalPolicy,
  type Json,
} from '../../../../src/common/approval/index.ts';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import type { AdminCaller, LocalCaller } from '../../../../src/services/index.ts';
import {
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { SoftSecurityKey } from '../../../support/ssh.ts';
import { until } from '../../../support/until.ts';

const namespace = 'meshca-approval@v1';
const method = '/meshca.admin.v1.Roles/PutRole';
const keys = {
  alice: new SoftSecurityKey('ed25519'),
  bob: new SoftSecurityKey('ecdsa'),
  carol: new SoftSecurityKey('ed25519'),
};
type Name = keyof typeof keys;

interface World {
  readonly w: ServicesWorld;
  readonly executed: { readonly method: string; readonly request: Json; readonly actor: string }[];
  propose(request?: Json, caller?: LocalCaller | AdminCaller): Promise<string>;
  approve(operation: string, name: Name): Promise<string>;
}

const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: PkiError) => error.code ?? String(error),
  );

async function world(changes: Partial<ApprovalPolicy> = {}, fails = false): Promise<World> {
  const w = await createServicesWorld();
  const { approvals, gate } = w.services;
  const executed: World['executed'] = [];
  gate.connect(async (called, request, caller) => {
    executed.push({
      method: called,
      request,
      actor: caller.class === 'local' ? `uid:${caller.uid}` : caller.spiffeId,
    });
    if (fails) throw new Error('no');
    return { done: true };
  });
  await approvals.putPolicy(
    local,
    {
      enabled: true,
      required: 2,
      lifeSeconds: 3600,
      approvers: Object.entries(keys).map(([name, key]) => ({
        name,
        publicKey: key.publicKey,
        identities: [],
        notBefore: 0,
        notAfter: 0,
      })),
      ...changes,
    },
    0,
  );
  return {
    w,
    executed,
    propose: async (request = { name: 'x' }, caller = local) =>
      String(((await gate.hold(caller, { method, request })) as PkiError).detail['operationId']),
    approve: async (operation, name) => {
      const { line } = await approvals.get(local, operation);
      return code(approvals.submit(local, operation, keys[name].sign(line, namespace)));
    },
  };
}

test('an operation takes approvals until its last second and none afterwards', async () => {
  const { w, propose, approve, executed } = await world();
  await using _ = w;
  const operation = await propose();
  w.clock.advance(3_599_000);
  assert.equal(await approve(operation, 'alice'), 'resolved');
  w.clock.advance(1_000);
  assert.equal(await approve(operation, 'bob'), 'APPROVAL_NOT_OPEN');
  assert.equal((await w.services.approvals.get(local, operation)).status, 'expired');
  assert.deepEqual(executed, []);
  assert.notEqual(await propose(), operation);
});

test('an approval counts only while its approver is valid, also at the decision', async () => {
  const now = Math.floor(Date.now() / 1000);
  const { w, propose, approve, executed } = await world({
    approvers: [
      {
        name: 'alice',
        publicKey: keys.alice.publicKey,
        identities: [],
        notBefore: 0,
        notAfter: now + 100,
      },
      {
        name: 'bob',
        publicKey: keys.bob.publicKey,
        identities: [],
        notBefore: now + 200,
        notAfter: 0,
      },
      { name: 'carol', publicKey: keys.carol.publicKey, identities: [], notBefore: 0, notAfter: 0 },
    ],
  });
  await using _ = w;
  const operation = await propose();
  assert.equal(await approve(operation, 'bob'), 'APPROVAL_NOT_COUNTED');
  assert.equal(await approve(operation, 'alice'), 'resolved');
  w.clock.advance(300_000);
  assert.equal(await approve(operation, 'carol'), 'resolved');
  assert.deepEqual(executed, []);
  assert.equal(await approve(operation, 'bob'), 'resolved');
  assert.equal(executed.length, 1);
});

test('the operation of an admin expires with his certificate, and runs with his rights', async () => {
  const { w, propose, approve, executed } = await world();
  await using _ = w;
  const admin = (await w.mint('/admin/erin', true)) as AdminCaller;
  assert.equal(await code(w.services.gate.hold(admin, { method, request: {} })), 'ROLE_MISSING');
  await w.services.roles.put(local, {
    name: 'erins',
    verbs: ['*'],
    prefixes: [id('/')],
    members: [admin.spiffeId],
  });
  const operation = await propose({ name: 'y' }, admin);
  assert.equal(
    (await w.services.approvals.get(local, operation)).stated.expiresAt,
    Math.min(w.clock.now() + 3600, admin.notAfter + 1),
  );
  await approve(operation, 'alice');
  await approve(operation, 'bob');
  assert.deepEqual(
    executed.map(({ actor, request }) => [actor, request]),
    [[admin.spiffeId, { name: 'y' }]],
  );
});

test('an operation that was executing at a stop is recorded as interrupted and never runs again', async () => {
  const { w, propose, approve, executed } = await world();
  await using _ = w;
  const operation = await propose();
  await approve(operation, 'alice');
  // the process ends between the decision and its execution
  w.services.gate.connect(() => new Promise(() => {}));
  const { line } = await w.services.approvals.get(local, operation);
  void w.services.approvals
    .submit(local, operation, keys.bob.sign(line, namespace))
    .catch(() => {});
  await until(
    async () => (await w.store.approvals.interrupted()).length > 0,
    'it is being executed',
  );
  await w.services.gate.recover();
  assert.equal((await w.services.approvals.get(local, operation)).status, 'interrupted');
  assert.equal(await approve(operation, 'carol'), 'APPROVAL_NOT_OPEN');
  assert.equal((await w.audit('approval.interrupted')).length, 1);
  assert.deepEqual(executed, []);
});

test('a failed operation keeps its reason, and its approvals are spent', async () => {
  const { w, propose, approve, executed } = await world({}, true);
  await using _ = w;
  const operation = await propose();
  await approve(operation, 'alice');
  assert.equal(await approve(operation, 'bob'), 'resolved');
  assert.equal(
    (await w.services.approvals.get(local, operation)).operation.outcome,
    'INTERNAL: no',
  );
  assert.equal(await approve(operation, 'carol'), 'APPROVAL_NOT_OPEN');
  assert.equal(executed.length, 1);
});

test('one proposer can not fill the list', async () => {
  const { w, propose } = await world();
  await using _ = w;
  for (let index = 0; index < 20; index += 1) await propose({ index });
  assert.equal(
    await code(w.services.gate.hold(local, { method, request: { index: 20 } })),
    'RATE_LIMITED',
  );
  assert.match(await propose({ index: 20 }, { ...local, uid: 1000 }), /^[0-9a-f-]{36}$/);
});

test('whose roles are over tenants alone sees and carries the operations that he has proposed', async () => {
  const { w, propose } = await world();
  await using _ = w;
  const shop = { name: 'shop', description: '', dnsSuffixes: ['shop.test'], spiffePrefixes: [] };
  const quota = { quotaCertificates: 0, quotaSeconds: 0 };
  await w.services.tenants.create(local, { ...shop, ...quota }, { dryRun: false });
  const admin = (await w.mint('/ops/ada', true)) as AdminCaller;
  const put = (prefixes: readonly string[]) =>
    w.services.roles.put(local, { name: 'r', verbs: ['*'], prefixes, members: [admin.spiffeId] });
  await put(['tenant:shop']);
  const { approvals } = w.services;
  const other = await propose({ name: 'other' });
  const own = await propose({ name: 'own' }, admin);
  const listed = async () =>
    (await approvals.list(admin, { pendingOnly: true }, { size: 10 })).items.map(
      ({ operation }) => operation.id,
    );
  assert.deepEqual(await listed(), [own]);
  assert.equal((await approvals.get(admin, own)).status, 'pending');
  assert.equal(await code(approvals.get(admin, other)), 'NOT_FOUND');
  const { line } = await approvals.get(local, other);
  const signature = keys.alice.sign(line, namespace);
  assert.equal(await code(approvals.submit(admin, other, signature)), 'NOT_FOUND');
  const said = (promise: Promise<unknown>, operation: string): Promise<string> =>
    promise.then(
      () => 'resolved',
      ({ code: of, message, next }: PkiError) =>
        `${of} ${message} ${next}`.replaceAll(operation, 'ID'),
    );
  const none = uuidv7();
  const acts: readonly ((operation: string) => Promise<unknown>)[] = [
    (operation) => approvals.takeResult(admin, operation),
    (operation) => approvals.withdraw(admin, operation, 'x'),
  ];
  for (const act of acts) {
    const answer = await said(act(other), other);
    assert.match(answer, /^NOT_FOUND/);
    assert.equal(answer, await said(act(none), none), 'as for one that is not there');
  }
  assert.match(await said(approvals.takeResult(admin, own), own), /there is no result of ID/);
  assert.equal((await approvals.withdraw(admin, own, 'x')).status, 'withdrawn');
  await put(['tenant:shop', id('/ops/')]);
  assert.equal((await listed()).length, 1);
  for (const act of acts) assert.equal(await code(act(other)), 'ROLE_MISSING', 'he sees it');
  assert.equal(await code(approvals.submit(admin, other, signature)), 'resolved');
});

test('an operation has one form in bytes, and a policy one in text', () => {
  const operation = {
    id: 'a',
    trustDomain: 'mesh.test',
    epoch: 'e',
    method,
    request: { b: [1, 'x', null, true], a: { c: '\u2028' } },
    proposer: { actor: 'uid:0', serial: '' },
    policyVersion: 1,
    policySha256: 'f',
    createdAt: 1,
    expiresAt: 2,
  };
  const bytes = operationBytes(operation);
  assert.ok(readOperation(bytes).ok);
  const text = bytes.toString();
  for (const other of [
    text.replace('"id":"a"', '"id": "a"'),
    text.replace('{"createdAt":1,', '{"createdAt":1,"createdAt":1,'),
    `${text} `,
    text.replace('v1', 'v2'),
    text.replace('"policyVersion":1', '"policyVersion":1.0'),
    text.replace('}', ',"more":1}'),
  ]) {
    assert.equal(readOperation(Buffer.from(other)).ok, false, other);
  }
  assert.equal(canonicalJson({ b: Buffer.from('x'), a: undefined, c: -0 }), '{"b":"eA==","c":0}');
  for (const bad of [Number.NaN, Infinity, 2 ** 53, () => 1, { a: Symbol('x') }])
    assert.throws(() => canonicalJson(bad));
  const policy = {
    enabled: true,
    required: 2,
    lifeSeconds: 0,
    approvers: (['bob', 'alice'] as const).map((name) => ({
      name,
      publicKey: keys[name].publicKey,
      identities: [],
      notBefore: 0,
      notAfter: 0,
    })),
  };
  const checked = checkPolicy(policy);
  assert.ok(
    checked.ok &&
      checked.value.lifeSeconds === 86_400 &&
      checked.value.approvers[0]?.name === 'alice' &&
      !checked.value.approvers[0].publicKey.includes('token@test'),
  );
  assert.equal(
    checkPolicy({
      ...policy,
      approvers: policy.approvers.map((each) => ({ ...each, identities: ['uid:0'] })),
    }).ok,
    false,
  );
  assert.equal(
    checkPolicy({
      ...policy,
      approvers: policy.approvers.map((each) => ({ ...each, identities: ['alice'] })),
    }).ok,
    false,
  );
});

test('while the database is not trusted the acceptance of the loss alone is approved', async () => {
  const { w, propose, approve } = await world();
  await using _ = w;
  const hold = async (called: string): Promise<string> => {
    const held = await w.services.gate.hold(local, { method: called, request: {} });
    return String((held as PkiError).detail['operationId']);
  };
  const loss = await hold('/meshca.admin.v1.Server/AcceptRestore');
  const namesake = await hold('/meshca.admin.v1.Roles/AcceptRestore');
  const other = await propose();
  w.distrust(new PkiError('DATABASE_STALE', 'the database is older than what was signed'));
  assert.equal(await approve(other, 'alice'), 'DATABASE_STALE');
  assert.equal(await approve(namesake, 'alice'), 'DATABASE_STALE');
  assert.equal(await approve(loss, 'alice'), 'resolved');
});
