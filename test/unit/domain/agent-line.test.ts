import assert from 'node:assert/strict';
import test from 'node:test';
import {
  lineAfterRecovery,
  lineAfterRenewal,
  lineAfterUse,
  lineFrom,
  standingIn,
  type AgentLine,
  type LineStanding,
} from '../../../src/domain/index.ts';

const spiffeId = 'spiffe://mesh.test/meshca/agent/n1';

/** What happens to the SVIDs of one agent, in its order. */
type Step =
  | { readonly attest: string }
  | { readonly renew: string; readonly to: string }
  | { readonly recover: string; readonly to: string }
  /** Its sync session is welcomed; `kept` is what is on the disk. */
  | { readonly use: string; readonly kept?: string | null };

function after(steps: readonly Step[]): AgentLine {
  let line = lineFrom({ spiffeId, serial: '' });
  for (const step of steps) {
    const next = stepped(line, step);
    assert.ok(next !== undefined, `${JSON.stringify(step)} is refused`);
    line = next;
  }
  return line;
}

function stepped(line: AgentLine, step: Step): AgentLine | undefined {
  if ('attest' in step) return lineFrom({ spiffeId, serial: step.attest });
  if ('renew' in step) return lineAfterRenewal(line, { renewed: step.renew, serial: step.to });
  if ('recover' in step)
    return lineAfterRecovery(line, { recovered: step.recover, serial: step.to });
  return lineAfterUse(line, {
    serial: step.use,
    kept: step.kept === undefined ? step.use : step.kept,
  });
}

const joined: readonly Step[] = [{ attest: 'a' }, { use: 'a' }];

/** Steps, then what each SVID is good for. */
const cases: readonly (readonly [
  name: string,
  steps: readonly Step[],
  standings: Readonly<Record<string, LineStanding>>,
])[] = [
  ['attested and not used yet', [{ attest: 'a' }], { a: 'full', x: 'none' }],
  [
    'the answer to a renewal is lost: the older goes on, and so may the newer',
    [...joined, { renew: 'a', to: 'b' }],
    { a: 'full', b: 'full' },
  ],
  [
    'after a lost answer the older renews again, with another key',
    [...joined, { renew: 'a', to: 'b' }, { renew: 'a', to: 'c' }],
    { a: 'full', b: 'full', c: 'full' },
  ],
  [
    'the first use of one renewal ends its unused sibling and what it was renewed from',
    [...joined, { renew: 'a', to: 'b' }, { renew: 'a', to: 'c' }, { use: 'c' }],
    { a: 'none', b: 'none', c: 'full' },
  ],
  [
    'what an unused sibling was renewed into dies with it',
    [
      ...joined,
      { renew: 'a', to: 'b' },
      { renew: 'b', to: 'c' },
      { renew: 'a', to: 'd' },
      { use: 'd' },
    ],
    { a: 'none', b: 'none', c: 'none', d: 'full' },
  ],
  [
    'renewed twice without a use: the newest and those before it stand',
    [...joined, { renew: 'a', to: 'b' }, { renew: 'b', to: 'c' }],
    { a: 'full', b: 'full', c: 'full' },
  ],
  [
    'a crash before saving: the agent comes back with the older, renews again and uses that',
    [...joined, { renew: 'a', to: 'b' }, { use: 'a' }, { renew: 'a', to: 'b' }, { use: 'b' }],
    { a: 'none', b: 'full' },
  ],
  [
    'a crash after saving: the newer is used at the next start',
    [...joined, { renew: 'a', to: 'b' }, { use: 'b' }],
    { a: 'none', b: 'full' },
  ],
  [
    'a renewal that could not be saved is in use: the one on the disk may recover',
    [...joined, { renew: 'a', to: 'b' }, { use: 'b', kept: 'a' }],
    { a: 'recover', b: 'full' },
  ],
  [
    'an agent that says nothing of its disk has kept what it kept before',
    [...joined, { renew: 'a', to: 'b' }, { use: 'b', kept: null }],
    { a: 'recover', b: 'full' },
  ],
  [
    'two renewals that could not be saved: all from the one on the disk on may recover',
    [
      ...joined,
      { renew: 'a', to: 'b' },
      { use: 'b', kept: 'a' },
      { renew: 'b', to: 'c' },
      { use: 'c', kept: 'a' },
    ],
    { a: 'recover', b: 'recover', c: 'full' },
  ],
  [
    'the disk can be written again: from then on what came before is worth nothing',
    [
      ...joined,
      { renew: 'a', to: 'b' },
      { use: 'b', kept: 'a' },
      { renew: 'b', to: 'c' },
      { use: 'c', kept: 'c' },
    ],
    { a: 'none', b: 'none', c: 'full' },
  ],
  [
    'what is reported as kept never goes back',
    [
      ...joined,
      { renew: 'a', to: 'b' },
      { use: 'b' },
      { renew: 'b', to: 'c' },
      { use: 'c', kept: 'a' },
    ],
    { a: 'none', b: 'recover', c: 'full' },
  ],
  [
    'an SVID of another session can not be reported as kept',
    [...joined, { renew: 'a', to: 'b' }, { use: 'b', kept: 'x' }],
    { a: 'recover', b: 'full', x: 'none' },
  ],
  [
    'a crash after an unsaved renewal: the one on the disk recovers, and ends the lost one',
    [
      ...joined,
      { renew: 'a', to: 'b' },
      { use: 'b', kept: 'a' },
      { recover: 'a', to: 'c' },
      { use: 'c' },
    ],
    { a: 'none', b: 'none', c: 'full' },
  ],
  [
    'the answer to a recovery is lost: the recovered one may recover again',
    [...joined, { renew: 'a', to: 'b' }, { use: 'b', kept: 'a' }, { recover: 'a', to: 'c' }],
    { a: 'full', b: 'none', c: 'full' },
  ],
  [
    'off until expiry after a lost answer: the one on the disk recovers, the lost one dies at use',
    [...joined, { renew: 'a', to: 'b' }, { recover: 'a', to: 'c' }, { use: 'c' }],
    { a: 'none', b: 'none', c: 'full' },
  ],
  [
    'a snapshot is put back: what is older than the kept one is worth nothing',
    [...joined, { renew: 'a', to: 'b' }, { use: 'b' }, { renew: 'b', to: 'c' }, { use: 'c' }],
    { a: 'none', b: 'none', c: 'full' },
  ],
  [
    'two clones renew the same SVID: who is welcomed first stays, the other never comes back',
    [...joined, { renew: 'a', to: 'b' }, { renew: 'a', to: 'c' }, { use: 'b' }],
    { a: 'none', b: 'full', c: 'none' },
  ],
  [
    'two clones whose SVID has expired recover: who is welcomed first stays',
    [...joined, { recover: 'a', to: 'b' }, { recover: 'a', to: 'c' }, { use: 'b' }],
    { a: 'none', b: 'full', c: 'none' },
  ],
  [
    'a thief is first: the SVID that he renewed is worth nothing to its owner',
    [...joined, { renew: 'a', to: 'thief' }, { use: 'thief' }],
    { a: 'none', thief: 'full' },
  ],
  [
    'a thief who claims an older SVID as kept gives its owner the way back',
    [...joined, { renew: 'a', to: 'thief' }, { use: 'thief', kept: 'a' }],
    { a: 'recover', thief: 'full' },
  ],
  [
    'a new attestation ends the line',
    [...joined, { renew: 'a', to: 'b' }, { attest: 'c' }],
    { a: 'none', b: 'none', c: 'full' },
  ],
  [
    'the server is restored to before the first use: the older stands until the newer is used again',
    [...joined, { renew: 'a', to: 'b' }],
    { a: 'full', b: 'full', c: 'none' },
  ],
];

