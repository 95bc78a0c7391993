import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { createTokens } from '../../support/softhsm.ts';

const listed = async (server: TestServer): Promise<readonly string[]> =>
  (await server.admin('Authorities/ListAuthorities')).authorities
    .filter(({ kind }) => kind !== 'log')
    .map(({ kind, state, token }) => `${kind} ${state} ${token}`);

test('authorities of names are made when they are switched on, also on a server that has a mesh', async () => {
  await using tokens = await createTokens();
  const dir = await mkdtemp(join(tmpdir(), 'meshca-names-'));
  const mesh = ['root active root', 'issuing active issuing', 'jwt active issuing'];
  const both = [...mesh, 'names-root active root', 'names-issuing active issuing'];
  const on = { names: { enabled: true } };
  const roots = async (server: TestServer): Promise<Response> =>
    fetch(`http://127.0.0.1:${server.server.httpPorts.plain}/names/roots.pem`);
  try {
    await using before = await startTestServer({ tokens, dir });
    const bundle = (await before.admin('Authorities/GetBundle')).bundleJson;
    assert.deepEqual(await listed(before), mesh);
    assert.equal((await roots(before)).status, 404);
    await before.stop();
    // the root token does not answer: the mesh starts, and names are left for later
    const away = { hsm: { root: { label: 'away' } } };
    await using without = await startTestServer({ tokens, dir, config: { ...on, ...away } });
    assert.deepEqual(await listed(without), mesh);
    assert.ok((await without.mint('spiffe://mesh.test/web')).serial.length > 0);
    await without.stop();
    await using server = await startTestServer({ tokens, dir, config: on });
    assert.deepEqual((await listed(server)).toSorted(), both.toSorted());
    await server.restart();
    assert.deepEqual((await listed(server)).toSorted(), both.toSorted(), 'once');
    assert.equal((await server.admin('Authorities/GetBundle')).bundleJson, bundle);
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    const of = (kind: string): X509Certificate =>
      new X509Certificate(authorities.find((each) => each.kind === kind)!.certificateDer);
    const root = new X509Certificate(await (await roots(server)).text());
    assert.equal(root.fingerprint256, of('names-root').fingerprint256);
    const issuing = of('names-issuing');
    assert.ok(issuing.verify(root.publicKey));
    assert.match(root.subject, /mesh\.test names root CA/);
    assert.match(issuing.subject, /mesh\.test names issuing CA/);
    assert.deepEqual([root.subjectAltName, issuing.subjectAltName], [undefined, undefined]);
    // switched off again, what relying parties need stays
    await server.stop();
    await using off = await startTestServer({ tokens, dir });
    assert.equal((await roots(off)).status, 200);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
