import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { unwrap } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
} from '../../../src/common/x509/index.ts';
import { parseOcspResponse } from '../../../src/certs/index.ts';
import { freePort } from '../../support/ports.ts';
import { ocspRequest } from '../../support/ocsp.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

const run = promisify(execFile);

interface Issued {
  readonly serial: string;
  readonly authorityId: string;
  readonly chainDer: readonly Buffer[];
  readonly rootsDer: readonly Buffer[];
}

let server: TestServer;
let base: string;

before(async () => {
  const port = await freePort();
  base = `http://127.0.0.1:${port}/ocsp`;
  server = await startTestServer({
    config: {
      names: { enabled: true, ocsp: { baseUrl: base } },
      issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
      http: { plain: { port } },
    },
  });
});
after(() => server[Symbol.asyncDispose]());

async function issue(name: string, profile = 'classic'): Promise<Issued> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  return server.admin('Certificates/IssueCertificate', {
    dnsNames: [name],
    csrDer: createCsr(privateKey),
    profile,
    requestId: uuidv7(),
  });
}

/** What OpenSSL says of a certificate, asking the responder that the certificate names. */
async function opensslAsks(issued: Issued, more: readonly string[] = []): Promise<string> {
  const file = async (name: string, ders: readonly Buffer[]): Promise<string> => {
    const path = join(server.dir, `${issued.serial}-${name}.pem`);
    await writeFile(path, certificatesToPem(ders));
    return path;
  };
  const [leaf, ...issuers] = issued.chainDer as [Buffer, ...Buffer[]];
  const cert = await file('leaf', [leaf]);
  const { stdout: uri } = await run('openssl', ['x509', '-in', cert, '-noout', '-ocsp_uri']);
  const { stdout, stderr } = await run('openssl', [
    ...['ocsp', '-no_nonce', ...more, '-url', uri.trim()],
    ...['-issuer', await file('issuer', issuers), '-cert', cert],
    ...['-CAfile', await file('roots', [...issuers, ...issued.rootsDer])],
  ]).catch((thrown: unknown) => thrown as { stdout: string; stderr: string });
  return stdout + stderr;
}

const issuerOf = ({ chainDer }: Issued) => unwrap(parseCertificate(chainDer[1] as Buffer));

/** GET, as caches and servers that staple ask. */
function get(issued: Issued, headers: Record<string, string> = {}): Promise<Response> {
  const request = ocspRequest(issuerOf(issued), issued.serial).toString('base64');
  const path = encodeURIComponent(request);
  return fetch(`${base}/${issued.authorityId}/${path}`, { headers });
}

const statusOf = async (issued: Issued): Promise<string | number> => {
  const read = unwrap(parseOcspResponse(Buffer.from(await (await get(issued)).arrayBuffer())));
  return read.answer?.status ?? read.status;
};

test('a certificate names its responder, and OpenSSL learns there that it is good or revoked', async () => {
  const issued = await issue('www.shop.test');
  await until(async () => (await statusOf(issued)) === 'good');
  for (const hash of ['-sha1', '-sha256']) {
    const said = await opensslAsks(issued, [hash]);
    assert.match(said, /Response verify OK/);
    assert.match(said, /leaf\.pem: good/);
  }
  assert.match(await opensslAsks(issued, ['-nonce']), /leaf\.pem: good/);
  await server.admin('Certificates/RevokeCertificate', {
    serial: issued.serial,
    reason: 'keyCompromise',
  });
  await until(async () => (await statusOf(issued)) === 'revoked');
  const said = await opensslAsks(issued);
  assert.match(said, /Response verify OK/);
  assert.match(said, /leaf\.pem: revoked[^]*Reason: keyCompromise/);
});

