import assert from 'node:assert/strict';
import { test } from 'node:test';

test('the process that asks for signatures loads no PKCS#11 addon by importing the port', async () => {
  await import('../../../src/hsm/index.ts');
  const { sharedObjects } = process.report.getReport() as unknown as {
    readonly sharedObjects: readonly string[];
  };
  assert.ok(sharedObjects.length > 0);
  assert.deepEqual(
    sharedObjects.filter((path) => /pkcs11|softhsm/.test(path)),
    [],
  );
});
