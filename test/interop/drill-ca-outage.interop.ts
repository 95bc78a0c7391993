import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('in an outage of half a life no SVID expires in use, and rebooted agents come back unattended', async () => {
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
