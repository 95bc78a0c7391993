import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { knownSelectors, oddSelector } from '../../../src/cli/selector-hints.ts';

test('each selector that the agent makes is known, and what is nearly one is named', () => {
  for (const selector of [
    'unix:uid:0',
    'unix:path:/usr/bin/a:b',
    'systemd:id:web.service',
    'peer:pinned',
    'target:name:web',
  ])
    assert.deepEqual(oddSelector(selector), []);
  assert.match(oddSelector('unix:usr:web')[0] ?? '', /did you mean unix:user\?/);
  assert.match(oddSelector('target:nam:web')[0] ?? '', /did you mean target:name\?/);
  assert.match(oddSelector('unix:uid')[0] ?? '', /unix:uid:VALUE/);
  assert.match(oddSelector('kubernetes:pod:web')[0] ?? '', /docs\/entries\.md/);
  assert.deepEqual(oddSelector('no-selector'), []);
});

test('the known selectors are those of docs/entries.md', () => {
  const file = readFileSync(
    new URL('../docs/entries.md', import.meta.resolve('#proto/README.md')),
    'utf8',
  );
  for (const selector of knownSelectors) assert.ok(file.includes(`\`${selector}`), selector);
});
