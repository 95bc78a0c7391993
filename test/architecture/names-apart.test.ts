import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadGraph, root } from './graph.ts';

test('the roots of names are read where certificates for names are issued and published only', () => {
  const naming = [...loadGraph(['src', 'sidecar', 'demo']).keys()]
    .filter((path) => readFileSync(join(root, path), 'utf8').includes('namesRootsDer'))
    .sort();
  assert.deepEqual(naming, [
    'src/compose/http.ts',
    'src/issuance/authorities.ts',
    'src/issuance/authority-registry.ts',
    'src/services/issuing/names-service.ts',
  ]);
});
