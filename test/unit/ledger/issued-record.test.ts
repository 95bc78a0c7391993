import assert from 'node:assert/strict';
import test from 'node:test';
import { canonicalBytes } from '../../../src/domain/audit.ts';
import { issuedFrom, issuedIn } from '../../../src/ledger/issued-record.ts';
import { event } from '../../compliance/store/fixtures.ts';

const end = 1_800_000_600;
const detail = {
  authority: 'a1',
  certificateKind: 'workload',
  holder: 'spiffe://example.org/meshca/agent/n1',
  serial: '5a01',
};

test('that a process of a control plane watches, or has left, is read from its record', () => {
  const watching = { holder: 'spiffe://x/c', instance: 'pod-0', notAfter: end };
  for (const [kind, of] of [
    ['control-plane.watched', 'watch'],
    ['control-plane.left', 'left'],
  ] as const) {
    const record = event(kind, 'x', watching);
    assert.deepEqual(issuedIn(record), { of, ...watching });
    assert.deepEqual(issuedFrom(canonicalBytes(record), end), { of, ...watching });
    assert.equal(issuedFrom(canonicalBytes(record), end + 1), undefined);
    assert.equal(issuedIn(event(kind, 'x', { notAfter: end, instance: 'pod-0' })), undefined);
    assert.equal(issuedIn(event(kind, 'x', { notAfter: end, holder: 'x' })), undefined);
  }
});

test('leaves, downstream CAs and JWT-SVIDs are read from their records, and nothing else', () => {
  const records = [
    event('certificate.issued', 'x', { ...detail, notAfter: end }),
    event('authority.downstream', 'x', { ...detail, notAfter: end }),
    event('jwt.issued', 'x', { authority: 'a1', expiresAt: end }),
    event('certificate.withheld', 'x', { ...detail, notAfter: end }),
    event('jwt.withheld', 'x', { authority: 'a1', expiresAt: end }),
    event('agent.banned', 'x', { reason: `"kind":"certificate.issued","notAfter":${end}` }),
    event('jwt.issued', 'x', { authority: 'a1' }),
    event('constructor', 'x', {}),
  ];
  const read = records.map((record) => issuedIn(record));
  assert.deepEqual(
    read.map((issued) => issued?.of),
    ['leaf', 'downstream', 'jwt', ...Array.from({ length: 5 }, () => undefined)],
  );
  assert.ok(
    read
      .slice(0, 3)
      .every((issued) => issued && 'authorityId' in issued && issued.authorityId === 'a1'),
  );
  assert.ok(read.slice(0, 3).every((issued) => issued?.notAfter === end));
  for (const [at, record] of records.entries()) {
    assert.deepEqual(issuedFrom(canonicalBytes(record), end), read[at], record.kind);
    assert.equal(issuedFrom(canonicalBytes(record), end + 1), undefined);
  }
});
