import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  parseCertificate,
  pemEncode,
  sha256Hex,
} from '../../../../src/common/x509/index.ts';
import { rowAt } from '../../../../src/api/index.ts';
import {
  authorizeAny,
  connectTls,
  createTlsServer,
  X509Source,
} from '../../../../src/workload/index.ts';
import { startAgent } from '../../../../sidecar/compose.ts';
import { agentEnvironment } from '../../../support/agent-environment.ts';
import { agentConfigSchema } from '../../../../sidecar/config.ts';
import { createCompanyCa, type CompanyCa } from '../../../support/company-ca.ts';
import {
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  type TestServer,
} from '../../../support/server.ts';
import { until } from '../../../support/until.ts';
import { listen } from '../../../support/workload-lib.ts';

const run = promisify(execFile);
const ders = (...pems: string[]): Buffer[] =>
  pems.flatMap((pem) => [...unwrap(certificatesFromPem(pem))]);
const now = (): number => Math.floor(Date.now() / 1000);

interface Standing {
  readonly authorityId: string;
  readonly source: string;
  readonly state: string;
  readonly number: string;
  readonly unlistedIds: readonly string[];
}

describe('CRLs of a company CA above ours', () => {
  let ca: CompanyCa;
  let server: TestServer;
  const ids = { root: '', sub: '', issuing: '' };
  let issuingSerial = '';

  before(async () => {
    ca = await createCompanyCa();
    server = await startTestServer({ config: { authorities: { source: 'external' } } });
    const { authority, csrDer } = await server.admin('AuthoritySources/CreateAuthorityCsr', {
      kind: 'issuing',
    });
    const certificatesDer = ders(await ca.sign(csrDer), ca.subPem, ca.rootPem);
    issuingSerial = unwrap(parseCertificate(certificatesDer[0] as Buffer)).serialHex;
    const imported = await server.admin('AuthoritySources/ImportAuthority', {
      id: authority!.id,
      certificatesDer,
    });
    Object.assign(ids, {
      root: imported.root!.id,
      sub: imported.above[0]!.id,
      issuing: authority!.id,
    });
    await until(() => server.server.port > 0);
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await ca?.[Symbol.asyncDispose]();
  });

  const take = (crlDer: Buffer, dryRun = false) =>
    server.admin('AuthoritySources/ImportCrl', { crlDer, dryRun });
  const status = async (): Promise<{
    readonly handedOut: boolean;
    readonly of: (id: string) => Standing;
  }> => {
    const { crls, crlsHandedOut } = await server.admin('Authorities/GetRotationStatus');
    return {
      handedOut: crlsHandedOut,
      of: (id) => crls.find(({ authorityId }) => authorityId === id)!,
    };
  };
  const published = async (id: string): Promise<Buffer | number> => {
    const response = await fetch(`http://127.0.0.1:${server.server.httpPorts.plain}/crl/${id}.crl`);
    return response.status === 200 ? Buffer.from(await response.arrayBuffer()) : response.status;
  };
  const metrics = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${server.server.opsPort}/metrics`)).text();

  test('without the CRLs of the company none is handed out, and status names who lacks one', async () => {
    let seen = await status();
    await until(async () => (seen = await status()).of(ids.issuing).state !== 'missing');
    assert.equal(seen.handedOut, false);
    assert.deepEqual(
      [ids.root, ids.sub, ids.issuing].map((id) => [seen.of(id).source, seen.of(id).state]),
      [
        ['external', 'missing'],
        ['external', 'missing'],
        ['own', 'current'],
      ],
    );
    assert.equal(await published(ids.root), 404);
    assert.match(
      await metrics(),
      new RegExp(`meshca_crl_next_update_timestamp_seconds\\{authority="${ids.root}"\\} 0`),
    );
    assert.match(await metrics(), /meshca_crls_handed_out 0/);
  });

  test('what is no good CRL of theirs is refused with its code, and nothing is recorded', async () => {
    const good = await ca.crl('root', { number: '05' });
    const refused = (der: Buffer): Promise<string> => codeOf(take(der));
    const flipped = Buffer.from(good);
    flipped[flipped.length - 1] = (flipped.at(-1) as number) ^ 1;
    assert.equal(await refused(flipped), 'CRL_INVALID');
    assert.equal(await refused(Buffer.concat([good, Buffer.of(0)])), 'CRL_INVALID');
    assert.equal(await refused(Buffer.alloc(0)), 'CRL_INVALID');
    assert.equal(await refused(Buffer.alloc(600_000, 0x30)), 'REQUEST_TOO_LARGE');
    assert.equal(
      await refused(
        await ca.crl('root', {
          number: '05',
          extensions: ['authorityKeyIdentifier=keyid:always', '2.5.29.27=critical,DER:020101'],
        }),
      ),
      'CRL_INVALID',
      'a delta CRL',
    );
    assert.equal(
      await refused(await ca.crl('root', { number: '05', extensions: ['2.5.29.60=DER:0500'] })),
      'CRL_INVALID',
      'without AuthorityKeyIdentifier',
    );
    assert.equal(
      await refused(
        await ca.crl('root', { number: '05', thisUpdate: now() - 9000, lifeSeconds: 5000 }),
      ),
      'CRL_NOT_CURRENT',
    );
    assert.equal(
      await refused(await ca.crl('root', { number: '05', thisUpdate: now() + 9000 })),
      'CRL_NOT_CURRENT',
    );
    await using stranger = await createCompanyCa();
    assert.equal(
      await refused(await stranger.crl('root', { number: '05' })),
      'CRL_ISSUER_UNKNOWN',
      'the same name, another key',
    );
    const ski = unwrap(parseCertificate(ders(ca.rootPem)[0] as Buffer)).subjectKeyId as string;
    await run(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-384',
        '-nodes',
        '-keyout',
        'root.key',
        '-out',
        'root.pem',
        '-days',
        '900',
        '-subj',
        '/O=Company/CN=Company Root',
        '-addext',
        'basicConstraints=critical,CA:TRUE',
        '-addext',
        `subjectKeyIdentifier=${ski}`,
      ],
      { cwd: stranger.dir },
    );
    assert.equal(
      await refused(await stranger.crl('root', { number: '05' })),
      'CRL_INVALID',
      'the same name and key identifier, signed by another key',
    );
    assert.equal(
      await refused((await published(ids.issuing)) as Buffer),
      'CRL_ISSUER_UNKNOWN',
      'what we sign ourselves',
    );
    const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'crl.imported' });
    assert.deepEqual(records, []);
    assert.equal((await status()).of(ids.root).state, 'missing');
  });

  test('a dry run tells the warnings and changes nothing', async () => {
    const short = await ca.crl('root', {
      number: '05',
      lifeSeconds: 86_400,
      revoked: [issuingSerial, '1000'],
    });
    const { warnings, changed, authorityIds } = await take(short, true);
    assert.equal(changed, false);
    assert.deepEqual(authorityIds, [ids.root]);
    assert.match(warnings.join('\n'), /sooner than issuance.crlLifeDays/);
    assert.match(warnings.join('\n'), new RegExp(`it revokes issuing authority ${ids.sub}`));
    assert.equal((await status()).of(ids.root).state, 'missing');
  });

  test('it takes every verb on the whole trust domain', async () => {
    // the server had no root when the test began
    const roots = ders(ca.rootPem);
    const alice = await server.mint('spiffe://mesh.test/people/alice', { admin: true });
    await server.admin('Roles/PutRole', {
      role: {
        name: 'rotator',
        verbs: ['authority.rotate', 'authority.read', 'certificate.revoke'],
        prefixes: ['spiffe://mesh.test/'],
        members: [alice.spiffeId],
      },
    });
    const crlDer = await ca.crl('root', { number: '05' });
    assert.equal(
      await codeOf(
        unaryCall(server.client(alice, roots), '/meshca.admin.v1.AuthoritySources/ImportCrl', {
          crlDer,
        }),
      ),
      'ROLE_MISSING',
    );
  });

  test('under dual control it waits for approval like the import of an authority; a dry run does not', async () => {
    const { dualControl } = rowAt('/meshca.admin.v1.AuthoritySources/ImportCrl');
    assert.ok(typeof dualControl === 'object');
    const matters = (dryRun: boolean) => dualControl.matters({ dryRun }, {} as never);
    assert.deepEqual([await matters(false), await matters(true)], [true, false]);
  });

  test('with the last CRL the set is complete and published, and OpenSSL verifies a leaf with it', async () => {
    assert.equal((await take(await ca.crl('sub', { number: '01' }))).crlsHandedOut, false);
    const crlDer = await ca.crl('root', { number: '05' });
    const taken = await take(crlDer);
    assert.deepEqual(
      [taken.authorityIds, taken.number, taken.revoked, taken.changed, taken.crlsHandedOut],
      [[ids.root], '5', 0, true, true],
    );
    assert.equal((await status()).handedOut, true);
    assert.deepEqual(await published(ids.root), crlDer);
    assert.match(await metrics(), /meshca_crls_handed_out 3/);
    const again = await take(crlDer);
    assert.deepEqual(
      [again.changed, again.crlsHandedOut],
      [false, true],
      'the very same is no error, for scripts',
    );
    const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'crl.imported' });
    assert.deepEqual(
      records.map(({ subject, actor }: { subject: string; actor: string }) => [subject, actor]),
      [
        [ids.sub, `uid:${process.getuid?.()}`],
        [ids.root, `uid:${process.getuid?.()}`],
      ],
    );

    const svid = await server.mint('spiffe://mesh.test/web');
    const directory = await mkdtemp(join(tmpdir(), 'meshca-crl-'));
    try {
      const file = async (name: string, text: string): Promise<string> =>
        writeFile(join(directory, name), text).then(() => join(directory, name));
      const crls = (
        await Promise.all(
          [ids.root, ids.sub, ids.issuing].map(async (id) =>
            pemEncode('X509 CRL', (await published(id)) as Buffer),
          ),
        )
      ).join('');
      const { stdout } = await run('openssl', [
        'verify',
        '-x509_strict',
        '-crl_check_all',
        '-CRLfile',
        await file('crls.pem', crls),
        '-CAfile',
        await file('root.pem', ca.rootPem),
        '-untrusted',
        await file('chain.pem', certificatesToPem(svid.chainDer.slice(1))),
        await file('leaf.pem', certificatesToPem(svid.chainDer.slice(0, 1))),
      ]);
      assert.match(stdout, /OK/);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test('the number must grow, and so must its date; both survive a restart', async () => {
    assert.equal(
      await codeOf(take(await ca.crl('root', { number: '05', revoked: ['77'] }))),
      'CRL_NOT_NEWER',
    );
    assert.equal(await codeOf(take(await ca.crl('root', { number: '04' }))), 'CRL_NOT_NEWER');
    assert.equal(
      await codeOf(take(await ca.crl('root', { number: '06', thisUpdate: now() - 3600 }))),
      'CRL_NOT_NEWER',
    );
    // longer than any integer of a database: 17 octets
    const large = await ca.crl('root', { number: '0100000000000000000000000000000001' });
    assert.equal((await take(large)).number, String(2n ** 128n + 1n));
    await server.restart();
    assert.equal(
      await codeOf(take(await ca.crl('root', { number: '0100000000000000000000000000000000' }))),
      'CRL_NOT_NEWER',
    );
    await until(() => server.server.port > 0);
    const seen = await status();
    assert.equal(seen.handedOut, true);
    assert.equal(seen.of(ids.root).number, String(2n ** 128n + 1n));
    assert.deepEqual(await published(ids.root), large);
  });

  test('workloads that enforce CRLs talk below a company root until it revokes our intermediate', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'meshca-crl-'));
    const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'node' });
    const config = agentConfigSchema.parse({
      trustDomain: testTrustDomain,
      serverAddress: `127.0.0.1:${server.server.port}`,
      dataDir: join(directory, 'd'),
      bootstrap: { rootFingerprint: sha256Hex(ders(ca.rootPem)[0] as Buffer) },
      attestation: { joinToken: { token } },
      workloadApi: { socketPath: join(directory, 'w') },
      localApi: { socketPath: join(directory, 'l') },
      ops: { port: 0 },
      connection: { backoffBaseMs: 50, backoffCapMs: 200 },
    });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rm(directory, { recursive: true, force: true }));
    const agent = stack.use(await startAgent(agentEnvironment(config)));
    await until(() => agent.status().synced === true);
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: 'spiffe://mesh.test/batch',
          parentId: agentId,
          selectors: [`unix:uid:${process.getuid?.()}`],
        },
      ],
    });
    await until(() => agent.status().entries === 1);
    const socketPath = join(directory, 'w');
    const [strict, peer] = await Promise.all([
      X509Source.connect({ socketPath, crl: 'enforce' }),
      X509Source.connect({ socketPath }),
    ]);
    for (const source of [strict, peer]) stack.defer(() => source.close());
    const tls = createTlsServer(strict, { authorize: authorizeAny() }, (socket) => socket.resume());
    stack.defer(() => void tls.close());
    const port = await listen(tls);
    const open = await connectTls(peer, { expect: authorizeAny(), host: '127.0.0.1', port });
    let cut = false;
    open.on('error', () => {});
    open.on('close', () => {
      cut = true;
    });
    open.write('x');
    await until(() => strict.stats().handshakes.server.ok === 1).catch(() =>
      assert.fail(JSON.stringify(strict.stats())),
    );
    assert.equal(cut, false);
    const { warnings } = await take(
      await ca.crl('sub', { number: '02', revoked: [issuingSerial] }),
    );
    assert.match(warnings.join('\n'), /and signs: whoever checks CRLs refuses everything below it/);
    await until(() => cut);
  });
});
