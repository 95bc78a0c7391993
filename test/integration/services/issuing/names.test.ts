import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  pemEncode,
  pkcs8Of,
  verifyX509Svid,
} from '../../../../src/common/x509/index.ts';
import { runCommand } from '../../../support/command.ts';
import {
  allMethods,
  codeOf,
  serverStreamCall,
  startTestServer,
  unaryCall,
  untypedCall,
  type Credential,
  type TestServer,
} from '../../../support/server.ts';
import { SignDialogue } from '../../../support/control-plane.ts';
import { until } from '../../../support/until.ts';
import { listen } from '../../../support/workload-lib.ts';

let t: TestServer;
/** A certificate of names with its key, and the roots that verify it. */
let www: Credential;
let rootsPem: string;

before(async () => {
  t = await startTestServer({
    config: {
      names: { enabled: true },
      issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
    },
  });
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const file = (name: string): string => join(t.dir, name);
  writeFileSync(file('www.csr'), pemEncode('CERTIFICATE REQUEST', createCsr(privateKey)));
  const { code, out, err } = await runCommand(t, [
    ...['certificate', 'issue', '--csr', file('www.csr'), '--out', file('www.pem')],
    ...['--name', 'www.shop.test', '--name', '*.shop.test', '--name', '127.0.0.1'],
    ...['--roots', file('roots.pem')],
  ]);
  assert.equal(code, 0, err);
  assert.match(out, /www\.shop\.test\n +\*\.shop\.test\n +127\.0\.0\.1/);
  rootsPem = readFileSync(file('roots.pem'), 'utf8');
  const serial = /^serial +([0-9a-f]{32})$/m.exec(out)?.[1] as string;
  const chainDer = [
    ...readFileSync(file('www.pem'), 'utf8').matchAll(/-----BEGIN[^-]+-----([^-]+)/g),
  ].map(([, base64]) => Buffer.from(base64 as string, 'base64'));
  www = { spiffeId: '', serial, chainDer, privateKey };
});
after(async () => {
  await t?.[Symbol.asyncDispose]();
});

