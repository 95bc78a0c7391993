import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CliContext } from '../../../src/cli/context.ts';
import { arrives, replaced, rotated, successorOf } from '../../../src/cli/rotation-goals.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { RotationStatus__Output } from '../../../src/common/wire/generated/meshca/admin/v1/RotationStatus.ts';

const context = { now: () => 0 } as CliContext;

interface Stated {
  readonly id: string;
  readonly kind?: string;
  readonly state: string;
  readonly parentId?: string;
  readonly live?: number;
}

const statusOf = (
  authorities: readonly Stated[],
  operations: readonly { kind: string; successorId: string; targets: string[] }[] = [],
): RotationStatus__Output =>
  ({
    authorities: authorities.map(({ live = 0, ...authority }) => ({
      authority: { kind: 'issuing', parentId: '', ...authority },
      live,
    })),
    operations,
  }) as unknown as RotationStatus__Output;

const code = (expected: string) => (thrown: unknown) => PkiError.from(thrown).code === expected;

describe('an authority that is to reach a state', () => {
  test('has reached it at that state and past it', () => {
    const published = arrives(context, 'b', 'published');
    for (const [state, reached] of [
      ['preparing', false],
      ['prepared', false],
      ['published', true],
      ['active', true],
      ['old', true],
    ] as const)
      assert.equal(published.reached(statusOf([{ id: 'b', state }])), reached, state);
    assert.equal(published.reached(statusOf([])), false);
  });

  test('never reaches it once it has ended or is tainted', () => {
    for (const state of ['withdrawn', 'discarded', 'tainted'])
      assert.throws(
        () => arrives(context, 'b', 'active').reached(statusOf([{ id: 'b', state }])),
        code('CONFLICT'),
      );
  });
});

describe('a rotation', () => {
  const begun = (kind: string) => statusOf([], [{ kind, successorId: 'new', targets: ['before'] }]);

  test('is done when the successor signs and the one before does not', () => {
    const goal = rotated(context, begun('issuing'), 'issuing', false);
    const status = (before: string, fresh: string) =>
      statusOf([
        { id: 'before', state: before },
        { id: 'new', state: fresh },
      ]);
    assert.equal(goal.reached(status('active', 'published')), false);
    assert.equal(goal.reached(status('active', 'active')), false);
    assert.equal(goal.reached(status('old', 'active')), true);
  });

  test('until retired waits for the end of the one before', () => {
    const goal = rotated(context, begun('issuing'), 'issuing', true);
    const status = (before: string) =>
      statusOf([
        { id: 'before', state: before },
        { id: 'new', state: 'active' },
      ]);
    assert.equal(goal.reached(status('old')), false);
    assert.equal(goal.reached(status('retired')), true);
  });

  test('of a root takes an intermediate under the new one, and none that signs under the old', () => {
    const goal = rotated(context, begun('root'), 'root', false);
    const status = (under: string, other: string) =>
      statusOf([
        { id: 'before', kind: 'root', state: 'old' },
        { id: 'new', kind: 'root', state: 'active' },
        { id: 'i1', state: other, parentId: 'before' },
        { id: 'i2', state: under, parentId: 'new' },
      ]);
    assert.equal(goal.reached(status('published', 'old')), false);
    assert.equal(goal.reached(status('active', 'active')), false);
    assert.equal(goal.reached(status('active', 'old')), true);
  });

  test('that has nothing under way is done', () => {
    assert.equal(rotated(context, statusOf([]), 'jwt', false).reached(statusOf([])), true);
  });
});

test('a tainted authority is replaced when nothing of it is live', () => {
  const goal = replaced('a');
  assert.equal(goal.reached(statusOf([{ id: 'a', state: 'active' }])), false);
  assert.equal(goal.reached(statusOf([{ id: 'a', state: 'tainted', live: 2 }])), false);
  assert.equal(goal.reached(statusOf([{ id: 'a', state: 'tainted' }])), true);
});

test('without a rotation of its kind there is no successor', () => {
  assert.throws(() => successorOf(statusOf([]), 'jwt'), code('NOT_FOUND'));
});
