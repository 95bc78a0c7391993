import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readBody, type BodyReading } from '../../../../src/server/http/body.ts';
import { testRequest } from '../../../support/http-request.ts';

const rule = { maximumBytes: 10, types: ['application/toy'] };

const refusal = (reading: BodyReading): string =>
  reading.kind === 'refused' ? `${reading.failure.status} ${reading.failure.code}` : reading.kind;

describe('a request body', () => {
  test('is read as it was sent, in however many pieces it comes', async () => {
    const request = testRequest({
      headers: { 'content-length': '8', 'content-type': 'Application/Toy; v=1' },
    });
    const reading = readBody(request, rule);
    request.write('\0abc');
    request.end('d\xff');
    assert.deepEqual(await reading, { kind: 'body', bytes: Buffer.from('\0abcd\xff') });
  });

  test('is empty where none was sent, whatever the type', async () => {
    const request = testRequest({ headers: { 'content-type': 'text/plain' } });
    const reading = readBody(request, rule);
    request.end();
    assert.deepEqual(await reading, { kind: 'body', bytes: Buffer.alloc(0) });
  });

  test('that announces more than the limit is refused before any of it is read', async () => {
    const request = testRequest({ headers: { 'content-length': '11' } });
    assert.equal(refusal(await readBody(request, rule)), '413 REQUEST_TOO_LARGE');
    assert.equal(request.listenerCount('data'), 0);
  });

  test('that grows beyond the limit is refused, and read no further', async () => {
    const request = testRequest({
      headers: { 'transfer-encoding': 'chunked', 'content-type': 'application/toy' },
    });
    const reading = readBody(request, rule);
    request.write('x'.repeat(10));
    request.write('y');
    assert.equal(refusal(await reading), '413 REQUEST_TOO_LARGE');
    assert.ok(request.isPaused());
  });

  test('is refused by a route that takes none', async () => {
    const request = testRequest({ headers: { 'content-length': '1' } });
    const reading = await readBody(request, undefined);
    assert.equal(refusal(reading), '413 REQUEST_TOO_LARGE');
    assert.match(reading.kind === 'refused' ? reading.failure.next : '', /without a body/);
  });

  test('of another type or with a content encoding is refused, with what is taken', async () => {
    for (const headers of [
      { 'content-length': '1', 'content-type': 'text/plain' },
      { 'content-length': '1' },
      { 'content-length': '1', 'content-type': 'application/toy', 'content-encoding': 'gzip' },
    ])
      assert.equal(refusal(await readBody(testRequest({ headers }), rule)), '415 INVALID_REQUEST');
    const any = testRequest({ headers: { 'content-length': '1', 'content-type': 'text/plain' } });
    const reading = readBody(any, { maximumBytes: 1 });
    any.end('a');
    assert.equal((await reading).kind, 'body');
  });

  test('whose client goes away is nobody to answer', async () => {
    for (const error of [undefined, new Error('reset')]) {
      const request = testRequest({
        headers: { 'content-length': '9', 'content-type': 'application/toy' },
      });
      const reading = readBody(request, rule);
      request.write('abc');
      request.destroy(error);
      assert.deepEqual(await reading, { kind: 'aborted' });
    }
  });
});
