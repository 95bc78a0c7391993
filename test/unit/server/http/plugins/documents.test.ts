import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../../src/common/errors/index.ts';
import type { HttpRequest } from '../../../../../src/server/http/plugin.ts';
import {
  bundlePlugin,
  crlPlugin,
  issuerPlugin,
  namesPlugin,
} from '../../../../../src/server/http/plugins/documents.ts';
import { Routes } from '../../../../../src/server/http/routes.ts';

test('the bundle goes out as JSON with its refresh hint, and over no plain network', async () => {
  let document = '{"keys":[]}';
  const plugin = bundlePlugin({ document: () => document, refreshHintSeconds: 300 });
  assert.deepEqual(plugin.listeners, ['tls', 'loopback']);
  const found = new Routes([plugin]).find('GET', '/bundle');
  assert.ok(found.kind === 'match');
  const ask = () => found.match.route.handle({} as HttpRequest);
  assert.deepEqual(await ask(), {
    status: 200,
    headers: { 'content-type': 'application/json', 'cache-control': 'max-age=300' },
    body: document,
  });
  document = '{"keys":[1]}';
  assert.equal((await ask()).body, document, 'it is read at each request');
});

test('a CRL goes out by the ID of its authority, also over plain HTTP, since it is signed', async () => {
  const asked: string[] = [];
  const plugin = crlPlugin((id) => {
    asked.push(id);
    return id === 'gone'
      ? Promise.reject(new PkiError('NOT_FOUND', 'there is no CRL'))
      : Promise.resolve(Buffer.from([0x30, 0]));
  });
  assert.deepEqual(plugin.listeners, ['tls', 'plain']);
  const ask = (id: string) => {
    const found = new Routes([plugin]).find('GET', `/crl/${id}.crl`);
    assert.ok(found.kind === 'match', id);
    const { route, parameters } = found.match;
    return Promise.resolve(route.handle({ parameters } as HttpRequest));
  };
  assert.deepEqual(await ask('0190-aB'), {
    status: 200,
    headers: { 'content-type': 'application/pkix-crl' },
    body: Buffer.from([0x30, 0]),
  });
  await assert.rejects(ask('gone'), { code: 'NOT_FOUND' });
  assert.deepEqual(asked, ['0190-aB', 'gone']);
  for (const path of ['/crl/.crl', '/crl/a.b.crl', `/crl/${'a'.repeat(65)}.crl`, '/crl/a'])
    assert.equal(new Routes([plugin]).find('GET', path).kind, 'none', path);
});

test('the roots of names go out as PEM, over no plain network, and not while there are none', async () => {
  let roots = '';
  const plugin = namesPlugin(() => roots);
  assert.deepEqual(plugin.listeners, ['tls', 'loopback']);
  const found = new Routes([plugin]).find('GET', '/names/roots.pem');
  assert.ok(found.kind === 'match');
  const ask = async () => found.match.route.handle({} as HttpRequest);
  await assert.rejects(ask(), { code: 'NOT_FOUND' });
  roots = 'PEM';
  assert.equal((await ask()).body, roots);
});

test('the certificate of an authority goes out beside its CRL', async () => {
  const plugins = [
    crlPlugin(() => Promise.resolve(Buffer.from([0x30, 0]))),
    issuerPlugin((id) => (id === '0190-aB' ? Buffer.from([0x30, 3]) : undefined)),
  ];
  const ask = async (id: string) => {
    const found = new Routes(plugins).find('GET', `/crl/${id}.cer`);
    assert.ok(found.kind === 'match');
    const { route, parameters } = found.match;
    return route.handle({ parameters } as HttpRequest);
  };
  assert.deepEqual(await ask('0190-aB'), {
    status: 200,
    headers: { 'content-type': 'application/pkix-cert' },
    body: Buffer.from([0x30, 3]),
  });
  await assert.rejects(ask('0190'), { code: 'NOT_FOUND' });
});
