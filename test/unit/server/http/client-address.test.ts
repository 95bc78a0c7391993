import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { clientAddress, trustedProxies } from '../../../../src/server/http/client-address.ts';

describe('the address of an HTTP client', () => {
  const proxies = trustedProxies(['10.0.0.0/8', '::1', 'fd00::/8']);
  const of = (peer: string, forwarded?: string | readonly string[]): string =>
    clientAddress(peer, forwarded, proxies);

  test('is that of the peer, unless the peer is a trusted proxy', () => {
    assert.equal(of('192.0.2.1', '198.51.100.9'), '192.0.2.1');
    assert.equal(of('10.1.2.3', '198.51.100.9'), '198.51.100.9');
    assert.equal(of('::ffff:10.1.2.3', '198.51.100.9'), '198.51.100.9');
    assert.equal(of('fd00::7', '2001:db8::1'), '2001:db8::1');
  });

  test('is the last one that no trusted proxy has, whatever a client wrote before it', () => {
    assert.equal(of('10.0.0.1', '6.6.6.6, 198.51.100.9, 10.0.0.2'), '198.51.100.9');
    assert.equal(of('10.0.0.1', ['6.6.6.6', '198.51.100.9']), '198.51.100.9');
    assert.equal(of('10.0.0.1', '198.51.100.9, nonsense'), '10.0.0.1');
    assert.equal(of('10.0.0.1', '198.51.100.9, nonsense, 10.0.0.2'), '10.0.0.2');
    assert.equal(of('10.0.0.1'), '10.0.0.1');
  });

  test('networks are an address or CIDR', () => {
    for (const good of ['10.0.0.0/8', '127.0.0.1', '::1/128', '2001:db8::/32', '0.0.0.0/0'])
      assert.doesNotThrow(() => trustedProxies([good]), good);
    for (const bad of [
      '10.0.0.0/33',
      '10.0.0',
      'localhost',
      '10.0.0.0/8/8',
      '10.0.0.0/',
      '::1/129',
    ])
      assert.throws(() => trustedProxies([bad]), PkiError, bad);
  });
});
