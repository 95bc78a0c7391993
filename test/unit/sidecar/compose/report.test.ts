import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { readinessOf, type ReportDependencies } from '../../../../sidecar/compose/report.ts';

interface Situation {
  readonly connected?: boolean;
  readonly attested?: boolean;
  readonly synced?: boolean;
  readonly entries?: number;
  readonly held?: number;
  readonly lastError?: PkiError;
  readonly barred?: PkiError;
  readonly promised?: number;
}

/** The few answers of the stages that readiness is made of. */
function partsOf(situation: Situation): ReportDependencies {
  const { connected = true, attested = true, synced = true, entries = 3, held = 2 } = situation;
  return {
    config: { outage: { promisedSeconds: situation.promised } },
    trust: {
      bundles: { current: () => (attested ? {} : undefined) },
      identity: { credential: attested ? {} : undefined },
    },
    entries: { cache: { synced: () => synced, size: () => entries } },
    svids: { x509: { horizon: () => ({ held }) } },
    session: {
      status: () => ({ connected, lastError: situation.lastError, barred: situation.barred }),
    },
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
  ];
  for (const [name, situation] of ready)
    test(`ready: ${name}`, () => assert.deepEqual(readinessOf(partsOf(situation)).reasons, []));

  const unready: readonly (readonly [string, Situation, RegExp])[] = [
    ['not attested', { attested: false, lastError: away }, /not attested yet: refused \(UNREACH/],
    ['without its entries', { synced: false }, /entries have not been received/],
    ['empty-handed while the server is away', { connected: false, held: 0 }, /no SVID is held/],
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
