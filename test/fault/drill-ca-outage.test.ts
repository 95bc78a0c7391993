import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('an outage of more than half a life lets no SVID expire in use, renewals spread after it, and rebooted agents come back by themselves', async () => {
  const { code, figures, stderr } = await runDrill('ca-outage', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(
    figures.outageSeconds > figures.lifeSeconds / 2 &&
      figures.plannedOutageSeconds <= figures.promisedSeconds,
  );
  assert.equal(figures.expiredInUse, 0);
  assert.ok(figures.spread.renewals >= figures.identities && figures.spread.peakShare <= 0.5);
  assert.ok(figures.agentLifeSeconds < figures.outageSeconds);
});
