import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { SpiffeId, TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { pkcs8Of, sha256Hex } from '../../../../src/common/x509/index.ts';
import { BundleStore } from '../../../../sidecar/bundle/index.ts';
import { restoredBundle } from '../../../../sidecar/compose/restored-bundle.ts';
import { agentConfigSchema } from '../../../../sidecar/config.ts';
import { AgentState, LostState, type AgentCredential } from '../../../../sidecar/state/index.ts';
import { agentId, defer, FakeServer, trustDomainName } from '../../../support/agent-fake-server.ts';
import { stateWrites } from '../../../support/state-writes.ts';
import {
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  makeKey,
} from '../../../support/x509.ts';

const trustDomain = TrustDomain.of(trustDomainName);

function credentialOf({ intermediate }: FakeServer): AgentCredential {
  const key = makeKey();
  const { parsed } = makeCertificate({
    key,
    issuer: intermediate,
    extensions: leafExtensions(intermediate, { san: extensions.san([agentId]) }),
  });
  return {
    spiffeId: SpiffeId.of(agentId),
    serial: parsed.serialHex,
    privateKeyPkcs8Der: pkcs8Of(key.privateKey),
    chainDer: [parsed.raw, intermediate.parsed.raw],
    notBefore: parsed.notBefore,
    notAfter: parsed.notAfter,
    lifetimeSeconds: parsed.notAfter - parsed.notBefore,
    usedEvidence: '',
    attestedAnew: false,
  };
}

/** A data directory, and what an agent that starts on it believes. */
async function directoryOf(context: TestContext, bootstrap: object) {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-copy-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const config = agentConfigSchema.parse({
    trustDomain: trustDomainName,
    serverAddress: '127.0.0.1:1',
    dataDir: directory,
    bootstrap,
  });
  return {
    bundleFile: join(directory, 'bundle.json'),
    svidFile: join(directory, 'agent-svid.json'),
    start: async () => {
      const writes = stateWrites();
      const state = await AgentState.open(directory, trustDomain, writes);
      const bundles = new BundleStore(trustDomain, silentLogger, {
        own: (json) => state.saveBundle(json),
        federated: async () => true,
      });
      const lost = await LostState.open(directory, writes);
      const restored = await restoredBundle({
        ...{ state, lost, logger: silentLogger },
        bootstrap: config.bootstrap,
      });
      if (restored !== undefined) bundles.restore(restored);
      await state.credential();
      return { state, bundles, lost: lost.list() };
    },
  };
}

test('a root and an issuer that left the bundle do not come back when bundle.json is destroyed', async (context) => {
  const server = new FakeServer();
  const tainted = makeAuthority('tainted');
  const pem = join(await mkdtemp(join(tmpdir(), 'meshca-pem-')), 'roots.pem');
  defer(context, () => rm(join(pem, '..'), { recursive: true, force: true }));
  await writeFile(pem, server.rootPem);
  for (const bootstrap of [
    { rootFingerprint: sha256Hex(tainted.parsed.raw) },
    { bundlePath: pem },
    { insecureBootstrap: true },
  ]) {
    const { start, bundleFile, svidFile } = await directoryOf(context, bootstrap);
    const issuers = [...server.issuersSha256];
    const before = await start();
    server.issuersSha256 = ['a'.repeat(64), ...issuers];
    await before.bundles.bootstrap(await server.bundleStep(1, server.jwtKeys[0], [tainted]));
    await before.state.saveCredential(credentialOf(server));
    const svidOfFirstStep = await readFile(svidFile, 'utf8');
    server.issuersSha256 = issuers;
    await before.bundles.advance([await server.bundleStep(2)]);

    const believesTheNewest = async (how: string): Promise<void> => {
      const { bundles } = await start();
      assert.equal(bundles.current()?.sequence, 2, how);
      assert.deepEqual(bundles.roots(), [server.root.parsed.raw], how);
      assert.deepEqual([...(bundles.issuersSha256() ?? [])], issuers, how);
    };
    await rm(bundleFile);
    await believesTheNewest('missing');
    await writeFile(bundleFile, '{"keys":');
    await believesTheNewest('damaged');
    // a process that ended between the two files left the older copy
    await writeFile(svidFile, svidOfFirstStep);
    await believesTheNewest('with an older copy');
    await rm(bundleFile);
    await believesTheNewest('missing, after a start with an older copy');
  }
});
