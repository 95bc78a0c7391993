import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { credentials, Metadata } from '@grpc/grpc-js';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  parseCrl,
  pemEncode,
  sha256Hex,
} from '../../../src/common/x509/index.ts';
import { workloadContract } from '../../../src/common/wire/index.ts';
import { unwrap, type PkiError } from '../../../src/common/errors/index.ts';
import {
  authorizeAny,
  connectTls,
  createTlsServer,
  X509Source,
} from '../../../src/workload/index.ts';
import { startAgent, type RunningAgent } from '../../../sidecar/compose.ts';
import { agentEnvironment } from '../../support/agent-environment.ts';
import { agentConfigSchema } from '../../../sidecar/config.ts';
import {
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { listen } from '../../support/workload-lib.ts';
import { until } from '../../support/until.ts';
import { defer } from '../../support/agent-fake-server.ts';

const run = promisify(execFile);
const myUid = `unix:uid:${process.getuid?.() ?? 0}`;
const spiffeId = (name: string): string => `spiffe://${testTrustDomain}/${name}`;

async function serverOf(context: TestContext): Promise<{
  server: TestServer;
  crl: (authorityId: string) => Promise<Buffer>;
  authorities: () => Promise<{ root: Record<string, any>; issuing: Record<string, any> }>;
}> {
  const server = await startTestServer({
    config: { issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' } },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  return {
    server,
    crl: async (authorityId) => {
      const response = await fetch(
        `http://127.0.0.1:${server.server.httpPorts.plain}/crl/${authorityId}.crl`,
      );
      assert.deepEqual(
        [response.status, response.headers.get('content-type')],
        [200, 'application/pkix-crl'],
      );
      return Buffer.from(await response.arrayBuffer());
    },
    authorities: async () => {
      const { authorities } = await server.admin('Authorities/ListAuthorities', {});
      const of = (kind: string) =>
        authorities.find((each) => each.kind === kind && each.state === 'active')!;
      return { root: of('root'), issuing: of('issuing') };
    },
  };
}

async function svid(
  server: TestServer,
  agent: Credential,
  entryId: string,
): Promise<{ serial: string; chainDer: Buffer[] }> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const client = server.client(agent);
  const { results } = await unaryCall(client, '/meshca.issuer.v1.AgentIssuer/SignX509Svids', {
    items: [{ requestId: uuidv7(), entryId, csrDer: createCsr(privateKey) }],
  });
  assert.ok(results[0]!.svid, JSON.stringify(results[0]!.refusal));
  return results[0]!.svid;
}

async function entry(
  server: TestServer,
  name: string,
  parentId: string,
  profile: string,
): Promise<string> {
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [{ spiffeId: spiffeId(name), parentId, selectors: [myUid], profile }],
  });
  return results[0]!.entry!.id;
}

test('a revoked certificate is on the CRL at once, and OpenSSL and GnuTLS refuse it', async (context) => {
  const { server, crl, authorities } = await serverOf(context);
  const agent = await server.joinAgent('n1');
  const entryId = await entry(server, 'batch', agent.spiffeId, 'revocable');
  const [good, gone] = [await svid(server, agent, entryId), await svid(server, agent, entryId)];
  const { root, issuing } = await authorities();
  const before = unwrap(parseCrl(await crl(issuing['id'])));
  assert.equal(before.revoked.size, 0);
  const lifeLeft = before.nextUpdate - Math.floor(Date.now() / 1000);
  assert.ok(lifeLeft > 6.9 * 86_400, 'longer than any outage that is tolerated');

  const revoked = await server.admin('Certificates/RevokeCertificate', {
    serial: gone.serial,
    reason: 'keyCompromise',
  });
  assert.equal(revoked.revocationReason, 'keyCompromise');
  await until(async () => unwrap(parseCrl(await crl(issuing['id']))).revoked.has(gone.serial));
  const after = unwrap(parseCrl(await crl(issuing['id'])));
  assert.ok(after.number > before.number);
  assert.equal(
    (await server.admin('Certificates/GetCertificate', { serial: gone.serial })).revokedAt,
    revoked.revokedAt,
  );
  const again = await server.admin('Certificates/RevokeCertificate', {
    serial: gone.serial,
    reason: 'superseded',
  });
  assert.equal(again.revocationReason, 'keyCompromise', 'the first word stands');
  const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'certificate.revoked' });
  assert.equal(records.length, 1);

  const directory = await mkdtemp(join(tmpdir(), 'meshca-crl-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(directory, name), text);
    return join(directory, name);
  };
  const crls = await file(
    'crls.pem',
    pemEncode('X509 CRL', await crl(root['id'])) + pemEncode('X509 CRL', await crl(issuing['id'])),
  );
  const [roots, issuer] = [
    await file('root.pem', certificatesToPem([root['certificateDer']])),
    await file('issuer.pem', certificatesToPem([issuing['certificateDer']])),
  ];
  const verify = (name: string, leaf: Buffer, check: readonly string[]): Promise<string> =>
    file(name, certificatesToPem([leaf]))
      .then((path) =>
        run('openssl', [
          'verify',
          '-x509_strict',
          ...check,
          '-CAfile',
          roots,
          '-untrusted',
          issuer,
          path,
        ]),
      )
      .then(
        ({ stdout }) => stdout,
        (error: { stderr: string }) => error.stderr,
      );
  const all = ['-crl_check_all', '-CRLfile', crls];
  assert.match(await verify('good.pem', good.chainDer[0] as Buffer, all), /OK/);
  assert.match(await verify('gone.pem', gone.chainDer[0] as Buffer, all), /certificate revoked/);
  assert.match(
    await verify('gone.pem', gone.chainDer[0] as Buffer, ['-crl_check', '-CRLfile', crls]),
    /certificate revoked/,
  );
  assert.match(
    await verify('good.pem', good.chainDer[0] as Buffer, [
      '-crl_check_all',
      '-CRLfile',
      await file('one.pem', pemEncode('X509 CRL', await crl(issuing['id']))),
    ]),
    /unable to get certificate CRL/,
    'a set that lacks a level fails everybody',
  );
  for (const [der, ca] of [
    [await crl(root['id']), roots],
    [await crl(issuing['id']), issuer],
  ] as const) {
    const { stdout } = await run('certtool', [
      '--verify-crl',
      '--load-ca-certificate',
      ca,
      '--infile',
      await file('check.pem', pemEncode('X509 CRL', der)),
    ]);
    assert.match(stdout, /Verified/);
  }

  await server.restart();
  assert.deepEqual(
    await crl(issuing['id']),
    after.raw,
    'kept, and not signed anew without a reason',
  );

  const raised = await svid(server, agent, entryId);
  for (const reason of ['superseded', 'keyCompromise'])
    await server.admin('Certificates/RevokeCertificate', { serial: raised.serial, reason });
  await until(
    async () =>
      unwrap(parseCrl(await crl(issuing['id']))).revoked.get(raised.serial)?.reasonCode === 1,
  );
});

