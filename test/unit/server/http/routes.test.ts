import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { jsonErrorForm } from '../../../../src/server/http/failure.ts';
import type { HttpPlugin, HttpRoute } from '../../../../src/server/http/plugin.ts';
import { Routes } from '../../../../src/server/http/routes.ts';

const plugin = (
  name: string,
  routes: readonly Omit<HttpRoute, 'handle'>[],
  below?: readonly string[],
): HttpPlugin => ({
  name,
  listeners: ['plain'],
  limits: { concurrent: 1, handlerSeconds: 1 },
  errorForm: jsonErrorForm,
  routes: routes.map((route) => ({ ...route, handle: () => ({ status: 200 }) })),
  ...(below === undefined ? {} : { below }),
});

describe('routes of the HTTP front', () => {
  const ocsp = plugin('ocsp', [
    { method: 'GET', path: '/ocsp/', raw: true },
    { method: 'POST', path: '/ocsp/', raw: true },
  ]);
  const crl = plugin('crl', [{ method: 'GET', path: '/crl/:id(^[a-z0-9-]+).crl' }], ['/crl/']);
  const routes = new Routes([ocsp, crl]);

  test('a raw route gets the rest of the path as it was sent', () => {
    for (const rest of ['', 'MFEw/TzBN', 'a//b', '%2F%2f%', 'a%zz', '../x', '//'])
      for (const method of ['GET', 'HEAD', 'POST']) {
        const found = routes.find(method, `/ocsp/${rest}`);
        assert.equal(found.kind, 'match', `${method} ${rest}`);
        if (found.kind === 'match') assert.equal(found.match.rawRest, rest);
      }
  });

  test('what is offered to an unknown path is what can be read, without patterns', () => {
    assert.deepEqual(routes.offered(), ['/ocsp/', '/crl/:id.crl']);
  });

  test('other routes are matched decoded and whole', () => {
    const found = routes.find('GET', '/crl/ab%2Dc.crl');
    assert.ok(found.kind === 'match');
    assert.equal(found.match.parameters['id'], 'ab-c');
    for (const path of [
      '/crl/AB.crl',
      '/crl/a.crl/',
      '//crl/a.crl',
      '/crl/a%2Fb.crl',
      '/crl/%zz.crl',
    ])
      assert.equal(routes.find('GET', path).kind, 'none', path);
  });

  test('a method that a path does not take is told apart from a path that nobody has', () => {
    assert.deepEqual(routes.find('DELETE', '/ocsp/x'), {
      kind: 'method',
      plugin: ocsp,
      allowed: ['GET', 'HEAD', 'POST'],
    });
    assert.deepEqual(routes.find('POST', '/crl/a.crl'), {
      kind: 'method',
      plugin: crl,
      allowed: ['GET', 'HEAD'],
    });
    assert.deepEqual(routes.find('GET', '/x'), { kind: 'none', plugin: undefined });
  });

  test('what lies below the prefix of a plug-in is its own to refuse', () => {
    assert.deepEqual(routes.find('GET', '/crl/none'), { kind: 'none', plugin: crl });
  });

  test('two plug-ins can not have one path, nor one a path below the raw prefix of another', () => {
    const get = (path: string, raw?: true): HttpPlugin =>
      plugin(path, [{ method: 'GET', path, ...(raw === undefined ? {} : { raw }) }]);
    assert.throws(() => new Routes([get('/a'), get('/a')]));
    assert.throws(() => new Routes([get('/a/', true), get('/a/', true)]), /is taken/);
    assert.throws(() => new Routes([get('/a/b'), get('/a/', true)]), /lies below/);
    assert.throws(() => new Routes([get('/a', true)]), /no \/ at both ends/);
  });
});