for (const [name, steps, standings] of cases)
  test(`line of an agent: ${name}`, () => {
    const line = after(steps);
    const found = Object.fromEntries(
      Object.keys(standings).map((serial) => [serial, standingIn(line, serial)]),
    );
    assert.deepEqual(found, standings);
  });

test('what may recover alone can neither be used nor renewed, and what counts no more can nothing', () => {
  const line = after([
    ...joined,
    { renew: 'a', to: 'b' },
    { use: 'b' },
    { renew: 'b', to: 'c' },
    { use: 'c', kept: 'b' },
  ]);
  for (const serial of ['a', 'b']) {
    assert.equal(stepped(line, { renew: serial, to: 'x' }), undefined, serial);
    assert.equal(stepped(line, { use: serial }), undefined, serial);
  }
  assert.equal(stepped(line, { recover: 'a', to: 'x' }), undefined);
  assert.notEqual(stepped(line, { recover: 'b', to: 'x' }), undefined);
});

test('every step that is repeated leaves the line as it is', () => {
  const steps: Step[] = [...joined, { renew: 'a', to: 'b' }, { use: 'b', kept: 'a' }];
  const line = after(steps);
  assert.deepEqual(stepped(line, { use: 'b', kept: 'a' }), line);
  const renewed = after([...steps, { renew: 'b', to: 'c' }]);
  assert.deepEqual(stepped(renewed, { renew: 'b', to: 'c' }), renewed);
  const recovered = after([...steps, { recover: 'a', to: 'c' }]);
  assert.deepEqual(stepped(recovered, { recover: 'a', to: 'c' }), recovered);
});

test('a line stays short however often an agent renews, and the one in use is never left out', () => {
  let line = after(joined);
  for (let index = 0; index < 200; index += 1)
    line = stepped(line, { renew: 'a', to: `r${index}` }) as AgentLine;
  assert.equal(line.svids.length, 64);
  assert.deepEqual(
    [standingIn(line, 'a'), standingIn(line, 'r0'), standingIn(line, 'r199')],
    ['full', 'none', 'full'],
  );
});
