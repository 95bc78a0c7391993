import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLoopback, isLoopbackUrl } from '../../../../src/common/runtime/index.ts';

test('only addresses of this machine are loopback, not names that look like them', () => {
  for (const address of ['127.0.0.1', '127.8.8.8', '::1', 'localhost'])
    assert.ok(isLoopback(address), address);
  for (const address of ['127.evil.example', '0.0.0.0', '10.0.0.1', '::', 'localhost.example', ''])
    assert.ok(!isLoopback(address), address);
});

test('the host of a URL is loopback also as an IPv6 address in brackets', () => {
  for (const url of ['http://[::1]:8200', 'http://127.0.0.2/x', 'http://LOCALHOST:1'])
    assert.ok(isLoopbackUrl(new URL(url)), url);
  for (const url of ['http://[::2]', 'http://127.0.0.1.example', 'http://localhost@example.org'])
    assert.ok(!isLoopbackUrl(new URL(url)), url);
});
