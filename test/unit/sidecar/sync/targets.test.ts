import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TargetReports } from '../../../../sidecar/sync/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import type { TargetCommand__Output } from '../../../../src/common/wire/generated/meshca/issuer/v1/TargetCommand.ts';
import { FakeFileTargets } from '../../../support/fake-file-targets.ts';

const rollout = { group: 'edge', canaryShare: 0.1, observeSeconds: 60 };
const command = (over: Partial<TargetCommand__Output>): TargetCommand__Output => ({
  ...{ commandId: 'c1', target: 'web', act: 'stage', turn: null },
  ...over,
});
const world = () => {
  const targets = new FakeFileTargets();
  targets.add('web', rollout);
  return { targets, reports: new TargetReports(targets, silentLogger) };
};
const turnOf = (set: string) => ({ set, part: 'canary' });

test('a stream begins with everything, and goes on with what changed', async () => {
  const { targets, reports } = world();
  targets.add('db');
  const first = reports.snapshot();
  assert.deepEqual([first.snapshot, first.targets?.map(({ name }) => name)], [true, ['web', 'db']]);
  assert.deepEqual(first.targets?.[0]?.rollout, rollout);
  assert.equal(reports.drain(), undefined);
  await targets.stage('db');
  targets.remove('web');
  const next = reports.drain();
  assert.deepEqual(
    [next?.snapshot, next?.targets?.map(({ name }) => name), next?.removedNames],
    [false, ['db'], ['web']],
  );
  assert.equal(reports.snapshot().targets?.length, 1);
});

test('an agent without targets says so', () => {
  const reports = new TargetReports(new FakeFileTargets(), silentLogger);
  assert.deepEqual(reports.snapshot(), { snapshot: true });
});

test('a command that the agent does not know is refused with its reason', async () => {
  const { targets, reports } = world();
  const codes = [];
  for (const over of [
    { target: 'mail' },
    { target: '../../etc' },
    { act: 'exec' },
    { act: 'turn' },
    { act: 'turn', turn: turnOf('1-a000') },
    { act: 'rollback' },
  ])
    codes.push((await reports.carryOut(command(over))).code);
  assert.deepEqual(codes, [
    ...['TARGET_UNKNOWN', 'TARGET_UNKNOWN', 'NOT_IMPLEMENTED', 'CONFLICT', 'CONFLICT', 'CONFLICT'],
  ]);
  assert.deepEqual(targets.asked, ['rollback web']);
});

test('a turn counts for the set that is staged, and is told from then on', async () => {
  const { targets, reports } = world();
  await targets.stage('web');
  const old = await reports.carryOut(command({ act: 'turn', turn: turnOf('1-a000') }));
  assert.equal(old.code, 'CONFLICT');
  reports.snapshot();
  const taken = await reports.carryOut(command({ act: 'turn', turn: turnOf('2-a001') }));
  assert.deepEqual(taken, { commandId: 'c1' });
  assert.deepEqual(reports.drain()?.targets?.[0]?.turn, turnOf('2-a001'));
  const again = await reports.carryOut(command({ act: 'turn', turn: turnOf('2-a001') }));
  assert.equal(again.code, 'CONFLICT');
});

test('no state of a target is too long for the server', async () => {
  const { targets, reports } = world();
  for (let index = 0; index < 30; index += 1) await targets.stage('web');
  for (let index = 0; index < 250; index += 1) targets.add(`t${index}`);
  const { targets: told } = reports.snapshot();
  assert.equal(told?.length, 200);
  assert.equal(told?.[0]?.sets?.length, 20);
  assert.equal(told?.[0]?.sets?.at(-1)?.name?.split('-')[0], '31');
});

test('more commands at once than a node has use for are refused', async () => {
  const { targets, reports } = world();
  const gate = Promise.withResolvers<void>();
  targets.gate = gate.promise;
  const waiting = Array.from({ length: 200 }, () => reports.carryOut(command({ act: 'promote' })));
  assert.equal((await reports.carryOut(command({ act: 'promote' }))).code, 'OVERLOADED');
  gate.resolve();
  assert.ok((await Promise.all(waiting)).every(({ code }) => code === undefined));
  assert.equal((await reports.carryOut(command({ act: 'promote' }))).code, undefined);
});
