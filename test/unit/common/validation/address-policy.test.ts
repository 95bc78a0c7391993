import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AddressPolicy } from '../../../../src/common/validation/address-policy.ts';

const everything = ['0.0.0.0/0', '::/0'];
const open = new AddressPolicy({ allowed: everything, denied: [], isOwn: () => false });
const inside = new AddressPolicy({
  allowed: ['10.0.0.0/8', 'fd12::/16'],
  denied: ['10.9.0.0/16', 'fd12:9::/32'],
  isOwn: (address, port) => address === '10.0.0.5' && port === 80,
});

describe('the addresses of validations', () => {
  const forbidden = [
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '127.255.255.254',
    '169.254.169.254',
    '169.254.170.2',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    '192.88.99.1',
    '224.0.0.1',
    '239.255.255.250',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::10.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:7f00:1',
    '::ffff:0:127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b::10.0.0.1',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:0:7f00:1::',
    '2002:7f00:1::',
    '2002:a00:1::1',
    'fe80::1',
    'febf::1',
    'fec0::1',
    'ff02::1',
    'fd00:ec2::254',
    'fd20:ce::254',
    'fd12::5efe:10.0.0.1',
    'fd12::200:5efe:a00:1',
    'fd12:0:0:0:0:5efe:7f00:1',
  ];
  for (const address of forbidden)
    it(`never include ${address}, also where everything is allowed`, () => {
      assert.equal(open.refusal(address, 80), 'never');
    });

  for (const text of [
    'localhost',
    '',
    '10.0.0',
    '0x7f000001',
    '2130706433',
    'fe80::1%lo',
    '010.0.0.1',
  ])
    it(`are addresses, which ${JSON.stringify(text)} is not`, () => {
      assert.equal(open.refusal(text, 80), 'not-an-address');
    });

  it('are those of the allowed networks, without the denied ones', () => {
    assert.equal(inside.refusal('10.1.2.3', 80), undefined);
    assert.equal(inside.refusal('fd12::7', 443), undefined);
    assert.equal(inside.refusal('10.9.2.3', 80), 'denied');
    assert.equal(inside.refusal('fd12:9::1', 80), 'denied');
    assert.equal(inside.refusal('192.168.1.1', 80), 'not-allowed');
    assert.equal(inside.refusal('2a00::1', 80), 'not-allowed');
  });

  it('include no port at which the server listens', () => {
    assert.equal(inside.refusal('10.0.0.5', 80), 'own-port');
    assert.equal(inside.refusal('10.0.0.5', 443), undefined);
  });

  it('are judged in their own family: 10.0.0.0/8 allows no IPv6 address that embeds one', () => {
    const ipv4 = new AddressPolicy({ allowed: ['10.0.0.0/8'], denied: [], isOwn: () => false });
    for (const address of ['::ffff:10.0.0.1', '64:ff9b::10.0.0.1', '::10.0.0.1'])
      assert.notEqual(ipv4.refusal(address, 80), undefined, address);
  });

  it('need networks that can be read', () => {
    for (const network of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', 'ten/8', '10.0.0.0/8/8'])
      assert.throws(
        () => new AddressPolicy({ allowed: [network], denied: [], isOwn: () => false }),
        TypeError,
      );
  });
});
