import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import type { RefusedStep } from '../../../../sidecar/bundle/index.ts';
import type { TargetStatus } from '../../../../sidecar/ports/file-targets.ts';
import type { Unkept } from '../../../../sidecar/state/index.ts';
import { readinessOf, type ReportDependencies } from '../../../../sidecar/compose/report.ts';

interface Situation {
  readonly connected?: boolean;
  readonly attested?: boolean;
  readonly synced?: boolean;
  readonly entries?: number;
  readonly held?: number;
  readonly unserved?: number;
  readonly ownValid?: boolean;
  readonly unkept?: readonly Unkept[];
  readonly lastError?: PkiError;
  readonly barred?: PkiError;
  readonly promised?: number;
  readonly unproven?: string;
  readonly withoutCrls?: string;
  /** What is wrong with the bundles of foreign trust domains. */
  readonly foreign?: Readonly<Record<string, string>>;
  readonly refused?: RefusedStep;
  readonly targets?: readonly Pick<TargetStatus, 'name' | 'state' | 'reason'>[];
}

/** The few answers of the stages that readiness is made of. */
function partsOf(situation: Situation): ReportDependencies {
  const { connected = true, attested = true, synced = true, entries = 3, held = 2 } = situation;
  const { unserved = 0, ownValid = true, unkept = [] } = situation;
  return {
    config: { outage: { promisedSeconds: situation.promised } },
    trust: {
      bundles: {
        current: () => (attested ? {} : undefined),
        refused: () => situation.refused,
        federatedProblems: () => new Map(Object.entries(situation.foreign ?? {})),
      },
      identity: { credential: attested ? {} : undefined, valid: () => attested && ownValid },
      writes: { unkept: () => unkept },
      issuers: { note: () => situation.unproven },
    },
    held: { withoutCrls: { note: () => situation.withoutCrls } },
    entries: { cache: { synced: () => synced, size: () => entries } },
    svids: { x509: { horizon: () => ({ held, unserved }) } },
    session: {
      status: () => ({ connected, lastError: situation.lastError, barred: situation.barred }),
    },
    targets: { list: () => situation.targets ?? [] },
    outageSeconds: () => 33,
  } as unknown as ReportDependencies;
}

const away = new PkiError('UNREACHABLE', 'refused');

describe('an agent is', () => {
  const ready: readonly (readonly [string, Situation])[] = [
    ['connected and serving', {}],
    ['connected and holding nothing yet', { held: 0 }],
    ['serving what is valid while the server is away', { connected: false, lastError: away }],
    ['without entries while the server is away', { connected: false, entries: 0, held: 0 }],
    ['serving though its own SVID has ended', { connected: false, ownValid: false }],
    ['serving some while the server refuses others', { unserved: 2 }],
  ];
  for (const [name, situation] of ready)
    test(`ready: ${name}`, () => assert.deepEqual(readinessOf(partsOf(situation)).reasons, []));

  const unready: readonly (readonly [string, Situation, RegExp])[] = [
    ['not attested', { attested: false, lastError: away }, /not attested yet: refused \(UNREACH/],
    ['without its entries', { synced: false }, /entries have not been received/],
    ['empty-handed while the server is away', { connected: false, held: 0 }, /no SVID is held/],
    ['ended itself, with nothing to serve', { ownValid: false, held: 0 }, /itself has ended/],
    ['ended itself, without entries', { ownValid: false, entries: 0, held: 0 }, /itself has ended/],
    [
      'given nothing by the server',
      { held: 0, unserved: 2 },
      /gives none of the 2 that are in use/,
    ],
    ['banned', { barred: new PkiError('AGENT_BANNED', 'banned') }, /nothing new: banned/],
  ];
  for (const [name, situation, reason] of unready)
    test(`not ready: ${name}`, () => {
      const { reasons } = readinessOf(partsOf(situation));
      assert.equal(reasons.length, 1);
      assert.match(reasons[0] as string, reason);
    });
});

test('notes tell of a server that is away, and of lives too short for the outage that is promised', () => {
  const { reasons, notes } = readinessOf(
    partsOf({ connected: false, lastError: away, promised: 60 }),
  );
  assert.deepEqual(reasons, []);
  assert.match(notes[0] as string, /not connected to the server: refused \(UNREACHABLE\)/);
  assert.match(notes[1] as string, /60 s is promised, .* only 33 s/);
  assert.deepEqual(readinessOf(partsOf({ promised: 33 })).notes, []);
});

test('a server that was believed without proof is named in a note', () => {
  const unproven =
    'the issuer of the server, with the key ab, was believed because of its root alone';
  assert.deepEqual(readinessOf(partsOf({ unproven })).notes, [unproven]);
});

test('streams that lack the CRLs are named in a note, and no ground to be unready', () => {
  const withoutCrls = '2 streams of workloads without CRLs';
  assert.deepEqual(readinessOf(partsOf({ withoutCrls })), { reasons: [], notes: [withoutCrls] });
});

test('what the state directory does not keep is a note with files and reason, and no ground to be unready', () => {
  const error = new PkiError('STATE_UNUSABLE', 'no space left on device');
  const unkept = ['agent-svid.json', 'bundle.json'].map((file) => ({ file, since: 1, error }));
  const { reasons, notes } = readinessOf(partsOf({ unkept }));
  assert.deepEqual(reasons, []);
  assert.match(
    notes[0] as string,
    /not kept on disk: agent-svid\.json, bundle\.json; .*no space left on device \(STATE_UNUSABLE\)/,
  );
});

test('a foreign bundle that is not taken is named in a note, and no ground to be unready', () => {
  const { reasons, notes } = readinessOf(partsOf({ foreign: { 'b.test': 'it is broken' } }));
  assert.deepEqual(reasons, []);
  assert.deepEqual(notes, [
    'the newest bundle of the foreign trust domain b.test is not taken: it is broken',
  ]);
});

test('a refused bundle is a note with code and next step, and no ground to be unready', () => {
  const error = new PkiError('SERVER_UNTRUSTED', 'not signed', { next: 'Join again.' });
  const refused = { sequence: 9, heldSequence: 7, error };
  assert.deepEqual(readinessOf(partsOf({ refused })), {
    reasons: [],
    notes: [
      'the bundle 9 of the server is refused, and 7 stays in force: not signed (SERVER_UNTRUSTED). ' +
        'Join again.',
    ],
  });
});

test('a file target in trouble is named in a note, and no ground to be unready', () => {
  const { reasons, notes } = readinessOf(
    partsOf({
      targets: [
        { name: 'web', state: 'rolled-back', reason: 'DRIVER_REFUSED: no' },
        { name: 'db', state: 'proven', reason: '' },
      ],
    }),
  );
  assert.deepEqual(reasons, []);
  assert.deepEqual(notes, ['the file target web is rolled-back: DRIVER_REFUSED: no']);
});
