import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  heard,
  newConversation,
  responded,
  subscriptionOf,
  type Conversation,
  type DeltaRequest,
  type FullRequest,
  type SecretsRequest,
  type Verdict,
} from '../../../../../sidecar/apis/sds/protocol.ts';

const full = (names: readonly string[], more: Partial<FullRequest> = {}): FullRequest => ({
  kind: 'full',
  names,
  nonce: '',
  refused: undefined,
  ...more,
});
const delta = (more: Partial<DeltaRequest>): DeltaRequest => ({
  kind: 'delta',
  subscribe: [],
  unsubscribe: [],
  versions: new Map(),
  nonce: '',
  refused: undefined,
  ...more,
});

/** One stream, step by step. */
function stream() {
  let conversation: Conversation = newConversation;
  return {
    hear(request: SecretsRequest): Verdict {
      const next = unwrap(heard(conversation, request));
      conversation = next.conversation;
      return next.verdict;
    },
    send(nonce: string, name: string): void {
      conversation = responded(conversation, nonce, name);
    },
    names: () => [...conversation.subscriptions.keys()],
    epoch: (name: string) => subscriptionOf(conversation, name)?.epoch,
    claimed: (name: string) => subscriptionOf(conversation, name)?.claimed,
  };
}

describe('StreamSecrets', () => {
  test('an answer with the nonce of the last response acknowledges it, once', () => {
    const { hear, send } = stream();
    hear(full(['a']));
    send('1', 'a');
    assert.equal(hear(full(['a'], { nonce: '0' })).kind, 'none');
    assert.deepEqual(hear(full(['a'], { nonce: '1' })), {
      kind: 'acknowledged',
      nonce: '1',
      proof: true,
    });
    assert.equal(hear(full(['a'], { nonce: '1' })).kind, 'none');
  });

  test('a refusal has a reason, and may change the names', () => {
    const { hear, send, names } = stream();
    hear(full(['a']));
    send('1', 'a');
    assert.deepEqual(hear(full(['b'], { nonce: '1', refused: 'broken' })), {
      kind: 'refused',
      nonce: '1',
      reason: 'broken',
    });
    assert.deepEqual(names(), ['b']);
  });

  test('a request that a response has overtaken adds no name, and gives up those that it leaves out', () => {
    const { hear, send, names, epoch } = stream();
    hear(full(['a']));
    send('1', 'a');
    hear(full(['a', 'b']));
    assert.deepEqual(names(), ['a']);
    assert.equal(hear(full(['a', 'b'], { nonce: '1' })).kind, 'acknowledged');
    assert.deepEqual(names(), ['a', 'b']);
    send('2', 'b');
    const before = epoch('a');
    assert.equal(hear(full(['b', 'c'], { nonce: '1', refused: 'of the first' })).kind, 'none');
    assert.deepEqual(names(), ['b']);
    hear(full(['a', 'b'], { nonce: '2' }));
    assert.deepEqual(names(), ['a', 'b']);
    assert.notEqual(epoch('a'), before, 'the client holds nothing of it any more');
  });

  test('an acknowledgement proves nothing of a name that the client no longer wants', () => {
    const { hear, send } = stream();
    hear(full(['a']));
    send('1', 'a');
    assert.deepEqual(hear(full(['b'], { nonce: '1' })), {
      kind: 'acknowledged',
      nonce: '1',
      proof: false,
    });
  });

  test('a first request without names wants everything, and later ones too until one names something', () => {
    const { hear, send, epoch } = stream();
    hear(full([]));
    const everything = epoch('a');
    assert.notEqual(everything, undefined);
    send('1', 'a');
    assert.deepEqual(
      hear(full([], { nonce: '1' })),
      { kind: 'acknowledged', nonce: '1', proof: false },
      'the client never named it',
    );
    assert.equal(epoch('a'), everything);
    hear(full(['b'], { nonce: '1' }));
    assert.equal(epoch('a'), undefined);
    hear(full([], { nonce: '1' }));
    assert.equal(epoch('b'), undefined, 'after names, no names means none');
  });

  test('a name that was left out and comes back is answered anew', () => {
    const { hear, send, epoch } = stream();
    hear(full(['a', 'b']));
    const before = epoch('b');
    send('1', 'b');
    hear(full(['a'], { nonce: '1' }));
    assert.equal(epoch('b'), undefined);
    hear(full(['a', 'b', 'b'], { nonce: '1' }));
    assert.notEqual(epoch('b'), before);
  });
});

