import assert from 'node:assert/strict';
import test from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { deepFrozen } from '../../../src/common/runtime/index.ts';
import {
  deletedObject,
  loggedObject,
  logObjectDigest,
  type Agent,
  type Authority,
  type JoinToken,
  type LogObjectKind,
  type ObjectMismatch,
  type Proven,
  type RegistrationEntry,
} from '../../../src/domain/index.ts';
import { Objects } from '../../../src/ledger/objects.ts';
import { authority, draft, joinToken } from '../../compliance/store/fixtures.ts';

const entry: RegistrationEntry = {
  ...draft({ id: 'web' }),
  revision: 3,
  createdAt: 1,
  updatedAt: 2,
  createdBy: 'uid:0',
  createdOrder: 5,
  federatesWith: [],
  ips: [],
};

const agent: Agent = {
  spiffeId: 'spiffe://example.org/meshca/agent/node-1',
  attestationType: 'join_token',
  selectors: [{ type: 'node', value: 'a' }],
  state: 'active',
  stateReason: '',
  generation: 1,
  serial: '0a',
  spkiDer: Buffer.from('key'),
  attestedAt: 1,
  renewedAt: 1,
  svidNotAfter: 9,
  lastSeenAt: 1,
  version: '1',
  survivedOutageSeconds: 0,
};

function objectsWith(...said: ReturnType<typeof loggedObject>[]): {
  readonly objects: Objects;
  readonly seen: ObjectMismatch[];
} {
  const objects = new Objects();
  for (const [at, object] of said.entries())
    objects.apply({ ...object, act: 'noun.verb', subject: 's', detail: {} }, at + 1);
  const seen: ObjectMismatch[] = [];
  objects.onMismatch((mismatch) => void seen.push(mismatch));
  return { objects, seen };
}

const notInLog = (error: unknown): boolean =>
  error instanceof PkiError && error.code === 'OBJECT_NOT_IN_LOG';

test('a value is proven when every digested field is as the newest record has it', () => {
  const { objects, seen } = objectsWith(loggedObject('entry', entry));
  assert.deepEqual(objects.require('entry', entry), entry);
  assert.deepEqual(objects.prove('entry', structuredClone(entry)), entry);
  assert.deepEqual(seen, []);
});

test('a change of any field but a display field is noticed, and announced', () => {
  const root = authority();
  const { objects, seen } = objectsWith(
    loggedObject('entry', entry),
    loggedObject('agent', agent),
    loggedObject('authority', root),
  );
  const changed = (value: unknown): unknown =>
    typeof value === 'number'
      ? value + 1
      : typeof value === 'boolean'
        ? !value
        : Buffer.isBuffer(value)
          ? Buffer.concat([value, Buffer.from([0])])
          : typeof value === 'string'
            ? `${value}x`
            : value === null
              ? 1
              : Array.isArray(value)
                ? [...value, { type: 'x', value: 'y' }]
                : { ...(value as object), x: ['y'] };
  const display = ['stateReason', 'lastSeenAt', 'version', 'survivedOutageSeconds'];
  for (const [kind, value] of [
    ['entry', entry],
    ['agent', agent],
    ['authority', root],
  ] as const)
    for (const field of Object.keys(value)) {
      const copy = { ...value, [field]: changed((value as never)[field]) };
      const proven = objects.prove(kind, copy as never) !== undefined;
      assert.equal(proven, kind === 'agent' && display.includes(field), `${kind}.${field}`);
    }
  assert.ok(seen.length > 40 && seen.every(({ found }) => found !== 'deleted'));
});

test('a proven value and all in it is frozen, so that nobody changes it behind its proof', () => {
  const { objects } = objectsWith(loggedObject('entry', entry));
  const proven = objects.require('entry', structuredClone(entry));
  assert.throws(() => Object.assign(proven, { admin: true }), TypeError);
  assert.throws(() => Object.assign(proven.selectors[0] ?? {}, { value: 'uid:0' }), TypeError);
  assert.throws(() => (proven.dnsNames as string[]).push('ca.example.org'), TypeError);
});

test('a proven value needs no second digest until the log says something newer', () => {
  const { objects } = objectsWith(loggedObject('entry', entry));
  const value = structuredClone(entry);
  let reads = 0;
  const counted = Object.defineProperty(value, 'hint', {
    enumerable: true,
    configurable: true,
    get: () => ((reads += 1), entry.hint),
  });
  objects.require('entry', counted);
  const first = reads;
  assert.ok(first > 0);
  assert.equal(objects.require('entry', counted), counted);
  assert.equal(reads, first);
  objects.apply(
    { ...deletedObject('entry', entry.id), act: 'entry.deleted', subject: 's', detail: {} },
    9,
  );
  assert.throws(() => objects.require('entry', counted), notInLog);
});

test('a value that somebody else froze is compared each time, as its parts may change', () => {
  const { objects } = objectsWith(loggedObject('entry', entry));
  const dnsNames: string[] = [...entry.dnsNames];
  const value = Object.freeze({ ...structuredClone(entry), dnsNames });
  objects.require('entry', value);
  dnsNames.push('ca.example.org');
  assert.throws(() => objects.require('entry', value), notInLog);
});

test('a changed copy of a proven value neither compiles as one nor passes', () => {
  const root = authority();
  const { objects } = objectsWith(loggedObject('authority', root));
  const asRead: Authority = objects.require('authority', root);
  const changed: Authority = { ...asRead, state: 'active' };
  // @ts-expect-error a copy is not proven
  const copy: Proven<Authority> = changed;
  // @ts-expect-error what was only read is not proven
  const read: Proven<Authority> = root;
  assert.notEqual(copy, read);
  assert.throws(() => objects.require('authority', changed), notInLog);
});

