import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HandshakeLedger } from '../../../../src/services/index.ts';
import { FakeClock } from '../../../support/agent.ts';

const windowSeconds = 600;
const worldOf = () => {
  const clock = new FakeClock(1_000_000);
  const ledger = new HandshakeLedger(clock, windowSeconds);
  const report = (agentId: string, succeeded: number, failed: number, more: object = {}): void =>
    ledger.record(agentId, [
      {
        spiffeId: '',
        consumerId: 'web',
        issuerKeyId: 'aa',
        succeeded,
        failed,
        reasons: {},
        since: 5,
        ...more,
      },
    ]);
  return { clock, ledger, report };
};

test('what a consumer counted longer ago than the window does not count', () => {
  const { clock, ledger, report } = worldOf();
  ledger.consumers('n1', new Set(['web']));
  report('n1', 10, 90);
  assert.deepEqual(ledger.nodes('aa'), [{ agentId: 'n1', succeeded: 10, failed: 90 }]);
  clock.advance(300_000);
  report('n1', 60, 90);
  assert.deepEqual(ledger.nodes('aa'), [{ agentId: 'n1', succeeded: 60, failed: 90 }]);
  clock.advance(301_000);
  assert.deepEqual(ledger.nodes('aa'), [{ agentId: 'n1', succeeded: 50, failed: 0 }]);
  clock.advance(300_000);
  assert.deepEqual(ledger.nodes('aa'), []);
});

test('a consumer that has gone votes no more, and one that began anew counts from nothing', () => {
  const { ledger, report } = worldOf();
  ledger.consumers('n1', new Set(['web', 'db']));
  report('n1', 0, 100);
  report('n1', 7, 0, { consumerId: 'db' });
  ledger.consumers('n1', new Set(['db']));
  assert.deepEqual(ledger.nodes('aa'), [{ agentId: 'n1', succeeded: 7, failed: 0 }]);
  report('n1', 3, 0, { consumerId: 'db', since: 9 });
  assert.deepEqual(ledger.nodes('aa'), [{ agentId: 'n1', succeeded: 10, failed: 0 }]);
});

test('an agent that is away has no voice, and what it repeats on its return is not counted twice', () => {
  const { clock, ledger, report } = worldOf();
  ledger.consumers('n1', new Set(['web']));
  report('n1', 10, 90);
  ledger.away('n1');
  assert.deepEqual(ledger.nodes('aa'), []);
  clock.advance(601_000);
  report('n1', 10, 90);
  ledger.consumers('n1', new Set(['web']));
  assert.deepEqual(ledger.nodes('aa'), [], 'the old counts are older than the window');
  report('n1', 15, 90);
  assert.deepEqual(ledger.nodes('aa'), [{ agentId: 'n1', succeeded: 5, failed: 0 }]);
});

test('an agent that was banned or evicted has no voice, and other keys are counted apart', () => {
  const { ledger, report } = worldOf();
  for (const agent of ['n1', 'n2']) {
    ledger.consumers(agent, new Set(['web']));
    report(agent, 1, 1);
  }
  ledger.forget('n1');
  assert.deepEqual(
    ledger.nodes('aa').map(({ agentId }) => agentId),
    ['n2'],
  );
  assert.deepEqual(ledger.nodes('bb'), []);
});

test('counts of consumers that no report names do not count', () => {
  const { ledger, report } = worldOf();
  report('n1', 0, 1e9);
  assert.deepEqual(ledger.nodes('aa'), []);
  ledger.consumers('n1', new Set(['other']));
  assert.deepEqual(ledger.nodes('aa'), []);
});
