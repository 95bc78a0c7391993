import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  DerError,
  DerReader,
  derWriter,
  encodeTime,
  oidText,
  readTime,
  splitDer,
  tag,
} from '../../../../src/common/x509/index.ts';

const { bitString, der, integer, namedBits, octetString, oid, sequence, setOf, unsignedInteger } =
  derWriter;
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');
const refuses = (text: string, read: (reader: DerReader) => unknown): void =>
  assert.throws(() => read(new DerReader(hex(text))), DerError, text);

suite('DerReader', () => {
  test('refuses every length that is not in its shortest definite form', () => {
    for (const text of [
      '04 80 00 00',
      '04 81 01 aa',
      '04 82 00 01 aa',
      '04 81 7f',
      '04 84 00 00 00 01 aa',
      '04 ff',
      '04 81',
      '04',
      '',
      '04 02 aa',
      '04 82 00 ff',
    ]) {
      refuses(text, (reader) => reader.content(tag.octetString, 'x'));
    }
    const long = Buffer.alloc(0x80, 1);
    assert.deepEqual(new DerReader(octetString(long)).content(tag.octetString, 'x'), long);
  });

  test('passes over bytes only if they are the next ones of its content, and skips an element unread', () => {
    const two = Buffer.concat([integer(1), octetString(Buffer.of(7))]);
    const reader = new DerReader(Buffer.concat([sequence(two), integer(2)])).sequence('x');
    const start = reader.offset;
    for (const others of [integer(2), Buffer.concat([two, integer(2)])])
      assert.ok(!reader.passes(others));
    assert.equal(reader.offset, start);
    assert.ok(reader.passes(integer(1)));
    assert.throws(() => reader.passOver(tag.integer, 'x'), DerError);
    reader.passOver(tag.octetString, 'x');
    reader.end('x');
    assert.deepEqual(reader.since(start), two);
    assert.deepEqual(reader.since(start, start + 3), integer(1));
    assert.ok(!reader.passes(integer(1)));
  });

  test('refuses integers, booleans, bit strings, nulls and OIDs that are not DER', () => {
    for (const text of ['02 00', '02 02 00 7f', '02 02 ff 80'])
      refuses(text, (reader) => reader.integer('x'));
    for (const text of ['02 01 ff', '02 05 01 00 00 00 00', '02 01 80'])
      refuses(text, (reader) => reader.smallInteger('x'));
    for (const text of ['01 01 01', '01 00', '01 02 ff ff'])
      refuses(text, (reader) => reader.boolean('x'));
    for (const text of ['03 00', '03 02 01 80', '03 02 08 00'])
      refuses(text, (reader) => reader.octetBits('x'));
    refuses('05 01 00', (reader) => reader.null('x'));
    for (const text of ['06 00', '06 02 80 01', '06 02 55 9d', '06 03 55 80 1d'])
      refuses(text, (reader) => reader.oidHex('x'));
    for (const text of ['1f 81 01 00', '3f 21 00']) refuses(text, (reader) => reader.any('x'));
  });

  test('tells when bytes follow', () => {
    const reader = new DerReader(hex('30 03 02 01 05 00'));
    const inner = reader.sequence('x');
    assert.equal(inner.smallInteger('x'), 5);
    inner.end('x');
    assert.throws(() => reader.end('x'), DerError);
  });

  test('does not let an inner element reach past its container', () => {
    refuses('30 03 04 05 01 02 03 04 05', (reader) =>
      reader.sequence('x').content(tag.octetString, 'y'),
    );
  });
});

test('a text is written as its characters, whatever its length', () => {
  for (const length of [0, 1, 127, 128, 255, 256, 70_000]) {
    const text = 'é'.repeat(length);
    const content = Buffer.from(text, 'latin1');
    assert.deepEqual(derWriter.latin1(0x86, text), der(0x86, content));
    assert.deepEqual(derWriter.ia5String(text), der(tag.ia5String, content));
  }
});

