import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { z } from 'zod';
import {
  configJsonSchema,
  configKeys,
  loadConfig,
} from '../../../../src/common/runtime/config-loader.ts';

const schema = z.strictObject({
  trustDomain: z.string().describe('Name of the trust domain.'),
  hsm: z
    .strictObject({
      module: z.string().default('/usr/lib/x.so'),
      idleSeconds: z.number().int().min(1).default(60),
      verify: z.boolean().default(true),
    })
    .prefault({}),
  operators: z.array(z.number()).default([]),
  names: z.record(z.string(), z.string()).optional(),
});
const load = (
  env: Record<string, string>,
  path?: string,
  ignoreEnv: string[] = [],
): ReturnType<typeof loadConfig<typeof schema>> =>
  loadConfig(schema, { env, envPrefix: 'MESHCA_', path, ignoreEnv });

async function file(context: TestContext, name: string, text: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-config-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

test('a YAML file, overridden by the environment, becomes one frozen record', async (context) => {
  const path = await file(context, 'c.yaml', 'trustDomain: td\nhsm:\n  module: /a.so\n');
  const loaded = await load(
    {
      MESHCA_HSM_MODULE: '/b.so',
      MESHCA_HSM_IDLE_SECONDS: '5',
      MESHCA_HSM_VERIFY: 'false',
      MESHCA_OPERATORS: '1, 2',
      MESHCA_NAMES: '{"a":"b"}',
      OTHER: 'x',
    },
    path,
  );
  assert.ok(loaded.ok);
  assert.deepEqual(loaded.value, {
    trustDomain: 'td',
    hsm: { module: '/b.so', idleSeconds: 5, verify: false },
    operators: [1, 2],
    names: { a: 'b' },
  });
  assert.ok(
    Object.isFrozen(loaded.value) &&
      Object.isFrozen(loaded.value.hsm) &&
      Object.isFrozen(loaded.value.operators),
  );
});

test('unknown keys are refused with the nearest valid one, wherever they stand', async (context) => {
  const path = await file(
    context,
    'c.json',
    '{"trustDomian": "td", "hsm": {"modul": "x"}, "idleSeconds": 4}',
  );
  const loaded = await load({}, path);
  assert.ok(!loaded.ok && loaded.error.code === 'CONFIG_INVALID');
  for (const hint of [
    'did you mean trustDomain?',
    'did you mean hsm.module?',
    'did you mean hsm.idleSeconds?',
  ])
    assert.ok(loaded.error.message.includes(hint), loaded.error.message);
});

test('an unknown variable with the prefix is refused unless it is told apart', async () => {
  const typo = await load({ MESHCA_TRUST_DOMAIN: 'td', MESHCA_HSM_MODUEL: 'x' });
  assert.ok(!typo.ok && typo.error.message.includes('did you mean MESHCA_HSM_MODULE?'));
  assert.ok(
    (await load({ MESHCA_TRUST_DOMAIN: 'td', MESHCA_AGENT_X: 'x' }, undefined, ['MESHCA_AGENT_']))
      .ok,
  );
});

test('values of the wrong type or out of range are refused with their key', async () => {
  for (const [env, key] of [
    [{ MESHCA_HSM_IDLE_SECONDS: 'soon' }, 'hsm.idleSeconds'],
    [{ MESHCA_HSM_IDLE_SECONDS: '0' }, 'hsm.idleSeconds'],
    [{ MESHCA_HSM_VERIFY: 'yes' }, 'hsm.verify'],
    [{}, 'trustDomain'],
  ] as const) {
    const loaded = await load({
      ...(key === 'trustDomain' ? {} : { MESHCA_TRUST_DOMAIN: 'td' }),
      ...env,
    });
    assert.ok(
      !loaded.ok && loaded.error.code === 'CONFIG_INVALID' && loaded.error.message.includes(key),
      key,
    );
  }
});

test('a file that is missing, no mapping, doubled in its keys or not well-formed is refused', async (context) => {
  for (const [name, text] of [
    ['a.json', '{'],
    ['b.yaml', 'a: [1'],
    ['c.yaml', 'trustDomain: a\ntrustDomain: b\n'],
    ['d.yaml', '- a\n'],
    ['e.json', '"x"'],
  ] as const) {
    const loaded = await load({}, await file(context, name, text));
    assert.ok(!loaded.ok && loaded.error.code === 'CONFIG_INVALID', name);
  }
  const missing = await load({}, '/nonexistent/meshca.yaml');
  assert.ok(!missing.ok && missing.error.code === 'CONFIG_INVALID');
});

test('a __proto__ key changes no prototype and is refused', async (context) => {
  for (const [name, text] of [
    ['p.json', '{"trustDomain": "td", "__proto__": {"polluted": true}}'],
    ['p.yaml', 'trustDomain: td\n__proto__:\n  polluted: true\n'],
  ] as const) {
    await load({}, await file(context, name, text));
    assert.equal(({} as { polluted?: boolean }).polluted, undefined);
  }
});

test('every key has its variable and stands in the JSON Schema', () => {
  assert.deepEqual(
    configKeys(schema, 'M_').map(({ path, envName }) => `${path} ${envName}`),
    [
      'trustDomain M_TRUST_DOMAIN',
      'hsm.module M_HSM_MODULE',
      'hsm.idleSeconds M_HSM_IDLE_SECONDS',
      'hsm.verify M_HSM_VERIFY',
      'operators M_OPERATORS',
      'names M_NAMES',
    ],
  );
  const json = configJsonSchema(schema, 'x') as {
    properties: Record<string, unknown>;
    additionalProperties: boolean;
  };
  assert.ok('hsm' in json.properties && json.additionalProperties === false);
});

test('a key tells its type in words, and its default', () => {
  const typed = z.strictObject({
    port: z.number().int().min(0).max(65_535).default(8480),
    seconds: z.number().int().positive().optional(),
    share: z.number().max(1).default(0.5),
    mode: z.enum(['auto', 'sync']).default('auto'),
    on: z.boolean().default(false),
    names: z.array(z.string()).default([]),
    witnesses: z.array(z.strictObject({ url: z.string(), key: z.string() })).optional(),
    either: z.union([z.literal('off'), z.number().int()]),
  });
  assert.deepEqual(
    configKeys(typed, 'M_').map(({ path, type, fallback }) => [path, type, fallback]),
    [
      ['port', 'whole number from 0 to 65535', 8480],
      ['seconds', 'whole number from 1 on', undefined],
      ['share', 'number up to 1', 0.5],
      ['mode', 'one of auto, sync', 'auto'],
      ['on', 'true or false', false],
      ['names', 'list of text', []],
      ['witnesses', 'list of { url, key }', undefined],
      ['either', '"off" or whole number', undefined],
    ],
  );
});
