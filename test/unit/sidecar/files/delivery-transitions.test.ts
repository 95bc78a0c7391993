import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import type { DeliveryContext, DeliveryEvent } from '../../../../sidecar/files/delivery-event.ts';
import {
  currentOf,
  emptyRecord,
  stateOf,
  type DeliveryRecord,
} from '../../../../sidecar/files/delivery-record.ts';
import { next } from '../../../../sidecar/files/delivery-transitions.ts';
import { deliveredSet, deliveryContext } from '../../../support/delivery.ts';

const start = 1_800_000_000;
const due: DeliveryEvent = { kind: 'due', stageOnly: false };
const failedBy = (code: ErrorCode): DeliveryEvent => ({
  kind: 'failed',
  error: new PkiError(code, 'as the test wants it'),
});
const leased = (number: number): DeliveryEvent => ({ kind: 'leased', set: deliveredSet(number) });
const trusted = true;
const forward: readonly DeliveryEvent[] = [
  { kind: 'checked' },
  { kind: 'offered' },
  { kind: 'swapped' },
  { kind: 'applied', trusted: false },
  { kind: 'verified', trusted: false },
  { kind: 'shown', trusted },
];
const backward: readonly DeliveryEvent[] = [
  { kind: 'swapped-back' },
  { kind: 'driver-back' },
  { kind: 'shown-back', trusted },
];

const after = (
  record: DeliveryRecord,
  events: readonly DeliveryEvent[],
  context: Partial<DeliveryContext> = {},
): DeliveryRecord =>
  events.reduce((each, event) => next(each, event, deliveryContext(context)), record);

const served = after(emptyRecord(start), [due, leased(1), ...forward]);
const summary = (record: DeliveryRecord) => ({
  step: record.step,
  state: stateOf(record),
  current: currentOf(record)?.number,
  candidate: record.candidate?.number,
});

