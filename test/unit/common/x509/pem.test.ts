import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  certificatesFromPem,
  certificatesToPem,
  pemDecode,
  pemEncode,
} from '../../../../src/common/x509/index.ts';
import { cpuMs } from '../../../support/cpu.ts';

suite('PEM', () => {
  test('decodes what it encoded, with text between the blocks', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        (first, second) => {
          const text =
            `subject: x\n${pemEncode('CERTIFICATE', Buffer.from(first))}issuer: ` +
            `y\r\n${pemEncode('PRIVATE KEY', Buffer.from(second)).replaceAll('\n', '\r\n')}`;
          const decoded = pemDecode(text);
          assert.ok(decoded.ok);
          assert.deepEqual(
            decoded.value.map((block) => [block.label, Uint8Array.from(block.der)]),
            [
              ['CERTIFICATE', first],
              ['PRIVATE KEY', second],
            ],
          );
        },
      ),
    );
  });

  test('writes lines of 64 characters', () => {
    const lines = pemEncode('X', Buffer.alloc(100)).trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => line.length),
      [17, 64, 64, 8, 15],
    );
  });

  test('refuses unfinished blocks, foreign endings, bad base64 and foreign blocks among certificates', () => {
    const good = certificatesToPem([Buffer.from('3000', 'hex')]);
    for (const bad of [
      good.replace('-----END CERTIFICATE-----', ''),
      good.replace('END CERTIFICATE', 'END KEY'),
      good.replace('MAA=', 'MAA'),
      good.replace('MAA=', 'MAB='),
      good.replace('MAA=', ''),
      `${good}-----BEGIN CERTIFICATE-----\n`,
      '',
      'no block',
      `${good}${pemEncode('PRIVATE KEY', Buffer.from('3000', 'hex'))}`,
    ]) {
      const result = certificatesFromPem(bad);
      assert.equal(result.ok ? 'OK' : result.error.code, 'CERTIFICATE_MALFORMED', bad);
    }
    assert.ok(certificatesFromPem(good + good).ok);
  });

  test('takes time in proportion to its input, also on hostile text', () => {
    const start = cpuMs();
    pemDecode('-----BEGIN A-----\n'.repeat(20_000));
    pemDecode(`-----BEGIN A-----\n${'A '.repeat(200_000)}`);
    assert.ok(cpuMs() - start < 4_000);
  });
});
