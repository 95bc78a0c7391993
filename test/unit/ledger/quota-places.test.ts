import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, placesDetail, type AuditEvent } from '../../../src/domain/index.ts';
import { apply, emptyMemory, lessonFrom, lessonOf } from '../../../src/ledger/memory.ts';
import { LogBook } from '../../../src/ledger/log.ts';
import { QuotaPlaces } from '../../../src/ledger/quota-places.ts';
import { contentOf, placeParts } from '../../../src/ledger/snapshot-parts.ts';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { FakeClock } from '../../support/agent.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const record = (counter: string, until: number, kind = 'certificate.issued'): AuditEvent => ({
  timeMs: 1_000,
  actor: 'a',
  kind,
  subject: 's',
  detail: { policyQuota: counter, policyQuotaUntil: until },
});

test('records of what was issued take places, and those of what was withheld or refused none', () => {
  for (const read of [lessonOf, (event: AuditEvent) => lessonFrom(canonicalBytes(event), 0)]) {
    const memory = emptyMemory(new FakeClock());
    const records = [
      record('r', 100),
      record('r', 200, 'jwt.issued'),
      record('r caller a', 300, 'authority.downstream'),
      record('r', 400, 'certificate.withheld'),
      record('r', 500, 'certificate.refused'),
      { ...record('r', 600), detail: { reason: '"policyQuota":"r","policyQuotaUntil":700' } },
    ];
    for (const [at, event] of records.entries()) apply(memory, read(event), at + 1);
    assert.deepEqual(memory.quotas.ends('r'), [100, 200]);
    assert.deepEqual(memory.quotas.ends('r caller a'), [300]);
    assert.deepEqual(memory.quotas.ends('other'), []);
  }
});

test('a record takes one place of each quota that it states', () => {
  const places = placesDetail(
    [
      { counter: 'r', rule: 'r', limit: 9, perSeconds: 10 },
      { counter: 'tenant:shop', of: 'tenant', rule: 'shop', limit: 9, perSeconds: 20 },
      { counter: 'eab-key:1', of: 'eab-key', rule: '1', limit: 9, perSeconds: 30 },
    ],
    100,
  );
  for (const read of [lessonOf, (event: AuditEvent) => lessonFrom(canonicalBytes(event), 115)]) {
    const memory = emptyMemory(new FakeClock());
    const altered = {
      ...places,
      quotaPlaces: [...(places['quotaPlaces'] as string[]), 'x', 'y z'],
    };
    apply(memory, read({ ...record('r', 0), detail: altered }), 1);
    assert.deepEqual(memory.quotas.ends('tenant:shop'), [120]);
    assert.deepEqual(memory.quotas.ends('eab-key:1'), [130]);
    assert.deepEqual(memory.quotas.ends('r'), read === lessonOf ? [110] : []);
  }
});

test('a record that is read again takes no second place', () => {
  const memory = emptyMemory(new FakeClock());
  for (const sequence of [7, 7, 8]) apply(memory, lessonOf(record('r', 100)), sequence);
  assert.deepEqual(memory.quotas.ends('r'), [100, 100]);
});

test('places come back from a snapshot, and those behind it are added', () => {
  const memory = emptyMemory(new FakeClock());
  for (let sequence = 1; sequence <= 2_500; sequence += 1)
    apply(memory, lessonOf(record(`r caller ${sequence % 3}`, 100 + sequence)), sequence);
  const { places } = contentOf(placeParts(memory.quotas.copy()));
  const again = emptyMemory(new FakeClock());
  again.quotas.restore(places);
  apply(again, lessonOf(record('r caller 1', 5_000)), 2_500);
  apply(again, lessonOf(record('r caller 1', 6_000)), 2_501);
  for (const key of ['r caller 0', 'r caller 2'])
    assert.deepEqual(again.quotas.ends(key), memory.quotas.ends(key));
  assert.equal(again.quotas.ends('r caller 1').length, memory.quotas.ends('r caller 1').length + 1);
  assert.deepEqual([...placeParts([])], []);
});

test('places that ended long ago are forgotten', () => {
  let keptFrom = 0;
  const places = new QuotaPlaces(() => keptFrom);
  places.apply({ counter: 'r', until: 100 }, 1);
  places.apply({ counter: 'r', until: 300 }, 2);
  places.apply({ counter: 'old', until: 100 }, 3);
  keptFrom = 200;
  places.apply({ counter: 'r', until: 150 }, 4);
  assert.deepEqual(places.copy(), [{ counter: 'r', sequence: 2, until: 300 }]);
  assert.deepEqual(places.ends('old'), []);
});

test('a start knows the places by a snapshot and the records behind it, as by the whole log', async () => {
  const clock = new FakeClock();
  const log = new MemoryLog();
  const logger = silentLogger;
  const until = clock.now() + 600;
  const started = async () => {
    const memory = emptyMemory(clock);
    const book = new LogBook({ memory, clock, logger, complete: true });
    await book.begin(log.store());
    return { memory, view: book.view() };
  };
  log.addStatement(record('r', until));
  log.addStatement(record('r', until + 1));
  log.grow();
  log.keep((await started()).view.copyLedger());
  log.addStatement(record('r', until + 2));
  log.grow();
  const { memory, view } = await started();
  assert.equal(view.basis()?.size, 2);
  assert.deepEqual(memory.quotas.ends('r'), [until, until + 1, until + 2]);
  await view.withoutBasis('its signature is not good');
  assert.equal(view.basis(), undefined);
  assert.deepEqual(memory.quotas.ends('r'), [until, until + 1, until + 2]);
});
