import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  certificateIdText,
  readCertificateId,
} from '../../../../src/services/acme/certificate-id.ts';

test('the example of RFC 9773 is read, and written the same', () => {
  const text = 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE';
  const id = readCertificateId(text);
  assert.deepEqual(id, {
    issuerKeyId: '69885b6b87464041e1b37b847ba0ae2cde01c8d4',
    serial: '87654321',
  });
  assert.equal(certificateIdText('69885b6b87464041e1b37b847ba0ae2cde01c8d4', '87654321'), text);
  assert.equal(readCertificateId('aYhb.QIdl')?.serial, '408765');
});

test('no other form of an identifier is read', () => {
  for (const [why, text] of [
    ['nothing', ''],
    ['one part', 'aYhb'],
    ['no serial', 'aYhb.'],
    ['no issuer', '.QIdl'],
    ['three parts', 'aYhb.QIdl.QIdl'],
    ['padding', 'aYhba4dGQEHhs3uEe6CuLN4ByNQ=.AIdlQyE'],
    ['padding of the serial', 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE='],
    ['base64', 'aYh+.QIdl'],
    ['unused bits set', 'aYhb.QIdlQyF'],
    ['negative serial: its 00 is missing', 'aYhb.h2VDIQ'],
    ['a 00 too many', 'aYhb.AEBlQw'],
    ['two of them', 'aYhb.AACHZUMh'],
    ['serial 0', 'aYhb.AA'],
    ['serial of 22 octets', `aYhb.${Buffer.alloc(22, 1).toString('base64url')}`],
  ] as const)
    assert.equal(readCertificateId(text), undefined, why);
});
