import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { mapEach, newestOf } from '../../../src/api/streams.ts';

interface Pushed {
  readonly push: (state: string) => void;
  readonly states: AsyncGenerator<string>;
  readonly abort: () => void;
  readonly unsubscribed: () => boolean;
}

/** An iterable whose subscription is open: the first state is pushed at once. */
async function opened(first: string): Promise<Pushed> {
  let push: (state: string) => void = () => {};
  let unsubscribed = false;
  const ending = new AbortController();
  const states = newestOf<string>({
    subscribe: async (listener) => {
      push = listener;
      listener(first);
      return () => {
        unsubscribed = true;
      };
    },
    contentOf: (state) => state.slice(0, 1),
    signal: ending.signal,
  });
  assert.equal((await states.next()).value, first);
  return {
    push: (state) => push(state),
    states,
    abort: () => ending.abort(),
    unsubscribed: () => unsubscribed,
  };
}

describe('pushed states as an iterable', () => {
  test('a reader that is behind gets the newest state alone', async () => {
    const { push, states } = await opened('a');
    push('b');
    push('c');
    assert.equal((await states.next()).value, 'c');
  });

  test('a waiting reader gets a state when it is pushed', async () => {
    const { push, states } = await opened('a');
    const next = states.next();
    push('b');
    assert.equal((await next).value, 'b');
  });

  test('a state with the content of the one before it is left out', async () => {
    const { push, states } = await opened('a1');
    const next = states.next();
    push('a2');
    await new Promise((resolve) => setImmediate(resolve));
    push('b1');
    assert.equal((await next).value, 'b1');
  });

  test('the end of the call ends a waiting reader and the subscription', async () => {
    const { states, abort, unsubscribed } = await opened('a');
    const next = states.next();
    abort();
    assert.equal((await next).done, true);
    assert.ok(unsubscribed());
  });

  test('a reader that stops ends the subscription', async () => {
    const { states, unsubscribed } = await opened('a');
    await states.return(undefined);
    assert.ok(unsubscribed());
  });

  test('a subscription that is refused refuses the reader', async () => {
    const states = newestOf<string>({
      subscribe: () => Promise.reject(new Error('refused')),
      contentOf: (state) => state,
      signal: new AbortController().signal,
    });
    await assert.rejects(states.next(), /refused/);
  });
});

test('each item is converted in its order', async () => {
  async function* numbers(): AsyncGenerator<number> {
    yield 1;
    yield 2;
  }
  const converted: number[] = [];
  for await (const each of mapEach(numbers(), (item) => item * 10)) converted.push(each);
  assert.deepEqual(converted, [10, 20]);
});
