import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AuthorityFilter } from '../../../../sidecar/local-server/authority-filter.ts';
import { RefusedFrames } from '../../../../sidecar/local-server/refused-frames.ts';
import {
  authorityForms,
  field,
  frame,
  frameTypes,
  preface,
  text,
} from '../../../support/raw-http2.ts';

const { headers, continuation, data, rstStream, goAway } = frameTypes;
const endHeaders = 4;
const path = '/run/api k.sock';
const mended = '.run.api.k.sock';
const rest = Buffer.concat([Buffer.from([0x83, 0x86, 0x04]), text('/a/b c'), field('x', '/ /')]);

/** A header block in frames, in every way that the protocol allows. */
const framings: Readonly<Record<string, (block: Buffer) => Buffer>> = {
  'one frame': (block) => frame(headers, endHeaders, 1, block),
  'padding and priority': (block) =>
    frame(
      headers,
      endHeaders | 0x08 | 0x20,
      1,
      Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 16]), block, Buffer.alloc(3)]),
    ),
  'a frame for each byte': (block) =>
    Buffer.concat(
      [...block].map((byte, index) =>
        frame(
          index === 0 ? headers : continuation,
          index === block.length - 1 ? endHeaders : 0,
          1,
          Buffer.from([byte]),
        ),
      ),
    ),
};

const through = (bytes: Buffer, pieceBytes: number): Buffer => {
  const filter = new AuthorityFilter();
  const passed: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes)
    passed.push(filter.push(Buffer.from(bytes.subarray(at, at + pieceBytes))));
  return Buffer.concat(passed);
};

describe('the filter of :authority', () => {
  const good = authorityForms(mended);
  for (const [form, bad] of Object.entries(authorityForms(path)))
    test(`puts dots for slashes and blanks: ${form}`, () => {
      for (const [framing, inFrames] of Object.entries(framings)) {
        const sent = (authority: Buffer): Buffer =>
          Buffer.concat([
            preface,
            frame(frameTypes.settings, 0, 0, Buffer.alloc(0)),
            inFrames(Buffer.concat([rest, authority, rest])),
            frame(data, 0, 1, bad),
          ]);
        for (const pieceBytes of [1, 7, 1 << 20])
          assert.deepEqual(
            through(sent(bad), pieceBytes),
            sent(good[form] as Buffer),
            `${framing}, ${pieceBytes} bytes at a time`,
          );
      }
    });

  test('leaves an authority alone that is a host', () => {
    for (const block of Object.values(authorityForms('localhost'))) {
      const bytes = Buffer.concat([preface, frame(headers, endHeaders, 1, block)]);
      assert.deepEqual(through(bytes, 3), bytes);
    }
  });

  test('passes on at once what holds no header block, and keeps no more than it must', () => {
    const filter = new AuthorityFilter();
    assert.equal(filter.push(Buffer.from(preface)).length, preface.length);
    const settings = frame(frameTypes.settings, 0, 0, Buffer.alloc(6));
    assert.equal(filter.push(settings).length, settings.length);
    const endless = frame(headers, 0, 1, Buffer.alloc(12_000));
    assert.equal(filter.push(endless).length, 0);
    const more = frame(continuation, 0, 1, Buffer.alloc(12_000));
    assert.equal(filter.push(more).length, endless.length + more.length);
    assert.equal(filter.push(Buffer.alloc(5)).length, 5);
  });

  test('passes broken blocks on unchanged', () => {
    for (const block of [
      [0x41],
      [0x41, 0x7f],
      [0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0x40, 5],
    ]) {
      const bytes = Buffer.concat([preface, frame(headers, endHeaders, 1, Buffer.from(block))]);
      assert.deepEqual(through(bytes, 1), bytes);
    }
    const overlong = Buffer.concat([
      preface,
      frame(headers, endHeaders | 8, 1, Buffer.from([255, 0x41])),
    ]);
    assert.deepEqual(through(overlong, 1), overlong);
  });
});

test('what the HTTP/2 layer refuses is seen among other frames, however they are cut', () => {
  const code = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const bytes = Buffer.concat([
    frame(frameTypes.settings, 0, 0, Buffer.alloc(12, 3)),
    frame(data, 0, 1, Buffer.from([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1])),
    frame(rstStream, 0, 3, code(1)),
    frame(rstStream, 0, 5, code(8)),
    frame(goAway, 0, 0, Buffer.concat([code(0), code(0)])),
    frame(goAway, 0, 0, Buffer.concat([code(7), code(9), Buffer.from('compression')])),
    frame(rstStream, 0, 7, code(11)),
  ]);
  for (const pieceBytes of [1, 2, 5, 1 << 20]) {
    const seen: string[] = [];
    const watcher = new RefusedFrames((what, name) => void seen.push(`${what} ${name}`));
    for (let at = 0; at < bytes.length; at += pieceBytes)
      watcher.watch(bytes.subarray(at, at + pieceBytes));
    assert.deepEqual(seen, [
      'stream PROTOCOL_ERROR',
      'connection COMPRESSION_ERROR',
      'stream ENHANCE_YOUR_CALM',
    ]);
  }
});
