import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import {
  authorityPlans,
  crlUrlOf,
  issuingLifeSeconds,
  minimumAuthorityLifeSeconds,
  serviceSettings,
  signerCount,
  standbySignerCount,
  tokenConfig,
  upstreamAuthority,
  vaultSession,
} from '../../../src/compose/settings.ts';
import { serverConfigSchema, type ServerConfig } from '../../../src/config/index.ts';
import type { VaultSession } from '../../../src/issuance/index.ts';

const pins = { ROOT: 'root-pin', ISSUING: 'issuing-pin', STANDBY: 'standby-pin' };
const day = 86_400;

const configOf = ({ hsm = {}, ...over }: Record<string, object> = {}): ServerConfig =>
  serverConfigSchema.parse({
    trustDomain: 'mesh.test',
    dataDir: '/nowhere',
    hsm: {
      module: '/lib/one.so',
      softhsmConf: '/etc/one.conf',
      root: { label: 'root', pinEnv: 'ROOT' },
      issuing: { label: 'issuing', pinEnv: 'ISSUING' },
      ...hsm,
    },
    ...over,
  });

const upstream = {
  address: 'https://vault.test:8200',
  mount: 'pki',
  rootSha256: ['ab'.repeat(32)],
  ttlDays: 20,
  auth: { token: { file: '/run/token' } },
};

describe('the token of a role', () => {
  const sources = { env: pins, vault: undefined, logger: silentLogger };

  test('has the module and configuration of the HSM; a standby token may have its own', async () => {
    const standby = { label: 'standby', pinEnv: 'STANDBY' };
    const shared = configOf({ hsm: { standby } });
    assert.deepEqual(await tokenConfig(shared, 'issuing', sources), {
      modulePath: '/lib/one.so',
      tokenLabel: 'issuing',
      pin: 'issuing-pin',
      environment: { SOFTHSM2_CONF: '/etc/one.conf' },
    });
    assert.equal((await tokenConfig(shared, 'standby', sources)).modulePath, '/lib/one.so');
    const own = configOf({
      hsm: { standby: { ...standby, module: '/lib/two.so', softhsmConf: '/etc/two.conf' } },
    });
    const { modulePath, environment } = await tokenConfig(own, 'standby', sources);
    assert.deepEqual(
      [modulePath, environment],
      ['/lib/two.so', { SOFTHSM2_CONF: '/etc/two.conf' }],
    );
    assert.equal((await tokenConfig(own, 'root', sources)).modulePath, '/lib/one.so');
  });

  test('that is not configured, or that no token can have, is named', async () => {
    await assert.rejects(tokenConfig(configOf(), 'standby', sources), {
      code: 'CONFIG_INVALID',
      message: /hsm\.standby is not set/,
    });
    await assert.rejects(tokenConfig(configOf(), 'external', sources), { code: 'INTERNAL' });
    await assert.rejects(tokenConfig(configOf(), 'root', { ...sources, env: {} }), {
      code: 'HSM_PIN_MISSING',
    });
  });

  test('takes its PIN from the vault where it is configured to', async () => {
    const pinVault = { mount: 'secret', path: 'meshca/hsm', field: 'pin' };
    const asked: unknown[] = [];
    const vault = {
      secret: async (at: unknown) => {
        asked.push(at);
        return 'vault-pin';
      },
    } as unknown as VaultSession;
    const config = configOf({
      hsm: { root: { label: 'root', pinVault } },
      authorities: { upstream },
    });
    assert.equal((await tokenConfig(config, 'root', { ...sources, vault })).pin, 'vault-pin');
    assert.equal((await tokenConfig(config, 'issuing', { ...sources, vault })).pin, 'issuing-pin');
    assert.deepEqual(asked, [pinVault]);
  });
});

describe('signers', () => {
  test('of a standby token are as many as of the issuing one, unless they are stated', () => {
    const standby = { label: 'standby', pinEnv: 'STANDBY' };
    const same = configOf({ hsm: { signers: 3, standby } });
    assert.deepEqual([signerCount(same), standbySignerCount(same)], [3, 3]);
    const fewer = configOf({ hsm: { signers: 3, standby: { ...standby, signers: 1 } } });
    assert.equal(standbySignerCount(fewer), 1);
    assert.ok(signerCount(configOf()) >= 1);
  });
});

describe('lives', () => {
  test('of an intermediate are what an upstream gives, where it signs', () => {
    const authorities = { issuing: { lifeDays: 30 } };
    const ours = configOf({ authorities });
    const theirs = configOf({ authorities: { ...authorities, source: 'upstream', upstream } });
    assert.equal(issuingLifeSeconds(ours), 30 * day);
    assert.equal(issuingLifeSeconds(theirs), 20 * day);
    assert.equal(authorityPlans(ours).issuing?.lifeSeconds, 30 * day);
    assert.equal(authorityPlans(ours).log?.keyType, 'ec-p256');
  });

  test('of an authority leave room for three of the longest leaf', () => {
    const issuance = { maximumTtlSeconds: 3600, agentTtlSeconds: 7200, serverTtlSeconds: 1800 };
    assert.equal(minimumAuthorityLifeSeconds(configOf({ issuance })), 3 * 7200);
  });
});

test('the address of a CRL has one slash, and there is none without a base', () => {
  const at = (crlBaseUrl?: string): string | undefined =>
    crlUrlOf(configOf(crlBaseUrl === undefined ? {} : { issuance: { crlBaseUrl } }))('a1');
  assert.equal(at('http://ca.test/crl'), 'http://ca.test/crl/a1.crl');
  assert.equal(at('http://ca.test/crl/'), 'http://ca.test/crl/a1.crl');
  assert.equal(at(), undefined);
});

test('rates of services follow the limits, with a burst that lets a few CAs begin at once', () => {
  const config = configOf({
    limits: { downstreamPerMinute: 6 },
    attestation: { perSecond: 20, graceDays: 2 },
  });
  const settings = serviceSettings(config, 1000);
  assert.deepEqual(settings.downstreamTotalRate, { perSecond: 0.1, burst: 10 });
  assert.deepEqual(settings.attestationRate, { perSecond: 20, burst: 100 });
  assert.equal(settings.recoveryGraceSeconds, 2 * day);
});

test('a session with a vault may serve PINs alone: it signs where the source is upstream', async () => {
  assert.equal(await vaultSession(configOf(), systemClock, silentLogger), undefined);
  const pinsAlone = configOf({ authorities: { upstream } });
  const vault = await vaultSession(pinsAlone, systemClock, silentLogger);
  assert.ok(vault !== undefined);
  assert.equal(upstreamAuthority(pinsAlone, vault, systemClock), undefined);
  const signs = configOf({ authorities: { source: 'upstream', upstream } });
  assert.ok(upstreamAuthority(signs, vault, systemClock) !== undefined);
  vault.close();
});