test('a certificate with noRevAvail is revoked on record, on no CRL, and the answer says what that means', async (context) => {
  const { server, crl, authorities } = await serverOf(context);
  const agent = await server.joinAgent('n2');
  const entryId = await entry(server, 'web', agent.spiffeId, 'short-lived');
  const short = await svid(server, agent, entryId);
  const revoked = await server.admin('Certificates/RevokeCertificate', { serial: short.serial });
  const leaf = unwrap(parseCertificate(short.chainDer[0] as Buffer));
  assert.ok(revoked.revocationNote.includes(new Date(leaf.notAfter * 1000).toISOString()));
  assert.match(revoked.revocationNote, /relying parties learn nothing.*meshca entry delete/);
  const listed = await svid(
    server,
    agent,
    await entry(server, 'batch', agent.spiffeId, 'revocable'),
  );
  const { revocationNote } = await server.admin('Certificates/RevokeCertificate', {
    serial: listed.serial,
  });
  assert.equal(revocationNote, '');
  const { issuing } = await authorities();
  await until(async () => unwrap(parseCrl(await crl(issuing['id']))).revoked.has(listed.serial));
  assert.ok(!unwrap(parseCrl(await crl(issuing['id']))).revoked.has(short.serial));
  const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'certificate.revoked' });
  assert.deepEqual(
    records.map(({ canonical }) => canonical.includes('learn nothing: noRevAvail')),
    [true, false],
  );
});

test('a certificate that can not be revoked is refused with its end and with what ends it', async (context) => {
  const { server } = await serverOf(context);
  const agent = await server.joinAgent('n2');
  const revoke = async (serial: string, reason = ''): Promise<PkiError> =>
    server.admin('Certificates/RevokeCertificate', { serial, reason }).then(
      () => assert.fail('revoked'),
      (error: PkiError) => error,
    );
  const node = await revoke(agent.serial);
  assert.equal(node.code, 'REVOCATION_NOT_POSSIBLE');
  assert.match(node.next, /meshca agent ban.*ends at 20/);
  assert.equal((await revoke('ab'.repeat(16))).code, 'NOT_FOUND');
  assert.equal((await revoke(agent.serial, 'because')).code, 'INVALID_REQUEST');
});

test('revoking takes the verb over the identity', async (context) => {
  const { server } = await serverOf(context);
  const agent = await server.joinAgent('n3');
  const batch = await svid(
    server,
    agent,
    await entry(server, 'team-a/batch', agent.spiffeId, 'revocable'),
  );
  const alice = await server.mint(spiffeId('people/alice'), { admin: true });
  const as = (): Promise<unknown> =>
    unaryCall(server.client(alice), '/meshca.admin.v1.Certificates/RevokeCertificate', {
      serial: batch.serial,
    });
  assert.equal(await codeOf(as()), 'ROLE_MISSING');
  await server.admin('Roles/PutRole', {
    role: {
      name: 'reader',
      verbs: ['certificate.read'],
      prefixes: [spiffeId('team-a/')],
      members: [alice.spiffeId],
    },
  });
  assert.equal(await codeOf(as()), 'ROLE_MISSING');
  await server.admin('Roles/PutRole', {
    role: {
      name: 'other',
      verbs: ['certificate.revoke'],
      prefixes: [spiffeId('team-b/')],
      members: [alice.spiffeId],
    },
  });
  assert.equal(
    await codeOf(as()),
    'NOT_FOUND',
    'of another team it is not even told that it exists',
  );
  await server.admin('Roles/PutRole', {
    role: {
      name: 'revoker',
      verbs: ['certificate.revoke'],
      prefixes: [spiffeId('team-a/')],
      members: [alice.spiffeId],
    },
  });
  assert.equal(await codeOf(as()), 'resolved');
});

