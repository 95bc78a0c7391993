import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { Metadata, status, type sendUnaryData } from '@grpc/grpc-js';
import { PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { codeTrailer, refusalIdTrailer, requestIdKey } from '../../../../src/common/wire/index.ts';
import type { Connection } from '../../../../src/server/grpc/connections.ts';
import { Guard, type GuardDependencies } from '../../../../src/server/grpc/guard.ts';
import type { UnaryWork } from '../../../../src/server/grpc/unary-call.ts';
import type { AgentCaller, Caller } from '../../../../src/services/callers/caller.ts';
import { FakeClock } from '../../../support/agent.ts';

const agent: AgentCaller = {
  class: 'agent',
  kind: 'agent',
  spiffeId: 'spiffe://mesh.test/meshca/agent/a',
  serial: 'aa',
  notAfter: 0,
  authorityId: '',
  entryId: null,
  peer: 'x',
  generation: 1,
};
const local: Caller = { class: 'local', uid: 0, gid: 0, pid: 1 };
const method = { path: '/meshca.issuer.v1.AgentIssuer/RenewAgent', admits: ['agent'] as const };

interface Refused {
  readonly caller: string;
  readonly code: ErrorCode;
}

/** A guard in front of one connection of `caller`; his standing ends with `ended`. */
function world({ caller = agent as Caller, ended = undefined as PkiError | undefined } = {}) {
  const clock = new FakeClock();
  const refused: Refused[] = [];
  const observed: string[] = [];
  const ids = new WeakMap<PkiError, string>();
  const connection: Connection = {
    key: 'connection-1',
    peer: '192.0.2.1:1',
    holder: 'holder',
    socket: new PassThrough(),
    serverCertificateSha256: undefined,
    caller: Promise.resolve(caller),
    onClose: new Set(),
  };
  const dependencies = {
    connections: { byKey: (key: string) => (key === connection.key ? connection : undefined) },
    callers: {
      stillStands: async (first: Caller) => {
        if (ended !== undefined) throw ended;
        return first;
      },
    },
    refusals: {
      idOf: (error: PkiError) => ids.get(error),
      refused: async (by: Caller, _operation: string, error: PkiError) => {
        const known = ids.get(error);
        if (known !== undefined) return known;
        refused.push({ caller: by.class, code: error.code });
        const id = `refusal-${refused.length}`;
        ids.set(error, id);
        return id;
      },
    },
    clock,
    logger: silentLogger,
    limits: { concurrentCalls: 2, unarySeconds: 30 },
    observe: (_method: string, code: string) => observed.push(code),
  } as unknown as GuardDependencies;
  return { guard: new Guard(dependencies), clock, refused, observed, connection };
}

interface Answer {
  readonly code: string;
  readonly value?: unknown;
  readonly metadata?: Metadata;
}

/** Makes a call and resolves to its answer. */
function answerOf(
  guard: Guard,
  work: UnaryWork,
  { peer = 'connection-1', requestId = '', call = new EventEmitter(), patienceSeconds = 0 } = {},
): Promise<Answer> {
  return new Promise((resolve) => {
    const metadata = new Metadata();
    if (requestId !== '') metadata.set(requestIdKey, requestId);
    const callback: sendUnaryData<unknown> = (error, value) =>
      resolve(
        error === null || error === undefined
          ? { code: 'OK', value }
          : {
              code: status[error.code as status] ?? '',
              metadata: error.metadata as Metadata,
            },
      );
    const handler = guard.unary({ ...method, patienceSeconds }, work) as unknown as (
      call: object,
      callback: sendUnaryData<unknown>,
    ) => void;
    handler(Object.assign(call, { request: { a: 1 }, metadata, getPeer: () => peer }), callback);
  });
}

const done: UnaryWork = { run: async () => 'done' };
const codeIn = ({ metadata }: Answer): unknown => metadata?.get(codeTrailer)[0];

describe('a unary call', () => {
  test('of an admitted caller runs and is answered', async () => {
    const { guard, observed } = world();
    const seen: unknown[] = [];
    const answer = await answerOf(guard, {
      pass: async ({ caller }, request) => void seen.push(caller.class, request),
      run: async (_context, { request }) => request,
    });
    assert.deepEqual(answer, { code: 'OK', value: { a: 1 } });
    assert.deepEqual(seen, ['agent', { a: 1 }]);
    assert.deepEqual(observed, ['OK']);
  });

  test('of another class is refused, on record under its caller, and does not run', async () => {
    const { guard, refused } = world({ caller: local });
    const answer = await answerOf(guard, { run: () => assert.fail('it ran') });
    assert.equal(codeIn(answer), 'CALLER_NOT_ADMITTED');
    assert.deepEqual(refused, [{ caller: 'local', code: 'CALLER_NOT_ADMITTED' }]);
  });

  test('of a caller who stands no longer, or whose connection is gone, is refused', async () => {
    const banned = world({ ended: new PkiError('AGENT_BANNED', 'banned') });
    assert.equal(codeIn(await answerOf(banned.guard, done)), 'AGENT_BANNED');
    const gone = world();
    const answer = await answerOf(gone.guard, done, { peer: 'connection-2' });
    assert.equal(codeIn(answer), 'UNAUTHENTICATED');
    assert.deepEqual(gone.refused, [{ caller: 'anonymous', code: 'UNAUTHENTICATED' }]);
  });

  test('that does not pass does not run, and its refusal is recorded once', async () => {
    const { guard, refused } = world();
    const answer = await answerOf(guard, {
      pass: () => Promise.reject(new PkiError('APPROVAL_REQUIRED', 'held')),
      run: () => assert.fail('it ran'),
    });
    assert.equal(codeIn(answer), 'APPROVAL_REQUIRED');
    assert.equal(answer.metadata?.get(refusalIdTrailer)[0], 'refusal-1');
    assert.equal(refused.length, 1);
  });

  test('that takes too long is answered once, and what passes afterwards does not run', async () => {
    const { guard, clock, observed } = world();
    let pass: () => void = () => {};
    let ran = false;
    const passing = new Promise<void>((resolve) => {
      pass = resolve;
    });
    const answering = answerOf(guard, {
      pass: () => passing,
      run: async () => {
        ran = true;
      },
    });
    clock.advance(30_000);
    assert.equal(codeIn(await answering), 'DEADLINE_EXCEEDED');
    pass();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(ran, false);
    assert.deepEqual(observed, ['DEADLINE_EXCEEDED']);
  });

  test('of a method that waits for agents has the time of that method', async () => {
    const { guard, clock, observed } = world();
    const running = Promise.withResolvers<string>();
    const work: UnaryWork = { run: () => running.promise };
    const answering = answerOf(guard, work, { patienceSeconds: 90 });
    const late = answerOf(guard, { run: () => new Promise(() => {}) }, { patienceSeconds: 90 });
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(89_000);
    running.resolve('done');
    assert.deepEqual(await answering, { code: 'OK', value: 'done' });
    clock.advance(1_000);
    assert.equal(codeIn(await late), 'DEADLINE_EXCEEDED');
    assert.deepEqual(observed, ['OK', 'DEADLINE_EXCEEDED']);
  });

  test('whose client goes while it is held up does not run', async () => {
    const { guard, observed } = world();
    const call = new EventEmitter();
    const passing = Promise.withResolvers<void>();
    const answering = answerOf(
      guard,
      { pass: () => passing.promise, run: () => assert.fail('it ran') },
      { call },
    );
    await new Promise((resolve) => setImmediate(resolve));
    call.emit('cancelled');
    passing.resolve();
    assert.equal(codeIn(await answering), 'CANCELLED');
    assert.deepEqual(observed, ['CANCELLED']);
  });

  test('that runs is told when its client goes and when its time is over, and not when it is done', async () => {
    const { guard, clock } = world();
    const signals: AbortSignal[] = [];
    const run: UnaryWork['run'] = (_context, _call, signal) => {
      signals.push(signal);
      if (signals.length === 3) return Promise.resolve('done');
      return new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error)),
      );
    };
    const call = new EventEmitter();
    const cancelled = answerOf(guard, { run }, { call });
    await new Promise((resolve) => setImmediate(resolve));
    call.emit('cancelled');
    await cancelled;
    const slow = answerOf(guard, { run });
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(30_000);
    await slow;
    const last = new EventEmitter();
    await answerOf(guard, { run }, { call: last });
    last.emit('cancelled');
    assert.deepEqual(
      signals.map(({ aborted, reason }) => (aborted ? (reason as PkiError).code : 'not aborted')),
      ['CANCELLED', 'DEADLINE_EXCEEDED', 'not aborted'],
    );
  });

  test('whose client has gone counts as under way until its work has ended', async () => {
    const { guard, observed } = world();
    const works = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
    const answers = works.map(({ promise }) => {
      const call = new EventEmitter();
      const answer = answerOf(guard, { run: () => promise }, { call });
      setImmediate(() => call.emit('cancelled'));
      return answer;
    });
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    assert.equal(codeIn(await answerOf(guard, done)), 'OVERLOADED');
    for (const { resolve } of works) resolve('recorded');
    await Promise.all(answers);
    assert.equal((await answerOf(guard, done)).code, 'OK');
    assert.deepEqual(observed, ['OVERLOADED', 'OK', 'OK', 'OK']);
  });

  test('beyond the limit of concurrent calls is refused, and counts no longer when it is answered', async () => {
    const { guard } = world();
    const never: UnaryWork = { run: () => new Promise(() => {}) };
    void answerOf(guard, never);
    void answerOf(guard, never);
    assert.equal(codeIn(await answerOf(guard, done)), 'OVERLOADED');
    assert.equal(codeIn(await answerOf(guard, done)), 'OVERLOADED');
  });

  test('carries its request ID into the answer, unless that has no proper form', async () => {
    const { guard } = world({ ended: new PkiError('AGENT_BANNED', 'banned') });
    const stated = await answerOf(guard, done, { requestId: 'req-7' });
    assert.equal(stated.metadata?.get(requestIdKey)[0], 'req-7');
    const odd = await answerOf(guard, done, { requestId: 'no request id' });
    assert.notEqual(odd.metadata?.get(requestIdKey)[0], 'no request id');
  });
});

