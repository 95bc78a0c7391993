import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadAgentConfig } from '../../../sidecar/config.ts';

async function problemOf(
  settings: Readonly<Record<string, string>>,
  part = 'SDS',
): Promise<string> {
  const env = {
    MESHCA_AGENT_TRUST_DOMAIN: 'td.test',
    MESHCA_AGENT_SERVER_ADDRESS: 'ca:8443',
    ...Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [`MESHCA_AGENT_${part}_${name}`, value]),
    ),
  };
  const loaded = await loadAgentConfig({ env });
  return loaded.ok ? '' : `${loaded.error.code} ${loaded.error.message}`;
}

test('names of secrets must differ, and be no SPIFFE IDs or names of files', async () => {
  assert.equal(await problemOf({ DEFAULT_SVID_NAME: 'me', ALL_BUNDLES_NAME: 'everybody' }), '');
  assert.match(await problemOf({ DEFAULT_SVID_NAME: 'ROOTCA' }), /^CONFIG_INVALID .*must differ/);
  for (const name of ['spiffe://td.test/web', 'file-root:system', '*', ''])
    assert.match(await problemOf({ DEFAULT_BUNDLE_NAME: name }), /^CONFIG_INVALID /, name);
});

test('what becomes of CRLs is said only where proxies get them', async () => {
  assert.match(await problemOf({ CRL_FAIL_CLOSED: 'true' }), /^CONFIG_INVALID .*set sds\.crls too/);
  assert.equal(await problemOf({ CRL_FAIL_CLOSED: 'true', CRLS: 'true' }), '');
});

test('the socket for Istio needs an identity of the trust domain, and a path of its own', async () => {
  const ofIstio = (more: Readonly<Record<string, string>>): Promise<string> =>
    problemOf({ ENABLED: 'true', ...more }, 'ISTIO');
  const id = { SPIFFE_ID: 'spiffe://td.test/node/istio' };
  assert.equal(await ofIstio(id), '');
  assert.equal(await problemOf({}, 'ISTIO'), '');
  assert.match(await ofIstio({}), /^CONFIG_INVALID .*needs istio\.spiffeId/);
  assert.match(
    await ofIstio({ SPIFFE_ID: 'spiffe://b.test/x' }),
    /not in the trust domain td\.test/,
  );
  assert.match(await ofIstio({ SPIFFE_ID: 'istio' }), /^CONFIG_INVALID /);
  assert.match(
    await ofIstio({ ...id, SOCKET_PATH: '/run/meshca/agent/local.sock' }),
    /istio\.socketPath is that of another socket/,
  );
});