describe('a delivery', () => {
  test('takes its steps in order, and rests when every listener shows the set', () => {
    let record = after(served, [due, leased(2)]);
    const seen = [summary(record)];
    for (const event of forward) seen.push(summary((record = after(record, [event]))));
    assert.deepEqual(
      seen.map(({ step, state, current }) => [step, state, current]),
      [
        ['check', 'proven', 1],
        ['offer', 'proven', 1],
        ['swap', 'applying', 2],
        ['apply', 'applying', 2],
        ['verify', 'applying', 2],
        ['prove', 'proving', 2],
        ['rest', 'proven', 2],
      ],
    );
    assert.equal(record.trust, 'proven');
    assert.deepEqual(
      record.retired.map(({ set, removeAt }) => [set.number, removeAt]),
      [[1, start + 600]],
    );
  });

  test('goes on without an OCSP answer, and knows so until the next set', () => {
    const missing: DeliveryEvent = {
      kind: 'unstapled',
      error: new PkiError('STAPLE_FAILED', 'no answer'),
    };
    const record = after(served, [due, leased(2), ...forward.slice(0, 3), missing]);
    assert.deepEqual([record.step, record.obstacle], ['apply', undefined]);
    const rested = after(record, forward.slice(3));
    assert.deepEqual([rested.step, stateOf(rested)], ['rest', 'proven']);
    assert.equal(rested.unstapled?.code, 'STAPLE_FAILED');
    assert.ok(rested.history.some(({ note }) => note === 'STAPLE_FAILED: no answer'));
    assert.equal(after(rested, [{ kind: 'stapled' }]).unstapled, undefined);
    const next3 = after(rested, [due, leased(3), ...forward.slice(0, 3)]);
    assert.deepEqual([next3.step, next3.unstapled], ['apply', undefined]);
    const back = after(next3, [failedBy('DRIVER_FAILED'), backward[0] as DeliveryEvent, missing]);
    assert.deepEqual([back.step, back.unstapled?.code], ['driver-back', 'STAPLE_FAILED']);
  });

  test('rests with the word of the driver where no listener is to show it', () => {
    const record = after(served, [due, leased(2), ...forward.slice(0, 5)], { hasListeners: false });
    assert.deepEqual(summary(record), {
      ...{ step: 'rest', state: 'applied', current: 2, candidate: undefined },
    });
    assert.equal(record.trust, 'unprovable');
  });

  test('knows the trust of the server by the driver or by the listeners, and by nothing else', () => {
    const trustAfter = (applied: boolean, verified: boolean, shown: boolean) =>
      after(served, [
        ...[due, leased(2), ...forward.slice(0, 3)],
        { kind: 'applied', trusted: applied },
        { kind: 'verified', trusted: verified },
        { kind: 'shown', trusted: shown },
      ]).trust;
    assert.deepEqual(
      [
        trustAfter(false, false, false),
        trustAfter(true, false, false),
        trustAfter(false, true, false),
        trustAfter(false, false, true),
      ],
      ['inferred', 'proven', 'proven', 'proven'],
    );
  });

  const setbacks: readonly (readonly [string, number, DeliveryEvent])[] = [
    ['swap', 2, failedBy('INTERNAL')],
    ['apply', 3, failedBy('DRIVER_REFUSED')],
    ['apply', 3, failedBy('DRIVER_FAILED')],
    ['apply', 3, failedBy('DRIVER_TIMEOUT')],
    ['verify', 4, failedBy('DRIVER_FAILED')],
    ['prove', 5, failedBy('UNREACHABLE')],
  ];
  for (const [step, count, failure] of setbacks)
    test(`goes back when ${step} fails (${'error' in failure ? failure.error.code : ''}), files first, and asks for proof again`, () => {
      let record = after(served, [due, leased(2), ...forward.slice(0, count)]);
      assert.equal(record.step, step);
      const steps = [];
      for (const event of [failure, ...backward]) {
        record = after(record, [event]);
        steps.push(record.step);
      }
      assert.deepEqual(steps, ['swap-back', 'driver-back', 'prove-back', 'rest']);
      assert.deepEqual([stateOf(record), currentOf(record)?.number], ['rolled-back', 1]);
      assert.equal(record.retryAt, start + 10);
      assert.equal(record.obstacle?.code, 'error' in failure ? failure.error.code : '');
    });

  test('forgets why no set was to be had once there is one', () => {
    const waiting = after(emptyRecord(start), [due, failedBy('TARGET_UNWRITABLE')]);
    assert.equal(waiting.obstacle?.code, 'TARGET_UNWRITABLE');
    const delivered = after(waiting, [{ kind: 'retry' }, leased(1)]);
    assert.equal(delivered.obstacle, undefined);
  });

  test('offers a set again that did not prove itself, and not one that the server refused', () => {
    const back = (code: ErrorCode) =>
      after(served, [due, leased(2), ...forward.slice(0, 3), failedBy(code), ...backward]);
    assert.equal(back('DRIVER_FAILED').candidate?.number, 2);
    assert.equal(after(back('DRIVER_FAILED'), [{ kind: 'retry' }]).step, 'check');
    const refused = back('DRIVER_REFUSED');
    assert.equal(refused.candidate, undefined);
    assert.deepEqual(
      refused.retired.map(({ set }) => set.number),
      [2],
    );
    assert.equal(after(refused, [{ kind: 'retry' }]).step, 'lease');
  });

  test('changes nothing when the offline check or the driver refuses the staged set', () => {
    for (const [count, code] of [
      [0, 'SVID_INVALID'],
      [1, 'DRIVER_REFUSED'],
    ] as const) {
      const record = after(served, [due, leased(2), ...forward.slice(0, count), failedBy(code)]);
      assert.deepEqual(summary(record), {
        ...{ step: 'rest', state: 'proven', current: 1, candidate: undefined },
      });
      assert.deepEqual(
        record.retired.map(({ set, removeAt }) => [set.number, removeAt]),
        [[2, start]],
      );
    }
  });

  test('leaves a first set in its place, since there is nothing to go back to', () => {
    const first = after(emptyRecord(start), [due, leased(1), ...forward.slice(0, 5)]);
    const unproven = after(first, [failedBy('UNREACHABLE')]);
    assert.deepEqual(summary(unproven), {
      ...{ step: 'rest', state: 'failed', current: 1, candidate: 1 },
    });
    const again = after(unproven, [{ kind: 'retry' }, ...forward.slice(3)]);
    assert.deepEqual(summary(again), {
      ...{ step: 'rest', state: 'proven', current: 1, candidate: undefined },
    });
    const renewed = after(unproven, [due, leased(2)]);
    assert.deepEqual(
      [renewed.served?.number, renewed.candidate?.number, currentOf(renewed)?.number],
      [1, 2, 1],
    );
  });

  test('takes a first set away that the server refused', () => {
    const first = after(emptyRecord(start), [due, leased(1), ...forward.slice(0, 3)]);
    const refused = after(first, [failedBy('DRIVER_REFUSED')]);
    assert.equal(refused.step, 'swap-back');
    const back = after(refused, backward.slice(0, 2));
    assert.deepEqual(
      [back.step, stateOf(back), currentOf(back), back.candidate],
      ['rest', 'failed', undefined, undefined],
    );
  });

  test('is failed while not even the set before can be shown, and goes on trying', () => {
    const begun = after(served, [due, leased(2), ...forward.slice(0, 5), failedBy('UNREACHABLE')]);
    const lost = after(begun, [...backward.slice(0, 2), failedBy('UNREACHABLE')]);
    assert.deepEqual([stateOf(lost), currentOf(lost)?.number], ['failed', 1]);
    const again = after(lost, [{ kind: 'retry' }]);
    assert.equal(again.step, 'driver-back');
    const shown = after(again, backward.slice(1));
    assert.equal(stateOf(shown), 'rolled-back');
  });

  test('puts files back first that could not be put back, before anything new', () => {
    const begun = after(served, [
      due,
      leased(2),
      ...forward.slice(0, 3),
      failedBy('DRIVER_FAILED'),
    ]);
    const stuck = after(begun, [failedBy('INTERNAL')]);
    assert.deepEqual([stuck.step, stateOf(stuck), stuck.swapped], ['rest', 'failed', true]);
    assert.equal(after(stuck, [due]).step, 'swap-back');
    assert.equal(after(stuck, [{ kind: 'retry' }]).step, 'swap-back');
  });
});

