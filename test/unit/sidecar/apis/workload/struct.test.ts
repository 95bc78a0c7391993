import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toStruct } from '../../../../../sidecar/apis/workload/struct.ts';

test('claims of every JSON type become a Struct, and absent ones are left out', () => {
  assert.deepEqual(
    toStruct({ a: 'x', b: 1.5, c: true, d: null, e: ['y', { f: 2 }], g: { h: [] }, i: undefined }),
    {
      fields: {
        a: { stringValue: 'x' },
        b: { numberValue: 1.5 },
        c: { boolValue: true },
        d: { nullValue: 'NULL_VALUE' },
        e: {
          listValue: {
            values: [{ stringValue: 'y' }, { structValue: { fields: { f: { numberValue: 2 } } } }],
          },
        },
        g: { structValue: { fields: { h: { listValue: { values: [] } } } } },
      },
    },
  );
});
