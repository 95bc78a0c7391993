import assert from 'node:assert/strict';
import test from 'node:test';
import type { ConsumerRecord, ObjectMismatch } from '../../../src/domain/index.ts';
import { Confirmations } from '../../../src/ledger/confirmations.ts';
import { ManualClock } from '../../compliance/store/fixtures.ts';

const agentId = 'spiffe://example.org/meshca/agent/node-1';
const consumer = (changes: Partial<ConsumerRecord> = {}): ConsumerRecord => ({
  agentId,
  id: 'c',
  kind: 'workload',
  spiffeId: 'spiffe://example.org/web',
  authoritySetDigest: 'set-1',
  jwtSetDigest: '',
  issuerSetDigest: '',
  capabilities: [],
  state: 'confirmed',
  reason: '',
  since: 1,
  description: '',
  ...changes,
});

/** Rows that a test changes as it likes; each write ends when it is let go. */
class Rows {
  rows = new Map<string, ConsumerRecord>();
  writing: Promise<void> = Promise.resolve();
  async replace(_agent: string, consumers: readonly ConsumerRecord[]): Promise<void> {
    this.rows = new Map(consumers.map((each) => [each.id, each]));
    await this.writing;
  }
  async update(
    _agent: string,
    changed: readonly ConsumerRecord[],
    removedIds: readonly string[],
  ): Promise<void> {
    for (const id of removedIds) this.rows.delete(id);
    for (const each of changed) this.rows.set(each.id, each);
    await this.writing;
  }
  list = () => Promise.resolve([...this.rows.values()]);
  agents = () => Promise.resolve(this.rows.size === 0 ? [] : [agentId]);
  digests = () => Promise.resolve([...this.rows.values()]);
}

function world() {
  const rows = new Rows();
  const clock = new ManualClock();
  const mismatches: ObjectMismatch[] = [];
  const confirmations = new Confirmations(rows, {
    clock,
    announce: (mismatch) => void mismatches.push(mismatch),
  });
  return { rows, clock, confirmations, mismatches };
}

test('what stands in rows alone is shown, and confirms nothing', async () => {
  const { rows, confirmations } = world();
  rows.rows.set('c', consumer());
  assert.deepEqual(
    (await confirmations.all()).map(({ id, heardAt }) => [id, heardAt]),
    [['c', undefined]],
  );
});

test('a report counts from its rows being durable, with the time of the first that said it', async () => {
  const { rows, clock, confirmations } = world();
  let durable = (): void => {};
  rows.writing = new Promise((resolve) => (durable = resolve));
  const told = confirmations.replace(agentId, [consumer()]);
  assert.equal((await confirmations.all())[0]?.heardAt, undefined);
  durable();
  await told;
  const since = clock.now();
  clock.advance(60);
  await confirmations.update(agentId, [consumer({ since: 2 }), consumer({ id: 'd' })], []);
  assert.deepEqual(
    (await confirmations.all()).map(({ id, heardAt }) => [id, heardAt]),
    [
      ['c', since],
      ['d', since + 60],
    ],
  );
});

test('a report whose rows could not be written leaves what was known', async () => {
  const { rows, confirmations } = world();
  await confirmations.replace(agentId, [consumer()]);
  rows.writing = Promise.reject(new Error('disk full'));
  await assert.rejects(confirmations.replace(agentId, []));
  assert.equal((await confirmations.all()).length, 1);
});

test('an update before the snapshot of a session is not a whole report', async () => {
  const { confirmations } = world();
  await confirmations.update(agentId, [consumer()], []);
  assert.equal((await confirmations.list(agentId))[0]?.heardAt, undefined);
});

test('a row that somebody else wrote or changed is announced and has no say', async () => {
  const { rows, clock, confirmations, mismatches } = world();
  await confirmations.replace(agentId, [consumer({ authoritySetDigest: 'old' })]);
  rows.rows.set('c', consumer());
  rows.rows.set('forged', consumer({ id: 'forged' }));
  clock.advance(5);
  assert.deepEqual(
    (await confirmations.all()).map(({ authoritySetDigest }) => authoritySetDigest),
    ['old'],
  );
  assert.deepEqual(
    mismatches.map(({ id, found }) => [id, found]),
    [
      [`${agentId} c`, 'differs'],
      [`${agentId} forged`, 'absent'],
    ],
  );
});

test('rows that are being written are not taken for altered', async () => {
  const { rows, clock, confirmations, mismatches } = world();
  await confirmations.replace(agentId, [consumer()]);
  let durable = (): void => {};
  rows.writing = new Promise((resolve) => (durable = resolve));
  const told = confirmations.update(agentId, [consumer({ authoritySetDigest: 'set-2' })], []);
  clock.advance(5);
  await confirmations.all();
  durable();
  await told;
  assert.deepEqual(mismatches, []);
});