suite('DER writer', () => {
  test('writes what the reader reads back, for any content', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 8 }), (contents) => {
        const reader = new DerReader(sequence(...contents.map((content) => octetString(content))));
        const list = reader.sequence('x');
        reader.end('x');
        for (const content of contents)
          assert.deepEqual(list.content(tag.octetString, 'y'), Buffer.from(content));
        list.end('x');
      }),
    );
    for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536])
      assert.equal(
        new DerReader(octetString(Buffer.alloc(length))).content(tag.octetString, 'x').length,
        length,
      );
  });

  test('writes integers in their shortest positive form', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 200n }), (value) => {
        const content = new DerReader(integer(value)).integer('x');
        assert.equal(BigInt(`0x${content.toString('hex')}`), value);
      }),
    );
    assert.equal(unsignedInteger(hex('00 00 80')).toString('hex'), '02020080');
    assert.equal(unsignedInteger(hex('00 00')).toString('hex'), '020100');
    assert.equal(
      unsignedInteger(Buffer.alloc(20, 0xff)).toString('hex'),
      `021500${'ff'.repeat(20)}`,
    );
  });

  test('writes OIDs that read back in dotted form', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(0, 1, 2),
        fc.integer({ min: 0, max: 39 }),
        fc.array(fc.integer({ min: 0, max: 2 ** 31 }), { maxLength: 6 }),
        (first, second, rest) => {
          const text = [first, second, ...rest].join('.');
          assert.equal(oidText(new DerReader(oid(text)).oidHex('x')), text);
        },
      ),
    );
    assert.equal(oid('1.2.840.113549.1.1.11').toString('hex'), '06092a864886f70d01010b');
    assert.equal(oidText('883703'), '2.999.3');
  });

  test('writes named bits without trailing zeros and sets in ascending order', () => {
    assert.equal(namedBits([0]).toString('hex'), '03020780');
    assert.equal(namedBits([5, 6]).toString('hex'), '03020106');
    assert.equal(namedBits([8]).toString('hex'), '0303070080');
    assert.equal(namedBits([]).toString('hex'), '030100');
    assert.equal(setOf(der(4, hex('02')), der(4, hex('01'))).toString('hex'), '3106040101040102');
    assert.equal(bitString(hex('80')).toString('hex'), '03020080');
  });
});

suite('certificate times', () => {
  const read = (bytes: Buffer): number => readTime(new DerReader(bytes), 'x');

  test('are UTCTime through 2049 and GeneralizedTime from 2050 on', () => {
    const last = Date.UTC(2049, 11, 31, 23, 59, 59) / 1000;
    assert.equal(encodeTime(last).toString('latin1', 2), '491231235959Z');
    assert.equal(encodeTime(last + 1).toString('latin1', 2), '20500101000000Z');
    assert.equal(encodeTime(last)[0], tag.utcTime);
    assert.equal(encodeTime(last + 1)[0], tag.generalizedTime);
    assert.equal(
      encodeTime(Date.UTC(9999, 11, 31, 23, 59, 59) / 1000).toString('latin1', 2),
      '99991231235959Z',
    );
  });

  test('read back to the second', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: Date.UTC(1950, 0, 1) / 1000, max: Date.UTC(9999, 11, 31) / 1000 }),
        (seconds) => assert.equal(read(encodeTime(seconds)), seconds),
      ),
    );
  });

  test('refuse what is no instant', () => {
    const utc = (text: string): Buffer => der(tag.utcTime, Buffer.from(text));
    for (const text of [
      '260230000000Z',
      '261301000000Z',
      '260001000000Z',
      '260132000000Z',
      '260101240000Z',
      '260101006000Z',
      '260101000060Z',
      '2601010000Z',
      '260101000000+0000',
      '26010100000 Z',
      '250229000000Z',
    ]) {
      assert.throws(() => read(utc(text)), DerError, text);
    }
    assert.throws(() => read(der(tag.generalizedTime, Buffer.from('20500101000000.5Z'))), DerError);
    assert.throws(() => read(der(tag.generalizedTime, Buffer.from('00500101000000Z'))), DerError);
    assert.equal(read(utc('240229000000Z')), Date.UTC(2024, 1, 29) / 1000);
    for (const bad of [Number.NaN, 0.5, Date.UTC(1949, 0, 1) / 1000, Date.UTC(10000, 0, 1) / 1000])
      assert.throws(() => encodeTime(bad), RangeError);
  });
});

suite('splitDer', () => {
  test('splits concatenated elements and refuses a rest', () => {
    const parts = [sequence(integer(1)), sequence(), sequence(octetString(Buffer.alloc(300)))];
    const split = splitDer(Buffer.concat(parts));
    assert.ok(split.ok);
    assert.deepEqual(split.value, parts);
    assert.equal(splitDer(Buffer.concat([...parts, hex('00')])).ok, false);
    assert.equal(splitDer(Buffer.concat([...parts, hex('30 05 00')])).ok, false);
  });
});