/** `authorized`, or why a TLS client with these roots and this name refuses the server. */
async function tlsVerdict(ca: string, servername: string): Promise<string> {
  const server = createServer(
    {
      cert: certificatesToPem(www.chainDer),
      key: pemEncode('PRIVATE KEY', pkcs8Of(www.privateKey)),
    },
    (socket) => socket.on('error', () => undefined).end(),
  );
  server.on('tlsClientError', () => undefined);
  const port = await listen(server);
  const socket: TLSSocket = connect({ host: '127.0.0.1', port, ca, servername });
  const verdict = await new Promise<string>((resolve) => {
    socket.on('secureConnect', () => resolve('authorized'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
  socket.destroy();
  server.close();
  await once(server, 'close');
  return verdict;
}

test('a TLS client with the roots of names takes it for its names, and one with those of the mesh never', async () => {
  assert.equal(await tlsVerdict(rootsPem, 'www.shop.test'), 'authorized');
  assert.equal(await tlsVerdict(rootsPem, 'a.shop.test'), 'authorized');
  assert.equal(await tlsVerdict(rootsPem, 'shop.test'), 'ERR_TLS_CERT_ALTNAME_INVALID');
  assert.equal(
    await tlsVerdict(certificatesToPem(t.rootsDer), 'www.shop.test'),
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  );
});

test('the certificate says where its issuer is, and the server gives it there', async () => {
  const [leaf, issuer] = www.chainDer;
  const parsed = parseCertificate(leaf as Buffer);
  assert.ok(parsed.ok);
  const url = parsed.value.issuerUrls[0] as string;
  assert.match(url, /^http:\/\/ca\.mesh\.test\/crl\//);
  const { plain } = t.server.httpPorts;
  const answer = await fetch(url.replace('http://ca.mesh.test', `http://127.0.0.1:${plain}`));
  assert.equal(answer.headers.get('content-type'), 'application/pkix-cert');
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(issuer as Buffer));
});

test('the inventory finds it by each name and says all of them', async () => {
  const list = async (...args: readonly string[]): Promise<readonly string[]> => {
    const { out } = await runCommand(t, ['certificate', 'list', '--json', ...args]);
    return (JSON.parse(out) as { serial: string }[]).map(({ serial }) => serial);
  };
  for (const args of [
    ['--name', 'WWW.shop.test'],
    ['--name', '127.0.0.1'],
    ['--suffix', '.shop.test'],
    ['--suffix', 'test', '--profile', 'classic', '--kind', 'endpoint'],
    ['--owner', `uid:${process.getuid?.()}`],
  ])
    assert.deepEqual(await list(...args), [www.serial], args.join(' '));
  assert.deepEqual(await list('--suffix', 'www.shop.test'), []);
  assert.deepEqual(await list('--name', '127.0.0.2'), []);
  const { out } = await runCommand(t, ['certificate', 'show', www.serial]);
  for (const line of [
    /^kind +endpoint, profile classic$/m,
    /^dns names +www\.shop\.test\n +\*\.shop\.test$/m,
    /^ip addresses +127\.0\.0\.1$/m,
    /^owner +uid:\d+$/m,
    /^crl +http:\/\/ca\.mesh\.test\/crl\/.+\/(\d+)\.crl \(shard \1\)$/m,
  ])
    assert.match(out, line);
  assert.doesNotMatch(out, /^spiffe id/m);
});

test('a policy explains the decision about it, with its names', async () => {
  const { code, out, err } = await runCommand(t, ['policy', 'explain', www.serial]);
  assert.equal(code, 0, err);
  assert.match(out, /^kind +endpoint$/m);
  assert.match(out, /^DNS names +www\.shop\.test, \*\.shop\.test$/m);
  assert.match(out, /^IPs +127\.0\.0\.1$/m);
  assert.match(out, /^profile +classic$/m);
});

test('it is admitted as a caller of no operation, and as no identity by a peer', async () => {
  const client = t.client(www);
  for (const [path, method] of Object.entries(allMethods())) {
    if (method.requestStream) continue;
    const code = await codeOf(
      method.responseStream
        ? serverStreamCall(client, path, {}, () => true)
        : untypedCall(client, path),
    );
    assert.equal(code, 'CHAIN_UNTRUSTED', path);
  }
  const anonymous = await codeOf(untypedCall(t.client(), '/meshca.signing.v1.Signing/Sign'));
  assert.equal(anonymous, 'UNAUTHENTICATED', 'without a certificate the connection stands');
  for (const bundle of [t.rootsDer, [www.chainDer.at(-1) as Buffer]]) {
    const verified = verifyX509Svid({
      chainDer: www.chainDer,
      bundle: () => bundle,
      now: Math.floor(Date.now() / 1000),
    });
    assert.ok(!verified.ok && verified.error.code === 'SVID_INVALID');
  }
});

test('a control plane signs names over the signing API, in the shape of its request', async () => {
  const edge = 'spiffe://mesh.test/edge';
  const { code, err } = await runCommand(t, [
    ...['delegation', 'create', '--client-id', edge, '--max-ttl', '1h', '--profile', 'hours'],
    ...['--dns-pattern', '*.shop.test', '--ip-range', '10.0.0.0/8', '--wildcards'],
  ]);
  assert.equal(code, 0, err);
  const client = t.client(await t.mint(edge));
  const csrDer = createCsr((await generateKeyPairAsync('rsa-2048')).privateKey);
  const item = { dnsNames: ['*.shop.test'], ips: ['10.0.0.7'], csrDer };
  const signed = await unaryCall(client, '/meshca.signing.v1.Signing/Sign', item);
  assert.deepEqual([signed.spiffeId, signed.rootsDer], ['', []]);
  const leaf = parseCertificate(signed.chainDer[0] as Buffer);
  assert.ok(leaf.ok);
  assert.deepEqual([leaf.value.dnsSans, leaf.value.ipSans], [item.dnsNames, item.ips]);
  assert.deepEqual(
    [...(leaf.value.keyUsage?.names ?? [])],
    ['digitalSignature', 'keyEncipherment'],
  );
  assert.ok(leaf.value.noRevAvail);
  const view = await unaryCall(client, '/meshca.signing.v1.Signing/GetDelegation');
  assert.deepEqual([view.patterns, view.maxTtlSeconds, view.delegationIds.length], [[], 0, 1]);
  assert.deepEqual(
    view.names.map(({ profile, dnsPatterns, ipRanges, wildcards, maxTtlSeconds }) => [
      profile,
      dnsPatterns,
      ipRanges,
      wildcards,
      maxTtlSeconds,
    ]),
    [['hours', ['*.shop.test'], ['10.0.0.0/8'], true, 3600]],
  );
  const { results } = await unaryCall(client, '/meshca.signing.v1.Signing/SignBatch', {
    items: [item, { ...item, ips: ['11.0.0.7'] }].map((each) => ({ ...each, requestId: uuidv7() })),
  });
  assert.deepEqual(
    results.map(({ svid, refusal }) => refusal?.code ?? (svid === null ? 'none' : 'signed')),
    ['signed', 'OUTSIDE_DELEGATION'],
  );
  const stream = new SignDialogue(client);
  await until(() => stream.credits > 0);
  stream.write({ id: 'a', item });
  stream.write({ id: 'b', item: { ...item, dnsNames: ['*.other.test'] } });
  await until(() => stream.answers.length === 2);
  assert.equal(stream.answerOf('a')?.result?.svid?.spiffeId, '');
  assert.equal(stream.answerOf('b')?.result?.refusal?.code, 'OUTSIDE_DELEGATION');
  stream.stream.cancel();
});