/** A stream as grpc-js gives it, as far as the guard uses it. */
class FakeStream extends EventEmitter {
  readonly metadata = new Metadata();
  readonly errors: { readonly code: status }[] = [];

  constructor() {
    super();
    this.on('error', (error: { code: status }) => this.errors.push(error));
  }

  getPeer(): string {
    return 'connection-1';
  }
}

type StreamHandler = (call: object) => void;
const turns = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a stream', () => {
  test('ends with its connection, with the error of that', async () => {
    const { guard, connection, observed } = world();
    const call = new FakeStream();
    (guard.stream(method, () => {}) as StreamHandler)(call);
    await turns();
    for (const end of connection.onClose) end(new PkiError('AGENT_BANNED', 'banned'));
    await turns();
    assert.equal(call.errors[0]?.code, status.PERMISSION_DENIED);
    assert.deepEqual(observed, ['AGENT_BANNED']);
    assert.equal(connection.onClose.size, 0);
  });

  test('that fails again and again is refused once', async () => {
    const { guard, refused, observed } = world();
    const call = new FakeStream();
    const fails: ((thrown: unknown) => void)[] = [];
    (guard.stream(method, (_context, _call, fail) => fails.push(fail)) as StreamHandler)(call);
    await turns();
    for (let index = 0; index < 3; index += 1)
      fails[0]?.(new PkiError('INVALID_REQUEST', `message ${index}`));
    await turns();
    assert.deepEqual([refused.length, call.errors.length, observed], [1, 1, ['INVALID_REQUEST']]);
  });

  test('of a caller who is not admitted, or who went before, does not begin', async () => {
    const other = world({ caller: local });
    const call = new FakeStream();
    const begins = (): never => assert.fail('it began');
    (other.guard.stream(method, begins) as StreamHandler)(call);
    await turns();
    assert.equal(call.errors.length, 1);
    const { guard, observed } = world();
    const cancelled = new FakeStream();
    (guard.stream(method, begins) as StreamHandler)(cancelled);
    cancelled.emit('cancelled');
    await turns();
    assert.deepEqual(observed, ['CANCELLED']);
  });
});
