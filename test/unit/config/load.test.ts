import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadServerConfig, rotationPolicy } from '../../../src/config/index.ts';

const environment = (over: Readonly<Record<string, string>>): Record<string, string> => ({
  MESHCA_SERVER_TRUST_DOMAIN: 'mesh.test',
  ...over,
});

test('two roles of tokens in one token are refused, and the message names both', async () => {
  const cases: readonly (readonly [
    first: string,
    second: string,
    over: Readonly<Record<string, string>>,
  ])[] = [
    [
      'hsm.root',
      'hsm.issuing',
      { MESHCA_SERVER_HSM_ISSUING_LABEL: 'one', MESHCA_SERVER_HSM_ROOT_LABEL: 'one' },
    ],
    [
      'hsm.standby',
      'hsm.issuing',
      { MESHCA_SERVER_HSM_ISSUING_LABEL: 'one', MESHCA_SERVER_HSM_STANDBY_LABEL: 'one' },
    ],
    [
      'hsm.root',
      'hsm.standby',
      { MESHCA_SERVER_HSM_ROOT_LABEL: 'one', MESHCA_SERVER_HSM_STANDBY_LABEL: 'one' },
    ],
    [
      'hsm.root',
      'hsm.standby',
      {
        MESHCA_SERVER_HSM_ROOT_LABEL: 'one',
        MESHCA_SERVER_HSM_STANDBY_LABEL: 'one',
        MESHCA_SERVER_HSM_MODULE: '/m.so',
        MESHCA_SERVER_HSM_STANDBY_MODULE: '/m.so',
      },
    ],
  ];
  for (const [first, second, over] of cases) {
    const loaded = await loadServerConfig({ env: environment(over) });
    assert.ok(!loaded.ok, JSON.stringify(over));
    assert.equal(loaded.error.code, 'CONFIG_INVALID');
    assert.ok(
      loaded.error.message.includes(first) && loaded.error.message.includes(second),
      loaded.error.message,
    );
  }
});

test('the same label in another module, or in another SoftHSM, is another token', async () => {
  for (const place of [
    { MESHCA_SERVER_HSM_STANDBY_MODULE: '/other.so' },
    { MESHCA_SERVER_HSM_STANDBY_SOFTHSM_CONF: '/other.conf' },
  ]) {
    const loaded = await loadServerConfig({
      env: environment({
        MESHCA_SERVER_HSM_ROOT_LABEL: 'one',
        MESHCA_SERVER_HSM_STANDBY_LABEL: 'one',
        ...place,
      }),
    });
    assert.ok(loaded.ok, loaded.ok ? '' : loaded.error.message);
  }
});

test('a bundle endpoint lengthens the publication of roots and JWT keys to five refresh hints', async () => {
  const unseen = async (over: Readonly<Record<string, string>>) => {
    const loaded = await loadServerConfig({ env: environment(over) });
    assert.ok(loaded.ok);
    const { root, jwt } = rotationPolicy(loaded.value).unseenSeconds;
    return [root, jwt];
  };
  const hint = { MESHCA_SERVER_ISSUANCE_BUNDLE_REFRESH_HINT_SECONDS: '3600' };
  assert.deepEqual(await unseen(hint), [7_200, 7_200]);
  for (const endpoint of [
    { MESHCA_SERVER_FEDERATION_SPIFFE_PORT: '1' },
    {
      MESHCA_SERVER_FEDERATION_WEB_CERT_FILE: '/c',
      MESHCA_SERVER_FEDERATION_WEB_KEY_FILE: '/k',
    },
  ])
    assert.deepEqual(await unseen({ ...hint, ...endpoint }), [18_000, 18_000]);
});

test('polls of foreign endpoints need a minimum below their maximum', async () => {
  const loaded = await loadServerConfig({
    env: environment({ MESHCA_SERVER_FEDERATION_POLL_MINIMUM_SECONDS: '7200' }),
  });
  assert.ok(!loaded.ok);
  assert.match(loaded.error.message, /federation\.pollMinimumSeconds \(7200\)/);
});

test('names need a root token also below another CA, and lives that cut no leaf of 90 days', async () => {
  const messageOf = async (over: Readonly<Record<string, string>>): Promise<string> => {
    const loaded = await loadServerConfig({
      env: environment({ MESHCA_SERVER_NAMES_ENABLED: 'true', ...over }),
    });
    return loaded.ok ? 'ok' : loaded.error.message;
  };
  const external = { MESHCA_SERVER_AUTHORITIES_SOURCE: 'external' };
  assert.match(await messageOf(external), /names\.enabled needs a token for the root of names/);
  const pin = { MESHCA_SERVER_HSM_ROOT_PIN_FILE: '/run/pin' };
  assert.equal(await messageOf({ ...external, ...pin }), 'ok');
  assert.match(
    await messageOf({
      MESHCA_SERVER_AUTHORITIES_NAMES_ROOT_LIFE_DAYS: '100',
      MESHCA_SERVER_AUTHORITIES_NAMES_ISSUING_LIFE_DAYS: '365',
    }),
    /namesIssuing\.lifeDays \(365\) is longer than authorities\.namesRoot\.lifeDays \(100\)/,
  );
  const short = { MESHCA_SERVER_AUTHORITIES_NAMES_ISSUING_LIFE_DAYS: '200' };
  assert.match(await messageOf(short), /authorities\.namesIssuing\.lifeDays \(200\) leaves/);
  assert.equal(await messageOf({ ...short, MESHCA_SERVER_NAMES_ENABLED: 'false' }), 'ok');
});