test('what was deleted, or never recorded, is not proven', () => {
  const { objects, seen } = objectsWith(
    loggedObject('entry', entry),
    deletedObject('entry', entry.id),
  );
  assert.throws(() => objects.require('entry', entry), notInLog);
  assert.throws(() => objects.require('agent', agent), notInLog);
  assert.deepEqual(
    seen.map(({ kind, found }) => `${kind} ${found}`),
    ['entry deleted', 'agent absent'],
  );
  assert.equal(objects.expectedCount('entry'), 0);
});

test('the newest record counts, in whatever order records are told', () => {
  const objects = new Objects();
  objects.apply(
    {
      ...loggedObject('entry', { ...entry, revision: 4 }),
      act: 'noun.verb',
      subject: 's',
      detail: {},
    },
    8,
  );
  objects.apply({ ...loggedObject('entry', entry), act: 'noun.verb', subject: 's', detail: {} }, 5);
  assert.equal(objects.prove('entry', entry), undefined);
  assert.ok(objects.prove('entry', { ...entry, revision: 4 }));
});

test('a row that is gone is noticed as well as one that was changed', () => {
  const { objects, seen } = objectsWith(loggedObject('entry', entry));
  assert.throws(() => objects.requireRow('entry', entry.id, undefined), notInLog);
  assert.ok(objects.sameRow('entry', 'unknown', undefined));
  assert.equal(seen.length, 1);
});

test('a frozen row that was found equal is not compared again until the log says something newer', () => {
  const { objects } = objectsWith(loggedObject('entry', entry));
  let reads = 0;
  const counted = Object.defineProperty(structuredClone(entry), 'hint', {
    enumerable: true,
    get: () => ((reads += 1), entry.hint),
  });
  const row = deepFrozen(counted);
  const same = () => objects.sameRow('entry', entry.id, row);
  reads = 0;
  assert.ok(same());
  const first = reads;
  assert.ok(first > 0 && same());
  assert.equal(reads, first);
  const changed = loggedObject('entry', { ...entry, revision: entry.revision + 1 });
  objects.apply({ ...changed, act: 'entry.updated', subject: 's', detail: {} }, 9);
  assert.equal(same(), false);
});

test('a copy of the memory gives the same answers', () => {
  const { objects } = objectsWith(loggedObject('entry', entry), loggedObject('agent', agent));
  const other = new Objects();
  other.restore(objects.copy());
  assert.ok(other.prove('entry', entry));
  assert.equal(other.expectedCount('agent'), 1);
  assert.equal(other.prove('entry', { ...entry, admin: true }), undefined);
});

test('a record of an older release vouches for the fields that it knows, and for no others', () => {
  const older = (kind: LogObjectKind, parts: readonly unknown[]) => ({
    kind,
    id: String(parts[0]),
    sha256: logObjectDigest(JSON.stringify(parts)),
  });
  const { objects, seen } = objectsWith(
    older('join-token', ['t', 'ab', agent.spiffeId, '[]', 9, 'uid:0', 1]),
  );
  const token: JoinToken = {
    id: 't',
    tokenSha256: 'ab',
    agentId: agent.spiffeId,
    nodeSelectors: [],
    expiresAt: 9,
    boundPublicKeySha256: null,
    usedAt: null,
    resultSerial: null,
    createdBy: 'uid:0',
    createdAt: 1,
  };
  // nothing says whether it was used: it lets nobody join
  assert.equal(objects.require('join-token', token).expiresAt, 0);
  assert.deepEqual(seen, []);
  // whatever the row says of the rest
  assert.equal(objects.require('join-token', { ...token, resultSerial: '0c' }).expiresAt, 0);
  assert.throws(() => objects.require('join-token', { ...token, tokenSha256: 'cd' }), notInLog);
  assert.equal(seen.length, 1);
  // the next record is of the present form, and then no row passes as an older one
  const used = { ...token, boundPublicKeySha256: 'ef', usedAt: 5, resultSerial: '0a' };
  objects.apply(
    { ...loggedObject('join-token', used), act: 'noun.verb', subject: 's', detail: {} },
    9,
  );
  assert.throws(() => objects.require('join-token', token), notInLog);
  assert.deepEqual(objects.require('join-token', used), used);
});

test('objects without a row are announced, and those of other kinds are left alone', () => {
  const objects = new Objects();
  const announced: string[] = [];
  objects.onMismatch(({ kind, id, found }) => announced.push(`${kind} ${id} ${found}`));
  const [kept, lost, deleted] = [joinToken(), joinToken(), joinToken()];
  for (const [at, token] of [kept, lost, deleted].entries())
    objects.apply(
      { ...loggedObject('join-token', token), act: 'noun.verb', subject: '', detail: {} },
      at + 1,
    );
  objects.apply(
    { ...deletedObject('join-token', deleted.id), act: 'noun.verb', subject: '', detail: {} },
    4,
  );
  objects.announceMissing('join-token', [kept, lost]);
  objects.announceMissing('role', []);
  assert.deepEqual(announced, []);
  objects.announceMissing('join-token', [kept, joinToken()]);
  assert.deepEqual(announced, [`join-token ${lost.id} differs`]);
  assert.equal(objects.newest('join-token'), 4);
  assert.equal(objects.newest('role'), 0);
});
