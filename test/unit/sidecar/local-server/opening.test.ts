import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuthorityFilter } from '../../../../sidecar/local-server/authority-filter.ts';
import { Opening } from '../../../../sidecar/local-server/opening.ts';
import { authorityForms, frame, frameTypes, preface, text } from '../../../support/raw-http2.ts';

const { headers, data, settings, continuation } = frameTypes;
const ping = 6;
const windowUpdate = 8;
const endHeaders = 4;
const ack = frame(settings, 1, 0, Buffer.alloc(0));
const start = Buffer.concat([preface, frame(settings, 0, 0, Buffer.alloc(6))]);
const window = frame(windowUpdate, 0, 0, Buffer.from([0, 1, 0, 0]));
const head = Buffer.concat([Buffer.from([0x83, 0x86, 0x04]), text('/a/b')]);
const request = (authority: Buffer): Buffer =>
  Buffer.concat([
    frame(headers, endHeaders, 1, Buffer.concat([head, authority])),
    frame(data, 1, 1, Buffer.alloc(5)),
  ]);
const localhost = request(Buffer.concat([Buffer.from([0x41]), text('localhost')]));

const kindsOf = (opening: Opening, ...chunks: readonly Buffer[]): readonly string[] =>
  chunks.map((chunk) => opening.push(Buffer.from(chunk)).kind);

test('a client that waits for SETTINGS is greeted once, and its answer to that is left out', () => {
  const opening = new Opening();
  assert.deepEqual(kindsOf(opening, start, window, ack), ['greet', 'wait', 'wait']);
  assert.deepEqual(opening.push(localhost), {
    kind: 'direct',
    bytes: Buffer.concat([start, window, localhost]),
  });
});

test('a client that sends its request at once is not greeted, however its bytes are cut', () => {
  const all = Buffer.concat([start, window, localhost]);
  assert.deepEqual(new Opening().push(all), { kind: 'direct', bytes: all });
  const opening = new Opening();
  const cut = start.length + window.length + 20;
  assert.deepEqual(kindsOf(opening, all.subarray(0, cut), all.subarray(cut)), ['wait', 'direct']);
});

test('a path as authority makes the filter read all bytes, in every form', () => {
  for (const [form, authority] of Object.entries(authorityForms('/run/a.sock')))
    assert.equal(
      new Opening().push(Buffer.concat([start, request(authority)])).kind,
      'filtered',
      form,
    );
  for (const [form, authority] of Object.entries(authorityForms('localhost')))
    assert.equal(
      new Opening().push(Buffer.concat([start, request(authority)])).kind,
      'direct',
      form,
    );
});

test('what node:http2 refuses as authority is left to the filter, which tells of it', () => {
  for (const name of ['a"b<c', 'a@b', 'a b']) {
    const bad = request(Buffer.concat([Buffer.from([0x41]), text(name)]));
    assert.equal(new Opening().push(Buffer.concat([start, bad])).kind, 'filtered', name);
  }
});

test('a request in many frames is read whole before it is judged', () => {
  const authority = Buffer.concat([Buffer.from([0x41]), text('/run/a.sock')]);
  const opening = new Opening();
  const kinds = kindsOf(
    opening,
    Buffer.concat([start, frame(headers, 0, 1, head)]),
    frame(continuation, 0, 1, authority.subarray(0, 4)),
    frame(continuation, endHeaders, 1, authority.subarray(4)),
  );
  assert.deepEqual(kinds, ['wait', 'wait', 'filtered']);
});

test('who sends a request before the answer to the greeting is filtered, and the answer is dropped', () => {
  const opening = new Opening();
  assert.deepEqual(kindsOf(opening, start, localhost), ['greet', 'filtered']);
  assert.equal(opening.greeted, true);
  const rest = Buffer.concat([window, ack, ack, window]);
  for (const pieceBytes of [1, 3, rest.length]) {
    const filter = new AuthorityFilter(opening.greeted);
    const passed = [filter.push(Buffer.from(opening.bytes))];
    for (let at = 0; at < rest.length; at += pieceBytes)
      passed.push(filter.push(Buffer.from(rest.subarray(at, at + pieceBytes))));
    assert.deepEqual(Buffer.concat(passed), Buffer.concat([start, localhost, window, ack, window]));
  }
});

test('what is no start of HTTP/2, and what takes too long to become a request, is filtered', () => {
  const cases: readonly (readonly Buffer[])[] = [
    [Buffer.from('GET / HTTP/1.1\r\n')],
    [start, frame(ping, 0, 0, Buffer.alloc(8))],
    [Buffer.concat([start, ack])],
    [start, ack, ack],
    [Buffer.concat([start, ...Array.from({ length: 1500 }, () => window)])],
    [Buffer.concat([start, frame(headers, 0, 1, Buffer.alloc(17_000))])],
    [Buffer.concat([start, frame(settings, 0, 0, Buffer.alloc(16_384)).subarray(0, 16_380)])],
  ];
  for (const [index, chunks] of cases.entries())
    assert.equal(kindsOf(new Opening(), ...chunks).at(-1), 'filtered', String(index));
});
