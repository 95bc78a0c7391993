import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decide,
  type Authority,
  type Confirmation,
  type DecisionInput,
} from '../../../../src/domain/index.ts';
import {
  now,
  policy,
  authority,
  operation,
  complete,
  lagging,
  input,
  actionTypes,
  noteCodes,
  root,
  hollow,
  endedIssuer,
  successor,
  scheduled,
} from './decide-support.ts';

test('past the end of the issuer the next one is made by itself, and signs unconfirmed, on record', () => {
  const [opened] = decide(input([root, endedIssuer])).actions;
  assert.ok(opened?.type === 'open' && opened.trigger === 'schedule');
  for (const found of [undefined, hollow, lagging]) {
    const [action] = decide(
      input([root, endedIssuer, successor], {
        operations: [scheduled],
        confirmations: new Map(found === undefined ? [] : [['new', found]]),
      }),
    ).actions;
    assert.ok(action?.type === 'activate');
    assert.deepEqual(action.without, { kind: 'ended', ended: now });
  }
  const [proven] = decide(
    input([root, endedIssuer, successor], {
      operations: [scheduled],
      confirmations: new Map([['new', complete]]),
    }),
  ).actions;
  assert.ok(proven?.type === 'activate' && proven.without.kind === 'proven');
});

test('past the end of the issuer nothing is made without an active root, a schedule, one operator, a clock', () => {
  const manual = { ...policy, prepareAtLifeFraction: undefined };
  const overRoot = { ...root, notAfter: now };
  const cases: readonly (readonly [string, readonly Authority[], Partial<DecisionInput>])[] = [
    ['the root has ended', [overRoot, endedIssuer], {}],
    ['the key of the root is not here', [{ ...root, token: 'external' }, endedIssuer], {}],
    ['no schedule', [root, endedIssuer], { policy: manual }],
    ['dual control', [root, endedIssuer], { dualControl: true }],
    ['a clock that jumped', [root, endedIssuer], { clock: 'jumped' }],
    ['a clock behind the log', [root, endedIssuer], { clock: 'behind-log' }],
    ['an unproven clock', [root, endedIssuer], { clock: 'unproven' }],
  ];
  for (const [why, authorities, over] of cases) {
    assert.deepEqual(actionTypes(input(authorities, over)), [], why);
    assert.ok(noteCodes(input(authorities, over)).includes('ENDED'), why);
    const running = input([...authorities, successor], {
      ...over,
      operations: [scheduled],
      confirmations: new Map([['new', hollow]]),
    });
    // a rotation without a schedule is an operator's, and an external root has imported intermediates
    if (!why.startsWith('no schedule') && !why.startsWith('the'))
      assert.deepEqual(actionTypes(running), [], why);
  }
  assert.deepEqual(
    actionTypes(
      input([root, endedIssuer, successor], {
        dualControl: true,
        operations: [operation()],
        confirmations: new Map([['new', hollow]]),
      }),
    ),
    ['activate'],
    'what operators approved goes on',
  );
});

test('an issuer that has ended and waits for an operator holds up no successor of another scope', () => {
  const eu = { region: 'eu' };
  const due = authority('there', 'issuing', 'active', {
    scope: eu,
    notBefore: now - 70_000,
    notAfter: now + 30_000,
  });
  const targetsOf = (...authorities: readonly Authority[]): readonly (readonly string[])[] =>
    decide(input([root, ...authorities], { dualControl: true })).actions.flatMap((action) =>
      action.type === 'open' ? [action.targets] : [],
    );
  assert.deepEqual(targetsOf(endedIssuer), []);
  assert.deepEqual(targetsOf(endedIssuer, due), [['there']]);
  assert.deepEqual(
    targetsOf({ ...endedIssuer, scope: eu }, due),
    [['there']],
    'the ended one waits',
  );
});

