import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { errorFields } from '../../../../src/common/runtime/index.ts';

test('an error of ours is logged by code and text, without a stack', () => {
  assert.deepEqual(errorFields(new PkiError('HSM_FAILED', 'the token is gone')), {
    code: 'HSM_FAILED',
    error: 'the token is gone',
  });
});

test('what led to an error is logged where it says more', () => {
  const cause = new Error('CKR_DEVICE_ERROR');
  assert.deepEqual(errorFields(new PkiError('HSM_FAILED', 'no signature', { cause })), {
    code: 'HSM_FAILED',
    error: 'no signature',
    cause: 'CKR_DEVICE_ERROR',
  });
  assert.deepEqual(errorFields(new PkiError('HSM_FAILED', cause.message, { cause })), {
    code: 'HSM_FAILED',
    error: 'CKR_DEVICE_ERROR',
  });
});

test('a defect is logged as INTERNAL with its stack', () => {
  const defect = new TypeError('x is not a function');
  assert.deepEqual(errorFields(defect), {
    code: 'INTERNAL',
    error: 'x is not a function',
    stack: defect.stack,
  });
  assert.deepEqual(errorFields('a text'), { code: 'INTERNAL', error: 'a text' });
});

test('the detail of an error is not logged', () => {
  const error = new PkiError('CONFLICT', 'by another size', { detail: { expected: 7 } });
  assert.deepEqual(Object.keys(errorFields(error)), ['code', 'error']);
});
