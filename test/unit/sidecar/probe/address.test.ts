import assert from 'node:assert/strict';
import test from 'node:test';
import { parseListenerAddress } from '../../../../sidecar/probe/index.ts';

test('addresses of listeners are hosts with ports, or absolute paths', () => {
  const good = {
    '127.0.0.1:8443': { host: '127.0.0.1', port: 8443 },
    '[::1]:443': { host: '::1', port: 443 },
    '[fe80::1%eth0]:443': { host: 'fe80::1%eth0', port: 443 },
    'db.example.org:5432': { host: 'db.example.org', port: 5432 },
    '/run/db/.s.PGSQL.5432': { path: '/run/db/.s.PGSQL.5432' },
  };
  for (const [text, wanted] of Object.entries(good))
    assert.deepEqual(parseListenerAddress(text), wanted);
});

test('anything else is no address of a listener', () => {
  const bad = [
    ...['', ':443', 'a', 'a:', 'a:0', 'a:65536', 'a:1e3', 'a:443/path', 'https://a:443', '::1:443'],
    ...[
      '[::1]',
      '[a.example]:443',
      'a b:1',
      'a:443\n',
      'run/socket',
      `/${'a'.repeat(107)}`,
      '/a\0b',
    ],
  ];
  assert.deepEqual(
    bad.filter((text) => parseListenerAddress(text) !== undefined),
    [],
  );
});
