import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../src/common/x509/index.ts';
import { istioClientId, istiod, startTestCluster, type TestCluster } from '../support/istio.ts';
import { agentSeat } from '../support/agent-seat.ts';
import { entryCertificate } from '../support/entry-certificate.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { IstioAgent } from './istio-process.ts';

const web = 'spiffe://mesh.test/ns/shop/sa/web';

describe('Istio’s own CA client and secret manager', () => {
  let cluster: TestCluster;
  let server: TestServer;
  let dir: string;

  const grant = (patterns: string[], maxTtlSeconds: number): Promise<unknown> =>
    server.admin('Delegations/CreateDelegation', {
      delegation: { clientId: istioClientId, patterns, maxTtlSeconds },
    });

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-istio-'));
    cluster = await startTestCluster();
    server = await startTestServer({
      config: { ...cluster.config, issuance: { minimumTtlSeconds: 2 } },
    });
    await writeFile(join(dir, 'roots.pem'), certificatesToPem(server.rootsDer));
    await grant(['spiffe://mesh.test/ns/shop/sa/*'], 3600);
    await grant(['spiffe://mesh.test/ns/brief/sa/*'], 4);
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await cluster[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** A client with this token; the CSR names the identity that its pod believes to have. */
  async function agent(
    token: string | undefined,
    over: Readonly<Record<string, string>> = {},
  ): Promise<IstioAgent> {
    const file = join(dir, `token-${crypto.randomUUID()}`);
    if (token !== undefined) await writeFile(file, token);
    return new IstioAgent({
      endpoint: `127.0.0.1:${server.server.port}`,
      name: istiod,
      roots: join(dir, 'roots.pem'),
      id: web,
      ...(token === undefined ? {} : { token: file }),
      ...over,
    });
  }

  const refusal = async (
    token: string,
    over: Readonly<Record<string, string>> = {},
  ): Promise<string> => {
    await using client = await agent(token, over);
    const { event, code } = await client.first();
    return `${event} ${code}`;
  };

  test('obtains a certificate with RSA and ECDSA, and verifies it in both roles', async () => {
    for (const [algorithm, keyType] of [
      ['', 'RSA'],
      ['ECDSA', 'ECDSA'],
    ] as const) {
      await using client = await agent(await cluster.token('shop/web'), { algorithm });
      const line = await client.first();
      // the leaf, its intermediate, and the root: Envoy gets all elements
      assert.partialDeepStrictEqual(line, {
        event: 'identity',
        uris: [web],
        keyType,
        roots: 1,
        chain: 3,
      });
    }
  });

  test('renews by itself with a new key, and each certificate is on record', async () => {
    const id = 'spiffe://mesh.test/ns/brief/sa/job';
    await using client = await agent(await cluster.token('brief/job'), { id });
    await client.until(() => client.identities.length >= 3, 'two renewals');
    const serials = client.identities.map(({ serial }) => serial);
    assert.equal(new Set(serials).size, serials.length);
    assert.deepEqual(
      client.lines.filter(({ event }) => event === 'refused'),
      [],
    );
    const { certificates } = await server.admin('Certificates/ListCertificates', {
      filter: { spiffeId: id },
    });
    for (const serial of serials)
      assert.ok(certificates.some((each) => each.serial === serial && each.state === 'issued'));
  });

  test('is refused with a wrong audience, an ended token, a foreign namespace', async () => {
    const ended = Math.floor(Date.now() / 1000) - 120;
    assert.deepEqual(
      {
        audience: await refusal(await cluster.token('shop/web', { aud: ['vault'] })),
        ended: await refusal(await cluster.token('shop/web', { iat: ended - 600, exp: ended })),
        foreign: await refusal(await cluster.token('bank/vault'), {
          id: 'spiffe://mesh.test/ns/bank/sa/vault',
        }),
        another: await refusal(await cluster.token('shop/api')),
      },
      {
        audience: 'refused Unauthenticated',
        ended: 'refused Unauthenticated',
        foreign: 'refused PermissionDenied',
        another: 'refused PermissionDenied',
      },
    );
  });

  test('is refused with a second name in the request, and with any impersonation', async () => {
    const raw = { mode: 'raw' };
    const api = 'spiffe://mesh.test/ns/shop/sa/api';
    const token = await cluster.token('shop/web');
    assert.equal(await refusal(token, { ...raw, second: api }), 'refused PermissionDenied');
    assert.equal(await refusal(token, { ...raw, impersonate: api }), 'refused Unauthenticated');
    assert.equal(await refusal(token, { ...raw, impersonate: web }), 'refused Unauthenticated');
    await using honest = await agent(token, raw);
    assert.deepEqual(await honest.first(), { event: 'answer', chain: 3 });
  });

  test('comes as a virtual machine with the certificate of an entry, and no token', async () => {
    const vm = 'spiffe://mesh.test/ns/vms/sa/db';
    const { chainDer, privateKey } = await entryCertificate(server, { id: 'vm-db', spiffeId: vm });
    await writeFile(join(dir, 'cert-chain.pem'), certificatesToPem(chainDer));
    await writeFile(join(dir, 'key.pem'), pemEncode('PRIVATE KEY', pkcs8Of(privateKey)));
    await using client = await agent(undefined, { id: vm, 'prov-cert': dir });
    assert.partialDeepStrictEqual(await client.first(), { event: 'identity', uris: [vm] });
  });

  test('does not take the CA for another server', async () => {
    await using client = await agent(await cluster.token('shop/web'), { name: 'localhost' });
    assert.equal((await client.first()).event, 'identity', 'the name of the server itself');
    await using strict = await agent(await cluster.token('shop/web'), {
      name: 'other.example.org',
    });
    assert.equal((await strict.first()).event, 'refused');
  });

  test('gets its identity from the socket of an agent, by the kernel and without a token', async () => {
    const id = 'spiffe://mesh.test/ns/node/sa/job';
    const socketId = 'spiffe://mesh.test/node/istio-socket';
    const socketPath = join(dir, 'istio.sock');
    const made = await server.admin('Tokens/CreateJoinToken', { agentName: 'istio-node' });
    await using seat = await agentSeat(
      server,
      { joinToken: { token: made.token } },
      { sections: { istio: { enabled: true, socketPath, spiffeId: socketId } } },
    );
    await seat.start();
    const ofNode = { parentId: made.agentId, selectors: [`unix:uid:${process.getuid?.()}`] };
    // as pilot-agent has it with CA_ADDR=unix://…: no name beside the address
    const options = { id, endpoint: `unix://${socketPath}`, name: '' };
    await server.admin('Entries/CreateEntries', {
      entries: [{ ...ofNode, id: 'socket', spiffeId: socketId, dnsNames: ['unix'] }],
    });
    await until(() => seat.agent.status().svids?.length === 1, 'the certificate of the socket');
    {
      await using stranger = await agent(undefined, options);
      assert.equal((await stranger.first()).code, 'PermissionDenied');
    }
    await server.admin('Entries/CreateEntries', {
      entries: [{ ...ofNode, id: 'job', spiffeId: id, x509TtlSeconds: 4 }],
    });
    await until(() => seat.agent.status().entries === 2, 'the entry');
    await using client = await agent(undefined, options);
    await client.until(() => client.identities.length >= 3, 'two renewals');
    assert.partialDeepStrictEqual(client.identities[0], { uris: [id], roots: 1, chain: 3 });
    assert.deepEqual(
      client.lines.filter(({ event }) => event === 'refused'),
      [],
    );
    await using other = await agent(undefined, { ...options, id: web });
    assert.equal((await other.first()).code, 'PermissionDenied', 'an identity of another');
    await using named = await agent(undefined, { ...options, name: istiod });
    assert.equal((await named.first()).event, 'refused', 'the socket is not istiod');
    const raw = { ...options, mode: 'raw', impersonate: id };
    assert.equal(await refusal(await cluster.token('shop/web'), raw), 'refused Unauthenticated');
  });
});
