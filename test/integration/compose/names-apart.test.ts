import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { controlId, delegate, Watcher } from '../../support/control-plane.ts';
import { allMethods, startTestServer, unaryCall, type TestServer } from '../../support/server.ts';
import { SimAgent, simServer } from '../../support/sim-agent.ts';
import { until } from '../../support/until.ts';

/** What operators ask about authorities of names, or for certificates of names. */
const ofNames = [
  'Authorities/ListAuthorities',
  'Authorities/RotateAuthorities',
  'Authorities/TaintAuthority',
  'Authorities/ImportCrl',
  'Certificates/IssueCertificate',
].map((path) => `/meshca.admin.v1.${path}`);

/** The bytes of every answer that a client in this process got, by method. */
function recordAnswers(): ReadonlyMap<string, readonly Buffer[]> {
  const answers = new Map<string, Buffer[]>();
  for (const method of Object.values(allMethods())) {
    const read = method.responseDeserialize;
    (method as { responseDeserialize: typeof read }).responseDeserialize = (bytes) => {
      answers.set(method.path, [...(answers.get(method.path) ?? []), bytes]);
      return read(bytes);
    };
  }
  return answers;
}

/** What no answer may contain: certificates, keys, key IDs, IDs and CRLs of authorities of names. */
async function traces(server: TestServer): Promise<ReadonlyMap<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const { authorities } = await server.admin('Authorities/ListAuthorities');
  for (const { id, kind, state, certificateDer, subjectKeyId } of authorities) {
    if (!kind.startsWith('names-')) continue;
    const what = `${kind} (${state})`;
    found.set(`ID of ${what}`, Buffer.from(id));
    if (certificateDer.length === 0) continue;
    const keyId = Buffer.from(subjectKeyId, 'hex');
    found.set(`certificate of ${what}`, certificateDer);
    // in the SPIFFE bundle as x5c
    found.set(`base64 of ${what}`, Buffer.from(certificateDer.toString('base64')));
    found.set(`key ID of ${what}`, keyId);
    found.set(`text of the key ID of ${what}`, Buffer.from(subjectKeyId));
    const crl = await fetch(`http://127.0.0.1:${server.server.httpPorts.plain}/crl/${id}.crl`);
    if (crl.status === 200) found.set(`CRL of ${what}`, Buffer.from(await crl.arrayBuffer()));
  }
  return found;
}

const sync = '/meshca.issuer.v1.AgentIssuer/Sync';

async function askAsAgent(server: TestServer, agent: SimAgent): Promise<void> {
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://mesh.test/web-${uuidv7()}`,
        parentId: agent.credential.spiffeId,
        selectors: ['unix:uid:1'],
      },
    ],
  });
  const entryId = results[0]!.id;
  await until(() => agent.issuersDer.length > 0, 'the agent has the chains');
  await agent.renew(entryId);
  await agent.renewSelf();
  const client = server.client(agent.credential);
  await unaryCall(client, '/meshca.issuer.v1.AgentIssuer/SignJwtSvid', {
    requestId: uuidv7(),
    entryId,
    audience: ['a'],
    selectors: [{ type: 'unix', value: 'uid:1' }],
  });
  await unaryCall(server.client(), '/meshca.issuer.v1.NodeAttestation/FetchBundleSteps', {
    sequence: 0,
  });
}

async function askAsControlPlane(server: TestServer): Promise<Watcher> {
  await delegate(server, 'mesh');
  const client = server.client(await server.mint(controlId('mesh')));
  const watcher = new Watcher(client, { instance: 'one' });
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const request = {
    requestId: uuidv7(),
    spiffeId: 'spiffe://mesh.test/ns/mesh/sa/web',
    csrDer: createCsr(privateKey),
  };
  await unaryCall(client, '/meshca.signing.v1.Signing/Sign', request);
  await unaryCall(client, '/meshca.signing.v1.Signing/SignBatch', {
    items: [{ ...request, requestId: uuidv7() }],
  });
  await until(
    () => watcher.roots.length > 0 && (watcher.state.crls?.crls.length ?? 0) > 0,
    'the control plane has roots and CRLs',
  );
  return watcher;
}

test('nothing of an authority of names reaches an agent, a workload or a control plane', async () => {
  const answers = recordAnswers();
  await using server = await startTestServer({
    config: { names: { enabled: true }, issuance: { crlBaseUrl: 'http://ca.test/crl' } },
  });
  await using agent = await SimAgent.join(simServer(server), 'node');
  await askAsAgent(server, agent);
  const watcher = await askAsControlPlane(server);
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  await server.admin('Certificates/IssueCertificate', {
    dnsNames: ['www.example.test'],
    csrDer: createCsr(privateKey),
    profile: 'classic',
  });
  // one that is tainted while its leaf is live, one that follows, and a root that is published
  const listed = async (kind: string, state: string): Promise<readonly string[]> =>
    (await server.admin('Authorities/ListAuthorities', { kind, state })).authorities.map(
      ({ id }) => id,
    );
  const [first] = await listed('names-issuing', 'active');
  await server.admin('Authorities/TaintAuthority', { id: first!, reason: 'a test' });
  await until(
    async () => (await listed('names-issuing', 'tainted')).length === 1,
    'an authority of names is tainted',
  );
  await server.admin('Authorities/RotateAuthorities', { kind: 'names-root' });
  await until(
    async () => (await listed('names-root', 'published')).length === 1,
    'a root of names is published',
  );
  // a change of the mesh: agent and control plane are told everything again
  const told = answers.get(sync)?.length ?? 0;
  await server.admin('Authorities/RotateAuthorities', {
    kind: 'issuing',
    force: true,
    reason: 'a test',
  });
  await until(async () => (await listed('issuing', 'old')).length === 1, 'it is rotated');
  await until(() => (answers.get(sync)?.length ?? 0) > told, 'the agent is told');
  await askAsAgent(server, agent);
  await server.admin('Authorities/GetBundle');
  await server.admin('Tokens/CreateJoinToken', { agentName: 'other' });
  assert.deepEqual(watcher.state.taints?.authorities ?? [], []);
  assert.deepEqual(agent.tainted, []);
  const needles = await traces(server);
  assert.ok([...needles.keys()].some((what) => what.startsWith('CRL of names-root')));
  assert.ok([...needles.keys()].some((what) => what.includes('(tainted)')));
  const bundle = await fetch(`http://127.0.0.1:${server.server.httpPorts.plain}/bundle`);
  const all = new Map(answers).set('HTTP /bundle', [Buffer.from(await bundle.arrayBuffer())]);
  for (const path of [
    '/meshca.issuer.v1.NodeAttestation/Attest',
    '/meshca.issuer.v1.NodeAttestation/FetchBundleSteps',
    '/meshca.issuer.v1.AgentIssuer/RenewAgent',
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    '/meshca.issuer.v1.AgentIssuer/SignJwtSvid',
    sync,
    '/meshca.signing.v1.Signing/Sign',
    '/meshca.signing.v1.Signing/SignBatch',
    '/meshca.signing.v1.Signing/WatchBundle',
  ])
    assert.ok((all.get(path)?.length ?? 0) > 0, `${path} was asked`);
  for (const [path, bytes] of all) {
    if (ofNames.includes(path)) continue;
    for (const [what, needle] of needles)
      for (const answer of bytes) assert.equal(answer.includes(needle), false, `${path}: ${what}`);
  }
  const issued = all.get('/meshca.admin.v1.Certificates/IssueCertificate') as readonly Buffer[];
  assert.ok(
    [...needles.values()].some((needle) => issued[0]?.includes(needle)),
    'the search finds what is there',
  );
});
