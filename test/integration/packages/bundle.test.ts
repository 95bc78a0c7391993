import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { productEntry } from '../../support/product.ts';

// from source there is no bundle
const bundled = import.meta.url.endsWith('.js');

test('the product parses no contract and loads no second HTTP client at its start', {
  skip: !bundled && 'the tests run from source',
}, () => {
  const folder = dirname(productEntry);
  const texts = readdirSync(folder)
    .filter((name) => name.endsWith('.js'))
    .map((name) => readFileSync(join(folder, name), 'utf8'));
  assert.ok(texts.some((text) => text.includes('SpiffeWorkloadAPI')));
  for (const text of texts) {
    assert.doesNotMatch(text, /from"node:http"|import"node:http"/);
    assert.doesNotMatch(text, /#proto\//);
  }
});
