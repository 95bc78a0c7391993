import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { verifyEvidence } from '../../../../src/common/approval/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { namespace, startDualWorld, type DualWorld } from '../../../support/dual-control.ts';
import { codeOf } from '../../../support/server.ts';
import { SoftSecurityKey } from '../../../support/ssh.ts';
import { until } from '../../../support/until.ts';

let w: DualWorld;
const role = (name: string, members: readonly string[] = []): object => ({
  role: { name, verbs: ['entry.read'], prefixes: ['spiffe://mesh.test/'], members },
});
const putRole = (name: string): Promise<string> =>
  w.held(w.server.admin('Roles/PutRole', role(name)));
const roleNames = async (): Promise<readonly string[]> =>
  (await w.server.admin('Roles/ListRoles')).roles.map((each) => each.name);
const statusOf = async (id: string): Promise<string> =>
  (await w.server.admin('Approvals/GetOperation', { id })).operation!.status;

before(async () => {
  w = await startDualWorld();
});
after(async () => w?.[Symbol.asyncDispose]());

describe('switching on', () => {
  test('nothing waits before it, and a disabled policy can be prepared', async () => {
    await w.server.admin('Roles/PutRole', role('before'));
    assert.equal((await w.server.admin('Approvals/GetApprovalPolicy')).policy?.enabled, false);
  });

  test('a policy with one approver, too few approvers, or a key under two names is refused', async () => {
    const { alice, bob } = w.keys;
    const put = (policy: object) =>
      codeOf(
        w.server.admin('Approvals/PutApprovalPolicy', {
          policy: { enabled: true, required: 2, ...policy },
          version: 0,
        }),
      );
    assert.equal(
      await put({
        approvers: [
          { name: 'a', publicKey: alice.publicKey },
          { name: 'b', publicKey: bob.publicKey },
        ],
        required: 1,
      }),
      'APPROVAL_POLICY_INVALID',
    );
    assert.equal(
      await put({ approvers: [{ name: 'a', publicKey: alice.publicKey }] }),
      'APPROVAL_POLICY_INVALID',
    );
    assert.equal(
      await put({
        approvers: [
          { name: 'a', publicKey: alice.publicKey },
          { name: 'b', publicKey: alice.publicKey.replace('alice@test', 'bob@test') },
        ],
      }),
      'APPROVAL_POLICY_INVALID',
    );
    assert.equal(
      await put({
        approvers: [
          { name: 'a', publicKey: alice.publicKey },
          { name: 'A', publicKey: bob.publicKey },
        ],
      }),
      'APPROVAL_POLICY_INVALID',
    );
    assert.equal(
      await put({
        approvers: [
          { name: 'a', publicKey: alice.publicKey },
          { name: 'b', publicKey: 'ssh-ed25519 AAAA' },
        ],
      }),
      'SSH_KEY_INVALID',
    );
  });

  test('takes effect when its own approvers have approved it', async () => {
    const id = await w.held(
      w.server.admin('Approvals/PutApprovalPolicy', { policy: w.policy, version: 0 }),
    );
    const shown = await w.server.admin('Approvals/GetOperation', { id });
    assert.deepEqual([shown.required, shown.missing], [2, ['alice', 'bob', 'carol']]);
    assert.equal((await w.approve(id, w.keys.alice)).operation?.status, 'pending');
    assert.equal((await w.server.admin('Approvals/GetApprovalPolicy')).policy?.enabled, false);
    assert.equal((await w.approve(id, w.keys.carol)).operation?.status, 'executed');
    const { policy, version } = await w.server.admin('Approvals/GetApprovalPolicy');
    assert.deepEqual([policy!.enabled, version, policy!.approvers.length], [true, 1, 3]);
  });
});

