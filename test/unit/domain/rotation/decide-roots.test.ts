import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decide,
  type Authority,
  type DecisionInput,
  type RotationOperation,
} from '../../../../src/domain/index.ts';
import {
  now,
  authority,
  operation,
  complete,
  input,
  actionTypes,
  root,
  published,
} from './decide-support.ts';

test('the force of a root rotation is for the intermediates under it, whatever else is under way', () => {
  const authorities = [
    authority('r1', 'root', 'old'),
    authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
    authority('old', 'issuing', 'active'),
    authority('other', 'issuing', 'active', { parentId: 'r2', scope: { region: 'eu' } }),
  ];
  const force = { by: 'uid:0', reason: 'they never read' };
  const forced = operation({ successorId: 'r2', targets: ['r1'], force }, 'root');
  const foreign = { ...operation({ targets: ['other'], parentId: 'r2' }), id: 'another' };
  const types = (...operations: RotationOperation[]) =>
    decide(input(authorities, { operations })).actions.map(({ type }) => type);
  const opened = decide(input(authorities, { operations: [forced] })).actions;
  assert.deepEqual(
    opened.map((action) => (action.type === 'open' ? action.force : action.type)),
    [force],
    'it is opened with the force, and the root stays under way until it is',
  );
  assert.ok(!types(forced, foreign).includes('finish'), 'it waits for the one under way');
  const own = { ...operation({ targets: ['old'], parentId: 'r2', force }), id: 'own' };
  assert.ok(types(forced, own).includes('finish'));
  const proven = operation({ successorId: 'r2', targets: ['r1'] }, 'root');
  assert.deepEqual(types(proven), ['finish', 'open']);
});

test('a root that is replaced because it is tainted is tainted only when somebody signs under another', () => {
  const roots = [
    authority('old', 'root', 'old'),
    authority('new', 'root', 'active', { notAfter: now + 10_000_000 }),
  ];
  const tainting = operation({ targetsBecome: 'tainted' }, 'root');
  assert.ok(
    !actionTypes(
      input([...roots, authority('i1', 'issuing', 'active', { parentId: 'old' })], {
        operations: [tainting],
      }),
    ).includes('taint'),
  );
  assert.ok(
    actionTypes(
      input(
        [
          ...roots,
          authority('i1', 'issuing', 'old', { parentId: 'old' }),
          authority('i2', 'issuing', 'active', { parentId: 'new' }),
        ],
        { operations: [tainting] },
      ),
    ).includes('taint'),
  );
  // whoever stands below it follows
  assert.ok(
    actionTypes(
      input([authority('r1', 'root', 'tainted'), authority('i1', 'issuing', 'old')]),
    ).includes('taint'),
  );
});

test('the first authority of a region replaces none, and a new root brings a successor for each scope', () => {
  const eu = { region: 'eu' };
  const first = operation({ targets: [], scope: eu });
  assert.deepEqual(
    actionTypes(input([root, authority('old', 'issuing', 'active')], { operations: [first] })),
    ['prepare'],
  );
  const activated = decide(
    input(published, { operations: [first], confirmations: new Map([['new', complete]]) }),
  ).actions[0];
  assert.deepEqual(activated?.type === 'activate' ? activated.scope : undefined, eu);
  assert.deepEqual(
    actionTypes(
      input(
        [
          root,
          authority('old', 'issuing', 'active'),
          authority('new', 'issuing', 'active', { scope: eu }),
        ],
        { operations: [first] },
      ),
    ),
    ['finish'],
  );
  const roots = [
    authority('r1', 'root', 'old', { notAfter: now + 10_000_000 }),
    authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
  ];
  const orphans = [
    authority('there', 'issuing', 'active', { scope: eu }),
    authority('all', 'issuing', 'active'),
  ];
  const targetsOf = (given: DecisionInput): unknown =>
    decide(given).actions.flatMap((action) => (action.type === 'open' ? [action.targets] : []));
  assert.deepEqual(targetsOf(input([...roots, ...orphans])), [['all']]);
  assert.deepEqual(
    targetsOf(
      input([
        ...roots,
        orphans[0] as Authority,
        authority('all', 'issuing', 'active', { parentId: 'r2' }),
      ]),
    ),
    [['there']],
  );
});

test("a root is tainted only after a general issuer under another root signs; a regional one won't do", () => {
  const taints = operation(
    { successorId: 'r2', targets: ['r1'], targetsBecome: 'tainted' },
    'root',
  );
  const given = (scope: Authority['scope']) =>
    input(
      [
        authority('r1', 'root', 'old', { notAfter: now + 10_000_000 }),
        authority('r2', 'root', 'active', { notAfter: now + 10_000_000 }),
        authority('all', 'issuing', 'active'),
        authority('other', 'issuing', 'active', { parentId: 'r2', scope }),
      ],
      { operations: [taints] },
    );
  assert.ok(!actionTypes(given({ region: 'eu' })).includes('taint'));
  assert.ok(actionTypes(given({})).includes('taint'));
});
