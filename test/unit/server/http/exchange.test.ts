import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { Exchange } from '../../../../src/server/http/exchange.ts';
import { Routes } from '../../../../src/server/http/routes.ts';
import type { HttpPlugin, HttpRequest } from '../../../../src/server/http/plugin.ts';
import { trustedProxies } from '../../../../src/server/http/client-address.ts';
import { FakeClock, settle } from '../../../support/agent.ts';
import { testRequest, type TestRequest } from '../../../support/http-request.ts';

interface World {
  readonly clock: FakeClock;
  readonly handled: HttpRequest[];
  readonly events: string[];
  readonly response: EventEmitter;
  /** Plug-in, status and code of an answer; `nobody` where the client went away. */
  ask(request?: TestRequest, body?: string): Promise<string>;
}

type Handle = HttpPlugin['routes'][number]['handle'];

function world(handle: Handle = () => ({ status: 200 }), publicBaseUrl?: string): World {
  const [clock, handled, events] = [new FakeClock(), [] as HttpRequest[], [] as string[]];
  const note: Handle = (request) => {
    handled.push(request);
    return handle(request);
  };
  const plugin: HttpPlugin = {
    name: 'toy',
    listeners: ['plain'],
    limits: { concurrent: 1, handlerSeconds: 5 },
    errorForm: ({ status, code }) => ({ status, body: code }),
    below: ['/toy/'],
    routes: [
      { method: 'GET', path: '/toy/:name', handle: note },
      { method: 'POST', path: '/toy/:name', body: { maximumBytes: 3 }, handle: note },
    ],
  };
  const proxies = trustedProxies(['192.0.2.1']);
  const exchange = new Exchange({
    routes: new Routes([plugin]),
    proxies,
    publicBaseUrl,
    clock,
    logger: silentLogger,
    claimed: (_request, { name }) => events.push(`claimed ${name}`),
    received: () => events.push('received'),
  });
  const response = new EventEmitter();
  const ask = async (request = testRequest({ url: '/toy/a' }), body = ''): Promise<string> => {
    const answering = exchange.answer(request, response as ServerResponse);
    if (!request.destroyed) request.end(body);
    const { plugin: name, answer } = await answering;
    if (answer === undefined) return `${name} nobody`;
    return [name, answer.status, ...(answer.body === undefined ? [] : [answer.body])].join(' ');
  };
  return { clock, handled, events, response, ask };
}

describe('one HTTP exchange', () => {
  test('gives the handler what was sent, and the front what it answered', async () => {
    const { ask, handled, events } = world();
    const request = testRequest({
      method: 'POST',
      url: '/toy/a%20b?x=1&x=2',
      headers: { host: 'ca.test', 'x-forwarded-for': '198.51.100.7', 'content-length': '3' },
    });
    assert.equal(await ask(request, 'abc'), 'toy 200');
    const [seen] = handled;
    assert.deepEqual(
      [seen?.method, seen?.rawPath, seen?.parameters['name'], seen?.query.getAll('x')],
      ['POST', '/toy/a%20b', 'a b', ['1', '2']],
    );
    assert.deepEqual([seen?.body.toString(), seen?.client], ['abc', '198.51.100.7']);
    assert.deepEqual(events, ['claimed toy', 'received']);
  });

  test('is refused before a handler runs, in the form of whose path it is', async () => {
    const { ask, handled } = world();
    assert.equal(await ask(testRequest({ url: '/toy/a/b' })), 'toy 404 NOT_FOUND');
    assert.equal(
      await ask(testRequest({ method: 'PUT', url: '/toy/a' })),
      'toy 405 INVALID_REQUEST',
    );
    assert.equal(await ask(testRequest({ url: '/toy/a', headers: {} })), 'toy 400 INVALID_REQUEST');
    assert.match(await ask(testRequest({ url: '/other' })), /^none 404 \{"code":"NOT_FOUND"/);
    const long = testRequest({
      url: '/toy/a',
      method: 'POST',
      headers: { host: 'a', 'content-length': '4' },
    });
    assert.equal(await ask(long), 'toy 413 REQUEST_TOO_LARGE');
    assert.deepEqual(handled, []);
  });

  test('tells an outsider of an error what is meant for outsiders', async () => {
    const answers: unknown[] = [
      new PkiError('NOT_FOUND', 'no such thing'),
      new Error('a secret of ours'),
      new PkiError('NO_ISSUER', 'there is none'),
    ];
    const { ask } = world(() => {
      throw answers.shift();
    });
    assert.equal(await ask(), 'toy 404 NOT_FOUND');
    assert.equal(await ask(), 'toy 500 INTERNAL');
    assert.equal(await ask(), 'toy 503 NO_ISSUER');
  });

  test('ends at the limit of its plug-in, and the handler hears of it', async () => {
    const { ask, clock, handled } = world(() => new Promise<never>(() => {}));
    const answering = ask();
    await settle();
    clock.advance(5_000);
    assert.equal(await answering, 'toy 503 DEADLINE_EXCEEDED');
    assert.equal(PkiError.from(handled[0]?.signal.reason).code, 'DEADLINE_EXCEEDED');
  });

  test('whose handler has not ended holds its place, and the next one is refused', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { ask } = world(() => promise.then(() => ({ status: 204 })));
    const first = ask();
    await settle();
    assert.equal(await ask(), 'toy 503 OVERLOADED');
    resolve();
    assert.equal(await first, 'toy 204');
    assert.equal(await ask(), 'toy 204');
  });

  test('is cancelled with the client that goes away', async () => {
    const { ask, handled, response } = world(
      ({ signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        ),
    );
    const answering = ask();
    await settle();
    response.emit('close');
    assert.equal(await answering, 'toy 499 CANCELLED');
    assert.equal(PkiError.from(handled[0]?.signal.reason).code, 'CANCELLED');
    const gone = testRequest({
      url: '/toy/a',
      method: 'POST',
      headers: { host: 'a', 'content-length': '2' },
    });
    gone.destroy();
    assert.equal(await ask(gone), 'toy nobody');
  });

  test('names addresses under the public base URL, never by what the client sent', async () => {
    const { ask, handled } = world(undefined, 'https://ca.example.org/base/');
    await ask(testRequest({ url: '/toy/a', headers: { host: 'evil.test' } }));
    assert.equal(handled[0]?.publicUrl('/toy/1'), 'https://ca.example.org/base/toy/1');
    const without = world();
    await without.ask();
    assert.throws(() => without.handled[0]?.publicUrl('/toy/1'));
  });
});