describe('DeltaSecrets', () => {
  test('what the client holds from an earlier stream counts in its first request alone', () => {
    const { hear, claimed } = stream();
    const versions = new Map([
      ['a', 'v1'],
      ['b', 'v2'],
    ]);
    hear(delta({ subscribe: ['a'], versions }));
    assert.equal(claimed('a'), 'v1');
    assert.equal(claimed('b'), undefined);
    hear(delta({ subscribe: ['b'], versions }));
    assert.equal(claimed('b'), undefined);
  });

  test('a version that no agent has given is not kept', () => {
    const { hear, claimed } = stream();
    const versions = new Map([
      ['a', 'x'.repeat(64)],
      ['b', 'x'.repeat(65)],
    ]);
    hear(delta({ subscribe: ['a', 'b'], versions }));
    assert.equal(claimed('a'), 'x'.repeat(64));
    assert.equal(claimed('b'), undefined);
  });

  test('what the client holds from an earlier stream counts until it is sent something else', () => {
    const { hear, send, claimed, epoch } = stream();
    const versions = new Map(['a', 'b'].map((name) => [name, 'v1']));
    hear(delta({ subscribe: ['a', 'b'], versions }));
    const before = epoch('a');
    send('1', 'a');
    assert.equal(claimed('a'), undefined);
    assert.equal(claimed('b'), 'v1');
    assert.equal(epoch('a'), before);
    assert.deepEqual(hear(delta({ nonce: '1' })), {
      ...{ kind: 'acknowledged', nonce: '1', proof: true },
    });
  });

  test('names of an overtaken request count, since they are sent once; its answer does not', () => {
    const { hear, send, names } = stream();
    hear(delta({ subscribe: ['a'] }));
    send('1', 'a');
    assert.equal(hear(delta({ subscribe: ['b'], nonce: '0' })).kind, 'none');
    assert.deepEqual(names(), ['a', 'b']);
    assert.equal(hear(delta({ nonce: '1', unsubscribe: ['b'], refused: 'no' })).kind, 'refused');
    assert.deepEqual(names(), ['a']);
  });

  test('a name that is subscribed again is answered anew, and an earlier answer proves nothing', () => {
    const { hear, send, epoch } = stream();
    hear(delta({ subscribe: ['a'] }));
    const before = epoch('a');
    send('1', 'a');
    assert.deepEqual(hear(delta({ subscribe: ['a'], nonce: '1' })), {
      kind: 'acknowledged',
      nonce: '1',
      proof: false,
    });
    assert.notEqual(epoch('a'), before);
  });

  test('everything is wanted by a first request without names, or by name, and until it is given up', () => {
    const implied = stream();
    implied.hear(delta({}));
    assert.notEqual(implied.epoch('a'), undefined);
    implied.hear(delta({ subscribe: ['b'] }));
    assert.equal(implied.epoch('a'), undefined);

    const named = stream();
    named.hear(delta({ subscribe: ['*', 'b'] }));
    assert.notEqual(named.epoch('a'), undefined);
    assert.notEqual(named.epoch('b'), named.epoch('a'));
    named.hear(delta({ unsubscribe: ['b'] }));
    assert.equal(named.epoch('b'), named.epoch('a'), 'the wildcard still covers it');
    named.hear(delta({ unsubscribe: ['*'] }));
    assert.equal(named.epoch('a'), undefined);
  });
});

test('a stream has bounded names of bounded length, and no empty one', () => {
  const code = (request: SecretsRequest, before = newConversation): string => {
    const result = heard(before, request);
    return result.ok ? 'ok' : result.error.code;
  };
  const many = (start: number, count: number): string[] =>
    Array.from({ length: count }, (_, index) => `n${start + index}`);
  assert.equal(code(full(many(0, 256))), 'ok');
  assert.equal(code(full(many(0, 257))), 'SECRET_NAME_INVALID');
  assert.equal(code(full(['x'.repeat(2049)])), 'SECRET_NAME_INVALID');
  assert.equal(code(full([''])), 'SECRET_NAME_INVALID');
  const long = (start: number, count: number): string[] =>
    many(start, count).map((name) => name.padEnd(1024, 'é'));
  assert.equal(code(full([...long(0, 4), ...many(0, 200)])), 'ok');
  assert.equal(code(full(long(0, 9))), 'SECRET_NAME_INVALID', 'together they are too long');
  const most = unwrap(heard(newConversation, delta({ subscribe: long(0, 8) }))).conversation;
  assert.equal(code(delta({ subscribe: long(8, 1) }), most), 'SECRET_NAME_INVALID');
  assert.equal(code(delta({ subscribe: long(8, 1), unsubscribe: long(0, 1) }), most), 'ok');
  const half = unwrap(heard(newConversation, delta({ subscribe: many(0, 200) }))).conversation;
  assert.equal(code(delta({ subscribe: many(200, 57) }), half), 'SECRET_NAME_INVALID');
  assert.equal(code(delta({ unsubscribe: many(0, 200), subscribe: many(200, 200) }), half), 'ok');
});