describe('an operation', () => {
  test('shows its effect, waits for two, is executed once, and its record can be checked offline', async () => {
    const id = await putRole('night-shift');
    const shown = await w.server.admin('Approvals/GetOperation', { id });
    assert.ok(shown.explanation.includes('+ name: "night-shift"'), shown.explanation.join('\n'));
    assert.match(shown.bytes.toString(), /"method":"\/meshca\.admin\.v1\.Roles\/PutRole"/);
    const metrics = await (
      await fetch(`http://127.0.0.1:${w.server.server.opsPort}/metrics`)
    ).text();
    assert.match(metrics, /^meshca_pending_operations\{kind="PutRole"\} 1$/m);
    assert.match(metrics, /^meshca_pending_operation_age_seconds\{kind="PutRole"\} \d+$/m);
    assert.ok(!(await roleNames()).includes('night-shift'));
    await w.approve(id, w.keys.bob);
    assert.ok(!(await roleNames()).includes('night-shift'));
    const done = await w.approve(id, w.keys.carol);
    assert.equal(done.operation!.status, 'executed');
    assert.ok((await roleNames()).includes('night-shift'));
    const { records } = await w.server.admin('Audit/ListAuditRecords', {
      kind: 'approval.decided',
      subject: id,
    });
    const verified = unwrap(verifyEvidence((records[0]!.canonical as Buffer).toString()));
    assert.deepEqual(
      [verified.operation.id, verified.approvals.map(({ approver }) => approver).sort()],
      [id, ['bob', 'carol']],
    );
    assert.deepEqual(unwrap(verifyEvidence(done.evidence)).approvals.length, 2);
    assert.equal(
      verifyEvidence(done.evidence.replace(/"decidedAt":\d+/, '"decidedAt":1')).ok,
      false,
    );
    assert.equal(verifyEvidence(done.evidence, 'f'.repeat(64)).ok, false);
    const forged = JSON.parse(done.evidence) as { operation: string; signatures: string[] };
    const bytes = Buffer.from(forged.operation, 'base64')
      .toString()
      .replace('night-shift', 'all-nights1');
    assert.equal(
      verifyEvidence(
        JSON.stringify({ ...forged, operation: Buffer.from(bytes).toString('base64') }),
      ).ok,
      false,
    );
    assert.equal(
      verifyEvidence(
        JSON.stringify({ ...forged, signatures: [forged.signatures[0], forged.signatures[0]] }),
      ).ok,
      false,
    );
  });

  test('that is proposed again while it waits stays one operation', async () => {
    const id = await putRole('same');
    assert.equal(await putRole('same'), id);
    assert.notEqual(await putRole('other'), id);
  });

  test('on authorities shows the plan and is carried out after approval', async () => {
    const id = await w.held(
      w.server.admin('Authorities/RotateAuthorities', {
        kind: 'jwt',
        stopAfter: 'prepared',
        reason: 'exercise',
      }),
    );
    const { explanation } = await w.server.admin('Approvals/GetOperation', { id });
    assert.match(explanation[0]!, /successor of the jwt authority .* stop when it is prepared/);
    assert.match(explanation[1]!, /^now: jwt .* is active/);
    const count = async (): Promise<number> =>
      (await w.server.admin('Authorities/ListAuthorities', { kind: 'jwt' })).authorities.length;
    assert.equal(await count(), 1);
    assert.equal((await w.approve(id, w.keys.bob, w.keys.carol)).operation?.status, 'executed');
    await until(async () => (await count()) >= 2, 'a second JWT authority');
    assert.equal(await count(), 2);
  });

  test('is withdrawn by its proposer, and takes no approval afterwards', async () => {
    const id = await putRole('withdrawn');
    const signature = await w.sign(id, w.keys.bob);
    assert.equal(
      (await w.server.admin('Approvals/WithdrawOperation', { id, reason: 'a mistake' })).status,
      'withdrawn',
    );
    assert.equal(
      await codeOf(w.server.admin('Approvals/SubmitApproval', { id, signature })),
      'APPROVAL_NOT_OPEN',
    );
    assert.equal(
      await codeOf(w.server.admin('Approvals/WithdrawOperation', { id })),
      'APPROVAL_NOT_OPEN',
    );
    assert.notEqual(await putRole('withdrawn'), id, 'the call made again proposes a new one');
  });

  test('gives its answer, such as a join token, to its proposer once and to nobody else', async () => {
    const entry = {
      id: 'root-admin',
      spiffeId: 'spiffe://mesh.test/admin/eve',
      parentId: 'spiffe://mesh.test/meshca/agent/vault-node',
      selectors: ['unix:uid:7'],
      admin: true,
    };
    await w.approve(
      await w.held(w.server.admin('Entries/CreateEntries', { entries: [entry] })),
      w.keys.bob,
      w.keys.carol,
    );
    const id = await w.held(w.server.admin('Tokens/CreateJoinToken', { agentName: 'vault-node' }));
    await w.approve(id, w.keys.bob, w.keys.carol);
    const { responseJson } = await w.server.admin('Approvals/TakeResult', { id });
    assert.match((JSON.parse(responseJson) as { token: string }).token, /^[\w-]{43}$/);
    assert.equal(await codeOf(w.server.admin('Approvals/TakeResult', { id })), 'NOT_FOUND');
  });

  test('that its service refuses has failed, with the reason', async () => {
    const id = await w.held(w.server.admin('Roles/DeleteRole', { name: 'no-such-role' }));
    const done = await w.approve(id, w.keys.bob, w.keys.carol);
    assert.equal(done.operation!.status, 'failed');
    assert.match(done.operation!.outcome, /^NOT_FOUND/);
    assert.equal(
      await codeOf(
        w.server.admin('Approvals/SubmitApproval', {
          id,
          signature: await w.sign(id, w.keys.alice),
        }),
      ),
      'APPROVAL_NOT_OPEN',
    );
  });

  test('is executed once when the last approvals arrive together', async () => {
    const id = await putRole('raced');
    await w.approve(id, w.keys.alice);
    const signatures = await Promise.all([w.keys.bob, w.keys.carol].map((key) => w.sign(id, key)));
    const codes = await Promise.all(
      signatures.map((signature) =>
        codeOf(w.server.admin('Approvals/SubmitApproval', { id, signature })),
      ),
    );
    assert.ok(codes.includes('resolved'), codes.join());
    const { records } = await w.server.admin('Audit/ListAuditRecords', {
      subject: 'raced',
      kind: 'role.put',
    });
    assert.equal(records.length, 1);
  });

  test('becomes void when its policy is replaced', async () => {
    const id = await putRole('old-policy');
    const signatures = await Promise.all([w.keys.bob, w.keys.carol].map((key) => w.sign(id, key)));
    const { version } = await w.server.admin('Approvals/GetApprovalPolicy');
    const change = await w.held(
      w.server.admin('Approvals/PutApprovalPolicy', {
        policy: { ...w.policy, lifeSeconds: 7200 },
        version,
      }),
    );
    await w.approve(change, w.keys.bob, w.keys.carol);
    assert.equal(await statusOf(id), 'void');
    for (const signature of signatures)
      assert.equal(
        await codeOf(w.server.admin('Approvals/SubmitApproval', { id, signature })),
        'APPROVAL_NOT_OPEN',
      );
  });

  test('is approved with a security key after the other approvers have enrolled it', async () => {
    const token = new SoftSecurityKey('ecdsa');
    const { version, policy } = await w.server.admin('Approvals/GetApprovalPolicy');
    const approvers = [...(policy as any).approvers, { name: 'dave', publicKey: token.publicKey }];
    await w.approve(
      await w.held(
        w.server.admin('Approvals/PutApprovalPolicy', {
          policy: { ...policy, approvers },
          version,
        }),
      ),
      w.keys.bob,
      w.keys.carol,
    );
    const id = await putRole('by-token');
    await w.approve(id, w.keys.bob);
    const { line } = await w.server.admin('Approvals/GetOperation', { id });
    assert.equal(
      await codeOf(
        w.server.admin('Approvals/SubmitApproval', {
          id,
          signature: token.sign(line, namespace, 0),
        }),
      ),
      'SSH_SIGNATURE_INVALID',
    );
    const done = await w.server.admin('Approvals/SubmitApproval', {
      id,
      signature: token.sign(line, namespace),
    });
    assert.equal(done.operation!.status, 'executed');
    assert.deepEqual(
      done.approvals.map((each) => [each.approver, each.counter]),
      [
        ['bob', 0],
        ['dave', 9],
      ],
    );
  });

  test('waits across a restart', async () => {
    const id = await putRole('over-restart');
    await w.approve(id, w.keys.bob);
    await w.server.restart();
    assert.equal((await w.approve(id, w.keys.carol)).operation?.status, 'executed');
    assert.ok((await roleNames()).includes('over-restart'));
  });

  test('dual control ends when its approvers agree to it', async () => {
    const { version, policy } = await w.server.admin('Approvals/GetApprovalPolicy');
    const id = await w.held(
      w.server.admin('Approvals/PutApprovalPolicy', {
        policy: { ...policy, enabled: false },
        version,
      }),
    );
    await w.approve(id, w.keys.bob, w.keys.carol);
    await w.server.admin('Roles/PutRole', role('free-again'));
    await switchOnAgain(version + 1);
  });
});

async function switchOnAgain(version: number): Promise<void> {
  const id = await w.held(
    w.server.admin('Approvals/PutApprovalPolicy', { policy: w.policy, version }),
  );
  await w.approve(id, w.keys.alice, w.keys.bob);
  assert.equal(await statusOf(id), 'executed');
}
