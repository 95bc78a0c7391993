import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import type { Session } from '../../../../sidecar/local-server/session.ts';
import { StreamConsumers } from '../../../../sidecar/local-server/stream-consumers.ts';
import { entryOf, FakeConsumers } from '../../../support/local-server-fakes.ts';

const session = {
  rpc: 'Fetch',
  connection: { pid: 7, uid: 8, peer: undefined },
} as unknown as Session;
const identity = (name: string) => {
  const entry = entryOf(name, `spiffe://td/${name}`, []);
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};
const [one, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];

function setUp() {
  const registry = new FakeConsumers();
  const kind = { consumer: 'proxy', takes: 'roots' } as const;
  return { registry, consumers: new StreamConsumers(registry, session, kind) };
}

test('each identity of a stream is a line, told of what was sent and read, until it is lost', () => {
  const { registry, consumers } = setUp();
  consumers.sent([identity('a'), identity('b')], one, []);
  consumers.read(one);
  consumers.sent([identity('b')], other, []);
  assert.deepEqual(registry.reports, [
    'pending spiffe://td/a 01010101',
    'pending spiffe://td/b 01010101',
    'confirmed spiffe://td/a 01010101',
    'confirmed spiffe://td/b 01010101',
    'pending spiffe://td/b 02020202',
  ]);
  assert.equal(registry.open, 1);
  consumers.remove();
  assert.equal(registry.open, 0);
});

test('a message without authorities changes nothing of what is reported as held', () => {
  const { registry, consumers } = setUp();
  consumers.sent([identity('a')], undefined, []);
  assert.deepEqual([registry.reports, registry.open], [[], 1]);
  consumers.sent([identity('a')], one, []);
  consumers.sent([identity('a')], undefined, []);
  consumers.read(one);
  assert.deepEqual(registry.reports, [
    'pending spiffe://td/a 01010101',
    'confirmed spiffe://td/a 01010101',
  ]);
});

test('of a client that says what it has loaded, reading alone proves nothing', () => {
  const { registry, consumers } = setUp();
  consumers.expectLoading();
  consumers.sent([identity('a')], one, []);
  consumers.read(one);
  assert.equal(registry.reports.length, 1);
  consumers.refused('broken');
  assert.match(registry.reports[1] as string, /^refused /);
  consumers.loaded(other);
  assert.equal(registry.reports.length, 2, 'it has something else in force');
  consumers.loaded(one);
  assert.match(registry.reports[2] as string, /^confirmed /);
});
