import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockReason } from '../../../src/compose/clock-reason.ts';
import type { ClockStanding } from '../../../src/domain/index.ts';

const reasonOf = (standing: ClockStanding, ahead = 0): string =>
  clockReason(
    { standing: () => standing, jumpedSeconds: () => (standing === 'believed' ? 0 : -300) },
    { aheadOfAgents: () => ahead },
    60,
  ) ?? '';

test('a clock behind the log, or far from most agents, makes the server unready, and no doubt does', () => {
  assert.match(reasonOf('behind-log'), /300 s behind its audit log/);
  assert.match(reasonOf('believed', 900), /900 s ahead of those of most connected agents/);
  assert.match(reasonOf('jumped', -90), /90 s behind those of most connected agents/);
  assert.deepEqual(
    (['believed', 'jumped', 'unproven'] as const).map((standing) => reasonOf(standing)),
    ['', '', ''],
  );
});
