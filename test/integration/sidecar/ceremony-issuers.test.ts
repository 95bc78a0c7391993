import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  createCsr,
  parseCertificate,
  pemEncode,
  sha256Hex,
} from '../../../src/common/x509/index.ts';
import { createCeremonyDesk, type CeremonyDesk } from '../../support/ceremony.ts';
import {
  connected,
  nodeAt,
  refused,
  rotateIssuing,
  tellsNothing,
  wakesAfter,
} from '../../support/first-contact.ts';
import { authorityOf, poseAsServer, startJunction, type Impostor } from '../../support/impostor.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';
import { extensions, makeAuthority, makeKey, type TestCertificate } from '../../support/x509.ts';

const seconds = Math.floor(Date.now() / 1000);
const validity = { notBefore: seconds - 3600, notAfter: seconds + 300 * 86_400 };

describe('below an offline root whose ceremony marked the intermediate of the server', () => {
  let desk: CeremonyDesk;
  let server: TestServer;
  let rootDer: Buffer;
  let downstream: TestCertificate;
  const impostors: Impostor[] = [];
  let count = 0;
  const certificates = (name: string): readonly Buffer[] =>
    unwrap(certificatesFromPem(readFileSync(desk.file(name), 'utf8')));

  /** What a ceremony gives to the key of this CSR. */
  const certified = async (csrDer: Buffer, purpose: string): Promise<Buffer> => {
    count += 1;
    const [csr, out] = [`${count}.csr`, `${count}.pem`];
    writeFileSync(desk.file(csr), pemEncode('CERTIFICATE REQUEST', csrDer));
    const asked = { issuer: 'root.pem', csr, csrSha256: sha256Hex(csrDer), for: purpose, out };
    await desk.hold(desk.plan({ intermediate: asked }));
    return certificates(out)[0] as Buffer;
  };
  /** The next intermediate of the server, from its CSR through the ceremony to the import. */
  const certifyServer = async (): Promise<void> => {
    const { csrDer, authority } = await server.admin('AuthoritySources/CreateAuthorityCsr', {
      kind: 'issuing',
    });
    const { warnings } = await server.admin('AuthoritySources/ImportAuthority', {
      id: authority!.id,
      certificatesDer: [await certified(csrDer, 'server'), rootDer],
    });
    assert.doesNotMatch(warnings.join('\n'), /issuerFingerprint/);
  };
  /** What the root certifies of another root of the trust domain, which marks nobody. */
  const crossOf = async (root: TestCertificate): Promise<Buffer> => {
    writeFileSync(desk.file('older.pem'), pemEncode('CERTIFICATE', root.parsed.raw));
    const subject = { subject: 'older.pem', subjectSha256: sha256Hex(root.parsed.raw) };
    await desk.hold(
      desk.plan({
        crossCertificate: { issuer: 'root.pem', ...subject, lifeDays: 200, out: 'cross.pem' },
      }),
    );
    return certificates('cross.pem')[0] as Buffer;
  };
  const pose = async (authority: TestCertificate, ...aboveDer: Buffer[]): Promise<Impostor> => {
    const impostor = await poseAsServer(authority, [...aboveDer, rootDer]);
    impostors.push(impostor);
    return impostor;
  };

  before(async () => {
    desk = await createCeremonyDesk(testTrustDomain);
    server = await startTestServer({
      config: {
        authorities: { source: 'external' },
        issuance: { bundleRefreshHintSeconds: 1 },
        rotation: { automatic: false },
      },
    });
    await desk.hold(desk.plan({ root: { lifeDays: 3650, out: 'root.pem' } }));
    rootDer = certificates('root.pem')[0] as Buffer;
    await certifyServer();
    await until(() => server.server.port > 0, 'the server has its intermediate');

    const key = makeKey();
    downstream = authorityOf(key, await certified(createCsr(key.privateKey), 'downstream'));
    await pose(downstream);
    const older = makeAuthority('Older root', {
      ...validity,
      more: [extensions.san([`spiffe://${testTrustDomain}`], [], false)],
    });
    const crossDer = await crossOf(older);
    const below = { ...validity, issuer: older, pathLength: 0 };
    await pose(makeAuthority('Older issuer', below), crossDer);
    // who may certify CAs can write the mark into them: all that stands above has to have it
    const more = [extensions.serverAuthority()];
    await pose(makeAuthority('Older issuer with a mark', { ...below, more }), crossDer);
  });
  after(async () => {
    for (const impostor of impostors) await impostor[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    await desk?.[Symbol.asyncDispose]();
  });
  const rootFingerprint = (): string => sha256Hex(rootDer);
  const real = (): string => `127.0.0.1:${server.server.port}`;

  test('an agent that knows the root alone believes the server by its mark, and has nothing to say', async () => {
    assert.ok(unwrap(parseCertificate(rootDer)).serverAuthority);
    await using node = await nodeAt(server, real(), { rootFingerprint: rootFingerprint() });
    await node.start();
    await connected(node);
    await tellsNothing(node);
  });

  test('no other CA below that root gets a join token, a self-marked one neither', async () => {
    for (const impostor of impostors) {
      await using node = await nodeAt(server, impostor.address, {
        rootFingerprint: rootFingerprint(),
      });
      await node.start();
      await refused(node);
      assert.deepEqual(impostor.fake.attestations, []);
      // nothing else keeps the node from it: named by the operator, it is sent the token
      await using believing = await nodeAt(server, impostor.address, {
        rootFingerprint: rootFingerprint(),
        issuerFingerprint: impostor.issuerFingerprint,
      });
      await believing.start();
      await until(() => impostor.fake.attestations.length > 0, 'an attestation');
    }
  });

  test('a CA downstream can not hand on what it has not: a marked CA below it is no chain', async () => {
    const more = [extensions.serverAuthority()];
    const below = makeAuthority('Below', { ...validity, issuer: downstream, pathLength: 0, more });
    await using impostor = await poseAsServer(below, [downstream.parsed.raw, rootDer]);
    await using node = await nodeAt(server, impostor.address, {
      rootFingerprint: rootFingerprint(),
      issuerFingerprint: impostor.issuerFingerprint,
    });
    await node.start();
    await until(
      () => /SERVER_UNTRUSTED.*does not verify/.test(node.agent().status().lastError ?? ''),
      'the refusal',
    );
    assert.deepEqual(impostor.fake.attestations, []);
  });

  test('none of them takes over a running agent, and it comes back when the way is free', async () => {
    await using stack = new AsyncDisposableStack();
    const junction = stack.use(await startJunction(server.server.port));
    const node = stack.use(
      await nodeAt(server, junction.address, { rootFingerprint: rootFingerprint() }),
    );
    for (const impostor of impostors) {
      const before = impostor.fake.attestations.length;
      await node.start();
      await connected(node);
      junction.turn(Number(impostor.address.split(':')[1]));
      await refused(node);
      await node.stop();
      await node.start();
      await refused(node);
      assert.deepEqual(
        [impostor.fake.sessions.length, impostor.fake.attestations.length],
        [0, before],
      );
      junction.turn(server.server.port);
      await connected(node);
      await node.stop();
    }
  });

  test('an agent that slept through ceremonies for two intermediates walks to the last of them', async () => {
    await using stack = new AsyncDisposableStack();
    const junction = stack.use(await startJunction(server.server.port));
    const node = stack.use(
      await nodeAt(server, junction.address, { rootFingerprint: rootFingerprint() }),
    );
    await node.start();
    await connected(node);
    await wakesAfter({ node, server, junction }, async () => {
      for (let round = 0; round < 2; round += 1) await rotateIssuing(server, certifyServer);
    });
    // the mark leads those that come now to the new one too
    await using late = await nodeAt(server, real(), { rootFingerprint: rootFingerprint() });
    await late.start();
    await connected(late);
    await tellsNothing(late);
  });
});
