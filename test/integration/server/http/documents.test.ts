import assert from 'node:assert/strict';
import { request } from 'node:https';
import { test } from 'node:test';
import type { PeerCertificate } from 'node:tls';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';

/** The content type of a resource, and whom its server shows itself as. */
function overTls(server: TestServer, path: string): Promise<{ type: string; names: string }> {
  let names = '';
  return new Promise((resolve, reject) => {
    request(
      {
        host: '127.0.0.1',
        port: server.server.httpPorts.tls,
        path,
        agent: false,
        ca: certificatesToPem(server.rootsDer),
        checkServerIdentity: (_: string, { subjectaltname = '' }: PeerCertificate) => {
          names = subjectaltname;
          return undefined;
        },
      },
      (response) => {
        response.resume();
        response.on('end', () => resolve({ type: response.headers['content-type'] ?? '', names }));
      },
    )
      .on('error', reject)
      .end();
  });
}

test('bundle and CRLs are at the HTTP ports, under our own certificate, and not at the operations port', async () => {
  await using server = await startTestServer({
    config: { http: { tls: { enabled: true, port: 0 } } },
  });
  const { plain } = server.server.httpPorts;
  const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'root' });
  const crl = `/crl/${authorities[0]!.id}.crl`;
  const bundle = await fetch(`http://127.0.0.1:${plain}/bundle`);
  assert.equal(((await bundle.json()) as { keys: object[] }).keys.length > 1, true);
  for (const [path, type] of [
    ['/bundle', 'application/json'],
    [crl, 'application/pkix-crl'],
  ] as const) {
    assert.equal(
      (await fetch(`http://127.0.0.1:${plain}${path}`)).headers.get('content-type'),
      type,
    );
    const shown = await overTls(server, path);
    assert.equal(shown.type, type);
    assert.match(shown.names, /spiffe:\/\/mesh\.test\/meshca\/server/);
    const operations = await fetch(`http://127.0.0.1:${server.server.opsPort}${path}`);
    assert.equal(operations.status, 404);
    assert.match(((await operations.json()) as { next: string }).next, /http\.plain/);
  }
  const unknown = await fetch(`http://127.0.0.1:${plain}/crl/0.crl`);
  assert.deepEqual(
    [unknown.status, ((await unknown.json()) as { code: string }).code],
    [404, 'NOT_FOUND'],
  );
  const metrics = await (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
  assert.match(metrics, /meshca_http_requests_total\{plugin="bundle",status="200"\} 3/);
  assert.match(metrics, /meshca_http_requests_total\{plugin="crl",status="404"\} 1/);
});
