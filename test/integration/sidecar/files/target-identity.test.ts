import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromServiceError } from '../../../../src/common/wire/index.ts';
import { targetSelector } from '../../../../sidecar/ports/file-targets.ts';
import { selectorText } from '../../../../src/common/spiffe/index.ts';
import { entryOf } from '../../../support/local-server-fakes.ts';
import { collect, header, startHarness } from '../local-server/support.ts';

test('no process gets the identity of a file target, whoever it runs as', async () => {
  await using harness = await startHarness();
  const selector = selectorText(targetSelector('web'));
  assert.equal(selector, 'target:name:web');
  harness.entries.set(
    entryOf('web', 'spiffe://td.test/web', [selector]),
    entryOf('both', 'spiffe://td.test/both', [selector, `unix:uid:${process.getuid?.()}`]),
  );
  const error = await collect(harness.client().FetchX509SVID({}, header())).error();
  assert.equal(fromServiceError(error).code, 'NO_IDENTITY');
  const refusal = harness.refusals.get(String(fromServiceError(error).detail['refusalId']));
  assert.deepEqual(
    refusal?.selectors.filter(({ type }) => type === 'target'),
    [],
  );
});
