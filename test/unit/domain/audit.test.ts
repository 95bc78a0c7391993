import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, type AuditEvent } from '../../../src/domain/index.ts';

const bytesOf = (detail: AuditEvent['detail']): string =>
  canonicalBytes({
    timeMs: 7,
    actor: 'server',
    kind: 'noun.verb',
    subject: 's',
    detail,
  }).toString();
const expected = (detail: string): string =>
  `meshca-audit-v1\n{"actor":"server","detail":${detail},"kind":"noun.verb","subject":"s","timeMs":7}`;

test('the keys of a detail are sorted, whatever the record before had', () => {
  const cases: readonly (readonly [AuditEvent['detail'], string])[] = [
    [{ serial: 'ab', agent: 'a', entry: 'e' }, '{"agent":"a","entry":"e","serial":"ab"}'],
    [{ serial: 'cd', agent: 'b', entry: 'f' }, '{"agent":"b","entry":"f","serial":"cd"}'],
    [{ agent: 'b', entry: 'f', serial: 'cd' }, '{"agent":"b","entry":"f","serial":"cd"}'],
    [{ serial: 'ef', agent: 'c' }, '{"agent":"c","serial":"ef"}'],
    [{ serial: 'ef', entry: 'c' }, '{"entry":"c","serial":"ef"}'],
    [{}, '{}'],
    [{ serial: 'ab', agent: 'a', Entry: 'e' }, '{"Entry":"e","agent":"a","serial":"ab"}'],
  ];
  for (const [detail, sorted] of cases) assert.equal(bytesOf(detail), expected(sorted));
});