test('an operation below a root that has ended is given up with the reason, and holds up no other', () => {
  const overRoot = { ...root, notAfter: now };
  const other = { ...operation({ successorId: 'j2', targets: ['j1'] }, 'jwt'), id: 'another' };
  const preparing = authority('new', 'issuing', 'preparing');
  const jwts = [authority('j1', 'jwt', 'active'), authority('j2', 'jwt', 'prepared')];
  for (const [made, parentId] of [
    [[preparing], null],
    [[], 'r1'],
  ] as const) {
    const given = input([overRoot, endedIssuer, ...jwts, ...made], {
      operations: [operation({ parentId }), other],
    });
    const { actions } = decide(given);
    assert.deepEqual(
      actions.map(({ type }) => type),
      ['cancel', 'publish'],
    );
    const [first] = actions;
    assert.ok(first?.type === 'cancel' && first.operation.id === 'op');
    assert.match(first.reason, /the root r1, .* is past its end/);
    assert.ok(noteCodes(given).includes('ENDED'));
    const doubted = { ...given, clock: 'jumped' as const };
    assert.deepEqual(actionTypes(doubted), [], 'by a clock that is not believed no root has ended');
    const living = { ...given, authorities: input([root, ...jwts, ...made]).authorities };
    assert.deepEqual(actionTypes(living), ['prepare', 'publish']);
  }
});

test('below a root that ends, no successor or standby is made that would end no later', () => {
  const root = authority('r1', 'root', 'active', { notAfter: now + 1_800 });
  const signing = authority('i1', 'issuing', 'active', { notAfter: now + 900 });
  const ending = { ...signing, notAfter: root.notAfter };
  const standby = authority('s1', 'issuing', 'published', {
    token: 'standby',
    notAfter: root.notAfter,
  });
  const opened = (authorities: readonly Authority[]): readonly string[] =>
    decide(input(authorities, { policy: { ...policy, standby: ['issuing'] } })).actions.flatMap(
      (action) =>
        action.type === 'standby' || (action.type === 'open' && action.kind === 'issuing')
          ? [action.type]
          : [],
    );
  assert.deepEqual(opened([root, signing, standby]), ['open']);
  assert.deepEqual(opened([root, ending, { ...standby, notAfter: now + 900 }]), ['standby']);
  assert.deepEqual(opened([root, ending, standby]), []);
});

test('a standby takes over past the end only where it had been confirmed', () => {
  const standby = authority('new', 'issuing', 'published', { token: 'standby', parentId: 'r1' });
  const at = (found: Confirmation) =>
    input([root, { ...endedIssuer, parentId: 'r1' }, standby], {
      policy: { ...policy, standby: ['issuing'], standbyAfterSeconds: 30 },
      issuingTokenLostAt: now - 60,
      operations: [operation({ trigger: 'token' })],
      confirmations: new Map([['new', found]]),
    });
  assert.deepEqual(actionTypes(at(hollow)), []);
  assert.ok(noteCodes(at(hollow)).includes('WAITING_OPERATOR'));
  assert.deepEqual(actionTypes(at(complete)), ['activate']);
  const waiting = { ...at(hollow), operations: [] };
  assert.ok(noteCodes(waiting).includes('STANDBY_WAITING'));
});

test('an unbelieved clock retires nothing and opens nothing, and says which doubt it is', () => {
  const old = authority('gone', 'issuing', 'old', { notAfter: now - 10 });
  for (const [clock, code] of [
    ['jumped', 'CLOCK_JUMPED'],
    ['behind-log', 'CLOCK_BEHIND_LOG'],
    ['unproven', 'CLOCK_UNPROVEN'],
  ] as const) {
    const given = input([root, authority('i', 'issuing', 'active'), old], { clock });
    assert.deepEqual(actionTypes(given), []);
    assert.ok(noteCodes(given).includes(code));
  }
  assert.deepEqual(actionTypes(input([root, authority('i', 'issuing', 'active'), old])), [
    'retire',
  ]);
});
