import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import {
  sameSubject,
  spiffeSubject,
  subjectText,
  type Subject,
} from '../../../src/domain/index.ts';

const web = SpiffeId.of('spiffe://mesh.test/web');
const names = (dnsNames: readonly string[], ips: readonly string[] = []): Subject => ({
  kind: 'names',
  dnsNames,
  ips,
});

test('a subject stands in records under one text, and that of an endpoint is no SPIFFE ID', () => {
  assert.equal(subjectText(spiffeSubject(web, ['web.test'])), 'spiffe://mesh.test/web');
  assert.equal(subjectText(names(['www.test', 'a.test'])), 'dns:www.test');
  assert.equal(subjectText(names([], ['192.0.2.1'])), 'ip:192.0.2.1');
});

test('two subjects are the same if every name is, in order', () => {
  assert.ok(sameSubject(spiffeSubject(web, ['a.test']), spiffeSubject(web, ['a.test'])));
  assert.ok(sameSubject(names(['a.test'], ['::1']), names(['a.test'], ['::1'])));
  for (const [one, other] of [
    [spiffeSubject(web), spiffeSubject(web, ['a.test'])],
    [spiffeSubject(web), spiffeSubject(SpiffeId.of('spiffe://mesh.test/api'))],
    [names(['a.test']), names(['a.test'], ['::1'])],
    [names(['a.test', 'b.test']), names(['b.test', 'a.test'])],
    [names(['a.test']), spiffeSubject(web, ['a.test'])],
  ] as const)
    assert.ok(!sameSubject(one, other));
});