async function agentOf(
  context: TestContext,
  server: TestServer,
): Promise<{ agent: RunningAgent; socketPath: string; agentId: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-rev-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'node' });
  const config = agentConfigSchema.parse({
    trustDomain: testTrustDomain,
    serverAddress: `127.0.0.1:${server.server.port}`,
    dataDir: join(directory, 'd'),
    bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
    attestation: { joinToken: { token } },
    workloadApi: { socketPath: join(directory, 'w') },
    localApi: { socketPath: join(directory, 'l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 50, backoffCapMs: 200 },
  });
  const agent = await startAgent(agentEnvironment(config));
  defer(context, () => agent[Symbol.asyncDispose]());
  return { agent, socketPath: join(directory, 'w'), agentId };
}

test('CRLs reach workloads as a complete set, and a library that enforces them refuses a revoked peer', async (context) => {
  const { server } = await serverOf(context);
  const { agent, socketPath, agentId } = await agentOf(context, server);
  await until(() => agent.status().connected === true && agent.status().synced === true);
  await entry(server, 'batch', agentId, 'revocable');
  await until(() => agent.status().entries === 1);
  const [strict, lax, peer] = await Promise.all([
    X509Source.connect({ socketPath, crl: 'enforce' }),
    X509Source.connect({ socketPath }),
    X509Source.connect({ socketPath }),
  ]);
  for (const source of [strict, lax, peer]) defer(context, () => source.close());
  const ports: number[] = [];
  for (const source of [strict, lax]) {
    const tls = createTlsServer(source, { authorize: authorizeAny() }, (socket) => {
      socket.resume();
      socket.write('welcome');
    });
    ports.push(await listen(tls));
    defer(context, async () => void tls.close());
  }
  const connect = async (port: number | undefined): Promise<boolean> => {
    const socket = await connectTls(peer, {
      expect: authorizeAny(),
      host: '127.0.0.1',
      port: port as number,
    });
    // TLS 1.3: the server's word on our certificate comes after the handshake
    return new Promise((resolve) => {
      socket.once('data', () => {
        resolve(true);
        socket.destroy();
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(false));
    });
  };
  assert.deepEqual([await connect(ports[0]), await connect(ports[1])], [true, true]);
  const open = await connectTls(peer, {
    expect: authorizeAny(),
    host: '127.0.0.1',
    port: ports[0] as number,
  });
  let cut = false;
  open.resume();
  open.on('error', () => {});
  open.on('close', () => {
    cut = true;
  });

  await server.admin('Certificates/RevokeCertificate', {
    serial: peer.svid.serial,
    reason: 'keyCompromise',
  });
  await until(() => cut);
  assert.deepEqual([await connect(ports[0]), await connect(ports[1])], [false, true]);
  assert.equal(strict.stats().handshakes.server.failed['CERTIFICATE_REVOKED'], 1);
  const shown = await server.admin('Certificates/GetCertificate', { serial: peer.svid.serial });
  assert.ok(Number(shown.revokedAt) > 0);
  assert.equal(shown.revocationReason, 'keyCompromise');
  // one at once after the other: each reaches everybody, though CRLs may bear the same dates
  const batch = await server.joinAgent('n9');
  const entryId = await entry(server, 'other', batch.spiffeId, 'revocable');
  const serials = (await Promise.all([1, 2, 3].map(() => svid(server, batch, entryId)))).map(
    ({ serial }) => serial,
  );
  const seen = new Set<string>();
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  const api = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${socketPath}`,
    credentials.createInsecure(),
  );
  defer(context, () => api.close());
  const stream = api.FetchX509Bundles({}, metadata);
  stream.on('error', () => {});
  stream.on('data', ({ crl }: { crl: Buffer[] }) => {
    for (const der of crl)
      for (const serial of unwrap(parseCrl(der)).revoked.keys()) seen.add(serial);
  });
  for (const serial of serials) {
    await server.admin('Certificates/RevokeCertificate', { serial });
    await until(() => seen.has(serial), `the revocation of ${serial}`);
  }
  // and the server learns who enforces
  await until(async () => {
    const { consumers } = await server.admin('Agents/GetAgent', { spiffeId: agentId });
    return (
      consumers.filter(
        (each: { kind: string; state: string }) =>
          each.kind === 'workload-stream' && each.state === 'confirmed',
      ).length === 4
    );
  });
});