test('an answer by GET can be cached until it changes', async () => {
  const issued = await issue('cached.shop.test');
  await until(async () => (await statusOf(issued)) === 'good');
  const answer = await get(issued);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('content-type'), 'application/ocsp-response');
  assert.match(answer.headers.get('cache-control') ?? '', /^max-age=3600, public, no-transform/);
  const read = unwrap(parseOcspResponse(Buffer.from(await answer.arrayBuffer())));
  const dated = (name: string): number => Date.parse(answer.headers.get(name) ?? '') / 1000;
  assert.equal(dated('expires'), read.answer?.nextUpdate);
  assert.equal(dated('last-modified'), read.answer?.producedAt);
  const etag = answer.headers.get('etag') ?? '';
  const same = await get(issued, { 'if-none-match': `"other", ${etag}` });
  assert.deepEqual([same.status, await same.text()], [304, '']);
  await server.admin('Certificates/RevokeCertificate', { serial: issued.serial });
  await until(async () => (await statusOf(issued)) === 'revoked');
  assert.equal((await get(issued, { 'if-none-match': etag })).status, 200);
  // a compromise that becomes known later
  const { serial } = issued;
  await server.admin('Certificates/RevokeCertificate', { serial, reason: 'keyCompromise' });
  await until(async () => (await opensslAsks(issued)).includes('Reason: keyCompromise'));
});

test('who asks for what there is not, or wrongly, gets a status without a signature', async () => {
  const [issued, short] = [await issue('a.shop.test'), await issue('b.shop.test', 'short')];
  await until(async () => (await statusOf(issued)) === 'good');
  const unauthorized = 6;
  const malformed = 1;
  assert.equal(await statusOf({ ...issued, serial: '41'.repeat(16) }), unauthorized);
  assert.equal(await statusOf(short), unauthorized);
  assert.equal(await statusOf({ ...issued, authorityId: uuidv7() }), unauthorized);
  const at = `${base}/${issued.authorityId}`;
  const code = async (answer: Response): Promise<number> => {
    assert.equal(answer.headers.get('cache-control'), 'max-age=0, no-cache');
    assert.equal(answer.status, 200);
    return unwrap(parseOcspResponse(Buffer.from(await answer.arrayBuffer()))).status;
  };
  for (const path of [at, `${at}/`, `${at}/%ZZ`, `${at}/no*base64`, `${at}/AAAA`])
    assert.equal(await code(await fetch(path)), malformed, path);
  const post = (body: Buffer, type = 'application/ocsp-request'): Promise<Response> =>
    fetch(at, { method: 'POST', body: Uint8Array.from(body), headers: { 'content-type': type } });
  const two = ocspRequest(issuerOf(issued), issued.serial, { times: 2 });
  assert.equal(await code(await post(two)), malformed);
  assert.equal((await post(two, 'text/plain')).status, 415);
  assert.equal((await post(Buffer.alloc(9_000))).status, 413);
  assert.equal((await fetch(at, { method: 'DELETE' })).status, 405);
  // counted after the answers of a round
  const scraped = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();
  await until(
    async () => /meshca_ocsp_answers [1-9]/.test(await scraped()),
    'the answers are counted',
  );
  const { ocsp } = await server.admin('Server/GetStatus', {});
  assert.ok((ocsp?.nextUpdate ?? 0) > Date.now() / 1000 + 3 * 86_400);
  const metrics = await scraped();
  assert.match(metrics, /meshca_ocsp_requests_total\{result="malformedRequest"\} 6/);
  assert.match(metrics, /name="ocsp-signer\/[0-9a-f-]+"/);
});

test('a restart answers at once with what was signed before, by the same key', async () => {
  const issued = await issue('kept.shop.test');
  await until(async () => (await statusOf(issued)) === 'good');
  const read = async (): Promise<Buffer> => Buffer.from(await (await get(issued)).arrayBuffer());
  const before = await read();
  await server.restart();
  await until(async () => (await statusOf(issued)) === 'good');
  assert.ok((await read()).equals(before));
  const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'ocsp' });
  assert.deepEqual(
    authorities.map(({ kind, state, parentId }) => [kind, state, parentId]),
    [['ocsp', 'active', issued.authorityId]],
  );
});
