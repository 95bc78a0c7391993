import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeCanary, type NodeHandshakes } from '../../../../src/domain/index.ts';

const judge = (nodes: readonly NodeHandshakes[], lyingShare = 0.25) =>
  judgeCanary(nodes, { maximumFailureRate: 0.05, lyingShare });
const node = (agentId: string, succeeded: number, failed: number): NodeHandshakes => ({
  agentId,
  succeeded,
  failed,
});
const fails = (nodes: readonly NodeHandshakes[], lyingShare?: number): boolean =>
  judge(nodes, lyingShare).failureRate > 0.05;

const halfFailing = ['a', 'b', 'c', 'd'].map((id) => node(id, 50, 50));
const fine = ['a', 'b', 'c', 'd'].map((id) => node(id, 100, 0));

test('a node that reports a billion successes does not drown four whose handshakes fail half the time', () => {
  const verdict = judge([...halfFailing, node('liar', 1e9, 0)]);
  assert.equal(verdict.failureRate, 0.5);
  assert.deepEqual(verdict.failing, ['a', 'b', 'c', 'd']);
  assert.equal(verdict.reporters, 5);
});

test('a node that reports a billion failures does not hold four whose handshakes succeed, and is named', () => {
  const verdict = judge([...fine, node('liar', 0, 1e9)]);
  assert.equal(verdict.failureRate, 0);
  assert.deepEqual(verdict.failing, ['liar']);
});

test('liars up to the share neither hold nor pass the verdict, in any mixture', () => {
  for (let count = 1; count <= 40; count += 1) {
    const liars = Math.floor(count * 0.25);
    const honest = count - liars;
    const of = (rate: number) =>
      Array.from({ length: honest }, (_, at) => node(`h${at}`, 100 * (1 - rate), 100 * rate));
    for (let high = 0; high <= liars; high += 1) {
      const lies = Array.from({ length: liars }, (_, at) =>
        at < high ? node(`l${at}`, 0, 1e9) : node(`l${at}`, 1e9, 0),
      );
      assert.ok(!fails([...of(0.04), ...lies]), `${count} nodes, ${high} cry wolf`);
      assert.ok(fails([...of(0.06), ...lies]), `${count} nodes, ${liars - high} deny`);
    }
  }
});

test('one liar among three nodes neither holds nor passes the verdict, and is named', () => {
  const good = [node('a', 100, 0), node('b', 99, 1)];
  const bad = [node('a', 50, 50), node('b', 60, 40)];
  assert.ok(!fails([...good, node('liar', 0, 1e9)]));
  assert.deepEqual(judge([...good, node('liar', 0, 1e9)]).failing, ['liar']);
  assert.ok(fails([...bad, node('liar', 1e9, 0)]));
});

test('of one or two nodes each is heard: a failing one holds the verdict, and is named', () => {
  const verdict = judge([node('honest', 1e9, 0), node('other', 0, 1)]);
  assert.equal(verdict.failureRate, 0.5);
  assert.deepEqual(verdict.failing, ['other']);
});

test('the share is configurable: with none, each voice counts, and no share leaves nobody', () => {
  const withLiar = [...fine, node('liar', 0, 10)];
  assert.ok(fails(withLiar, 0));
  assert.ok(!fails(withLiar, 0.25));
  assert.ok(fails([node('a', 0, 1), node('b', 0, 1)], 0.49));
  assert.ok(fails([node('only', 80, 20)]), 'one node that reports is heard');
});

test('nodes that report nothing have no voice', () => {
  assert.deepEqual(judge([node('a', 0, 0)]), { reporters: 0, failureRate: 0, failing: [] });
  assert.equal(judge([]).failureRate, 0);
});