describe('a staged set', () => {
  test('waits for a hand, and goes on by it after another check', () => {
    const staged = after(served, [due, leased(2), ...forward.slice(0, 2)], { promote: 'by hand' });
    assert.deepEqual(summary(staged), {
      ...{ step: 'rest', state: 'staged', current: 1, candidate: 2 },
    });
    assert.equal(staged.waitsFor, 'hand');
    const record = after(staged, [{ kind: 'promoted' }, ...forward], { promote: 'by hand' });
    assert.deepEqual([stateOf(record), currentOf(record)?.number], ['proven', 2]);
  });

  test('waits for its turn in a group, unless nothing is served yet', () => {
    const context = { inRollout: true };
    const staged = after(served, [due, leased(2), ...forward.slice(0, 2)], context);
    assert.deepEqual([stateOf(staged), staged.waitsFor], ['staged', 'turn']);
    const first = after(emptyRecord(start), [due, leased(1), ...forward.slice(0, 2)], context);
    assert.equal(first.step, 'swap');
  });

  test('waits also at an automatic target when an operator asked for it', () => {
    const asked: DeliveryEvent = { kind: 'due', stageOnly: true };
    const staged = after(served, [asked, leased(2), ...forward.slice(0, 2)]);
    assert.deepEqual([stateOf(staged), staged.waitsFor], ['staged', 'hand']);
    const renewed = after(staged, [due, leased(3), ...forward]);
    assert.deepEqual([stateOf(renewed), currentOf(renewed)?.number], ['proven', 3]);
    assert.deepEqual(
      renewed.retired.map(({ set }) => set.number),
      [2, 1],
    );
  });

  test('that failed after a promotion by hand waits for a hand again', () => {
    const context = { promote: 'by hand' } as const;
    const staged = after(served, [due, leased(2), ...forward.slice(0, 2)], context);
    const back = after(
      staged,
      [{ kind: 'promoted' }, ...forward.slice(0, 5), failedBy('UNREACHABLE'), ...backward],
      context,
    );
    assert.deepEqual([stateOf(back), back.waitsFor, back.retryAt], ['rolled-back', 'hand', 0]);
    assert.equal(after(back, [{ kind: 'retry' }], context).step, 'rest');
  });
});

test('an operator takes the set before, and it stays until a new one is promoted', () => {
  const two = after(served, [due, leased(2), ...forward]);
  const to = two.retired[0]?.set as ReturnType<typeof deliveredSet>;
  const back = after(two, [{ kind: 'rolled-back-by-hand', to }, ...backward]);
  assert.deepEqual([stateOf(back), currentOf(back)?.number], ['rolled-back', 1]);
  assert.deepEqual([back.held, back.retryAt, back.waitsFor], [true, 0, 'hand']);
  assert.deepEqual(back.retired, []);
  const forth = after(back, [{ kind: 'promoted' }, ...forward]);
  assert.deepEqual([stateOf(forth), currentOf(forth)?.number, forth.held], ['proven', 2, false]);
});

test('a restart takes each step up where the set is checked again, or the way back begins', () => {
  const begun = after(served, [due, leased(2)]);
  const at = (record: DeliveryRecord) => after(record, [{ kind: 'restarted' }]);
  assert.equal(at(after(served, [due])).step, 'rest');
  const steps = forward.map((_each, count) => at(after(begun, forward.slice(0, count))));
  assert.deepEqual(
    steps.map(({ step, promoted }) => [step, promoted]),
    [
      ['check', false],
      ['check', false],
      ['check', true],
      ['check', true],
      ['check', true],
      ['check', true],
    ],
  );
  const back = after(begun, [...forward.slice(0, 5), failedBy('UNREACHABLE')]);
  for (const count of [0, 1, 2])
    assert.equal(at(after(back, backward.slice(0, count))).step, 'swap-back');
});

test('roots that were not shown count once the certificates from before have ended', () => {
  const roots = { authoritySetDigest: 'bb'.repeat(32) };
  const change = (shown: boolean) =>
    after(served, [
      due,
      { kind: 'leased', set: deliveredSet(2, roots) },
      ...forward.slice(0, 5),
      { kind: 'shown', trusted: shown },
    ]);
  assert.equal(change(true).otherRootsUntil, 0);
  assert.equal(change(false).otherRootsUntil, 1_800_003_600);
  const same = after(served, [
    due,
    leased(2),
    ...forward.slice(0, 5),
    { kind: 'shown', trusted: false },
  ]);
  assert.equal(same.otherRootsUntil, 0);
});

test('the history names each change once, and of a repeated failure only the last time', () => {
  const three = [1, 2, 3].reduce(
    (record, now) => after(record, [due, failedBy('UNREACHABLE')], { now: start + now }),
    served,
  );
  assert.deepEqual(
    three.history.map(({ state, note, at }) => [state, note, at - start]),
    [
      ['applying', 'on disk and checked', 0],
      ['proving', 'the driver asked the server', 0],
      ['proven', 'every listener shows it', 0],
      ['proven', 'UNREACHABLE: as the test wants it', 3],
    ],
  );
});
