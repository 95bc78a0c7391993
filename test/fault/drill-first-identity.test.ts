import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('two workloads come to mTLS from an empty state, renew, and no handshake fails', async () => {
  // the 15 s of a warm start are promised on a machine that does nothing else, as this one may not
  // be
  const { code, figures, stderr } = await runDrill(
    'first-identity',
    '--short',
    '--json',
    '--warm',
    '120',
  );
  assert.equal(code, 0, stderr);
  assert.deepEqual(Object.keys(figures), ['seconds', 'renewals', 'requests', 'failedHandshakes']);
  assert.ok(figures.seconds > 0 && figures.seconds < 180);
  assert.ok(figures.renewals >= 2 && figures.requests > 50);
  assert.equal(figures.failedHandshakes, 0);
});

test('the drills are listed with their promises, and a wrong call says how it goes', async () => {
  const listed = await runDrill('list');
  assert.equal(listed.code, 0);
  for (const name of ['first-identity', 'crash-issuance', 'hsm-loss', 'ca-outage'])
    assert.match(listed.stdout, new RegExp(`^${name} +\\w`, 'm'));
  assert.equal((await runDrill('no-such-drill')).code, 2);
  assert.equal((await runDrill('hsm-loss', '--no-such-option', 'x')).code, 2);
  assert.equal((await runDrill()).code, 2);
});
