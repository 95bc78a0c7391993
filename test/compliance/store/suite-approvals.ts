import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApprovalPolicy } from '../../../src/common/approval/index.ts';
import type { PendingOperation } from '../../../src/domain/index.ts';
import { code, event, everyPage, start, type OpenStore } from './fixtures.ts';

const policy: ApprovalPolicy = { enabled: true, required: 2, lifeSeconds: 3600, approvers: [] };
const operation = (id: string, changes: Partial<PendingOperation> = {}): PendingOperation => ({
  id,
  version: 1,
  bytes: Buffer.from(id),
  method: '/m',
  proposer: 'uid:0',
  createdAt: start,
  expiresAt: start + 100,
  state: 'pending',
  approvals: [],
  outcome: '',
  evidence: '',
  decidedAt: 0,
  updatedAt: start,
  ...changes,
});
const limits = { perProposer: 2, total: 3, now: start };

export function approvalCases(name: string, open: OpenStore): void {
  test(`${name}: the approval policy changes only from the version that was read`, async () => {
    await using opened = await open();
    const { approvals } = opened.store;
    assert.deepEqual(
      [(await approvals.policy()).version, (await approvals.policy()).policy.enabled],
      [0, false],
    );
    const first = await approvals.putPolicy(
      policy,
      { version: 0, by: 'uid:0', now: start },
      event('approval-policy.changed'),
    );
    assert.deepEqual([first.version, first.policy, first.updatedBy], [1, policy, 'uid:0']);
    await assert.rejects(
      approvals.putPolicy(
        policy,
        { version: 0, by: 'uid:0', now: start },
        event('approval-policy.changed'),
      ),
      code('CONFLICT'),
    );
    await approvals.putPolicy(
      { ...policy, required: 3 },
      { version: 1, by: 'uid:0', now: start },
      event('approval-policy.changed'),
    );
    assert.deepEqual(
      [(await approvals.policy()).version, (await approvals.policy()).policy.required],
      [2, 3],
    );
  });

  test(`${name}: an operation is proposed once, and few at a time`, async () => {
    await using opened = await open();
    const { approvals } = opened.store;
    await approvals.propose(operation('a'), limits, event('approval.proposed'));
    await assert.rejects(
      approvals.propose(operation('a'), limits, event('approval.proposed')),
      code('ALREADY_EXISTS'),
    );
    await approvals.propose(operation('b'), limits, event('approval.proposed'));
    await assert.rejects(
      approvals.propose(operation('c'), limits, event('approval.proposed')),
      code('RATE_LIMITED'),
    );
    await approvals.propose(
      operation('c', { proposer: 'uid:1' }),
      limits,
      event('approval.proposed'),
    );
    await assert.rejects(
      approvals.propose(operation('d', { proposer: 'uid:2' }), limits, event('approval.proposed')),
      code('RATE_LIMITED'),
    );
    await approvals.propose(
      operation('d', { proposer: 'uid:2', expiresAt: start + 500 }),
      { ...limits, now: start + 100 },
      event('approval.proposed'),
    );
    assert.deepEqual((await approvals.openOf('uid:0', start)).map(({ id }) => id).sort(), [
      'a',
      'b',
    ]);
    assert.deepEqual(await approvals.openOf('uid:0', start + 100), []);
    assert.deepEqual(
      (await everyPage((page) => approvals.list({}, page), 1)).map(({ id, altered }) => [
        id,
        altered,
      ]),
      [
        ['d', false],
        ['c', false],
        ['b', false],
        ['a', false],
      ],
    );
    assert.deepEqual(
      (await everyPage((page) => approvals.list({ pendingAt: start + 100 }, page), 1)).map(
        ({ id }) => id,
      ),
      ['d'],
    );
    await assert.rejects(approvals.byId('none'), code('NOT_FOUND'));
  });

  test(`${name}: of two who take the same step one wins, and a changed policy stops it`, async () => {
    await using opened = await open();
    const { approvals } = opened.store;
    await approvals.propose(operation('a'), limits, event('approval.proposed'));
    const take = () =>
      approvals.step(
        { id: 'a', version: 1, from: ['pending'], now: start + 1 },
        {
          state: 'executing',
          decidedAt: start + 1,
          approvals: [{ signature: 's', submittedBy: 'uid:0', submittedAt: start }],
        },
        event('approval.decided'),
      );
    const outcomes = await Promise.allSettled([take(), take()]);
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.deepEqual(
      (await approvals.interrupted()).map(({ id, version, approvals: given }) => [
        id,
        version,
        given.length,
      ]),
      [['a', 2, 1]],
    );
    await assert.rejects(
      approvals.step(
        { id: 'a', version: 2, from: ['pending'], now: start },
        { state: 'withdrawn' },
        event('approval.withdrawn'),
      ),
      code('CONFLICT'),
    );
    await approvals.propose(operation('b'), limits, event('approval.proposed'));
    await approvals.putPolicy(
      policy,
      { version: 0, by: 'uid:0', now: start },
      event('approval-policy.changed'),
    );
    await assert.rejects(
      approvals.step(
        { id: 'b', version: 1, from: ['pending'], now: start },
        { state: 'executing', policyVersion: 0 },
        event('approval.decided'),
      ),
      code('APPROVAL_NOT_OPEN'),
    );
    assert.equal((await approvals.byId('b')).state, 'pending');
    assert.equal(
      (
        await approvals.step(
          { id: 'b', version: 1, from: ['pending'], now: start },
          { state: 'executing', policyVersion: 1 },
          event('approval.decided'),
        )
      ).state,
      'executing',
    );
  });
}
