import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { sdsContract } from '../../../../../src/common/wire/index.ts';
import { createVariants } from '../../../../../sidecar/apis/sds/variants.ts';

test('a proxy says by the metadata of its node whether it wants the SPIFFE validator', () => {
  const { full, delta } = createVariants();
  const { service } = sdsContract().packages.envoy.service.secret.v3.SecretDiscoveryService;
  const wanted = (disable: object | undefined): readonly (boolean | undefined)[] => {
    const fields = disable === undefined ? {} : { disable_spiffe_cert_validation: disable };
    const request = { node: { id: 'a', metadata: { fields } } };
    const read = (variant: typeof full, method: 'StreamSecrets' | 'DeltaSecrets') => {
      const { requestSerialize, requestDeserialize } = service[method];
      return variant.read(requestDeserialize(requestSerialize(request))).spiffeValidator;
    };
    return [read(full, 'StreamSecrets'), read(delta, 'DeltaSecrets')];
  };
  const no = [false, false];
  const yes = [true, true];
  const unsaid = [undefined, undefined];
  for (const text of ['true', 'True', 'TRUE', '1', 't', 'T'])
    assert.deepEqual(wanted({ stringValue: text }), no, text);
  for (const text of ['false', 'False', 'FALSE', '0', 'f', 'F'])
    assert.deepEqual(wanted({ stringValue: text }), yes, text);
  assert.deepEqual(wanted({ boolValue: true }), no);
  assert.deepEqual(wanted({ boolValue: false }), yes);
  for (const value of [undefined, {}, { stringValue: '' }, { stringValue: 'constructor' }])
    assert.deepEqual(wanted(value), unsaid);
});

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
