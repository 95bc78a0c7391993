import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { createVariants } from '../../../../../sidecar/apis/sds/variants.ts';

test('of the texts that a proxy chooses, its node and its reasons, the start is kept', () => {
  const { full, delta } = createVariants();
  const text = 'é'.repeat(60_000);
  const wire = {
    node: { id: text },
    typeUrl: '',
    responseNonce: '1',
    errorDetail: { code: 13, message: text },
    resourceNames: [],
    resourceNamesSubscribe: [],
    resourceNamesUnsubscribe: [],
    initialResourceVersions: {},
  };
  for (const variant of [full, delta]) {
    const { node, request } = variant.read(wire);
    assert.equal(node, 'é'.repeat(100));
    assert.equal(unwrap(request).refused, `${'é'.repeat(400)} (code 13)`);
    assert.equal(variant.read({ ...wire, node: null }).node, '');
  }
});
