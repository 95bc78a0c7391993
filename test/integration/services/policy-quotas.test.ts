import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { systemClock, uuidv7, type Clock } from '../../../src/common/runtime/index.ts';
import { createCsr } from '../../../src/common/x509/index.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import {
  codeOf,
  startTestServer,
  testTrustDomain,
  unaryCall,
  type TestServer,
} from '../../support/server.ts';

const td = `spiffe://${testTrustDomain}`;
const used = 'POLICY_QUOTA_USED';
let aheadSeconds = 0;
const clock: Clock = {
  ...systemClock,
  now: () => systemClock.now() + aheadSeconds,
  nowMs: () => systemClock.nowMs() + aheadSeconds * 1000,
};
let server: TestServer;
let version = 0;
before(async () => {
  server = await startTestServer({ clock });
});
after(() => server?.[Symbol.asyncDispose]());

async function activate(...rules: readonly object[]): Promise<void> {
  const text = JSON.stringify({ meshcaPolicy: 1, rules });
  await server.admin('Policies/ActivatePolicy', { text, version, reason: 'a test' });
  version += 1;
}
const minted = (path: string): Promise<string> => codeOf(server.mint(`${td}${path}`));
const allow = (name: string, quota: object, more: object = {}) => ({
  name,
  effect: 'allow',
  quota: { per: '10m', ...quota },
  ...more,
});
const sorted = async (calls: readonly Promise<string>[]): Promise<readonly string[]> =>
  (await Promise.all(calls)).toSorted();

test('of many requests at once as many pass as places are free', async () => {
  await activate(allow('few', { count: 3, by: 'rule' }));
  const answers = await sorted(Array.from({ length: 12 }, (_, index) => minted(`/w${index}`)));
  assert.deepEqual(answers, [...Array(9).fill(used), ...Array(3).fill('resolved')]);
});

test('a quota counts by the log: over restarts, altered rows and the end of its time', async () => {
  await server.restart();
  assert.equal(await minted('/late'), 'POLICY_QUOTA_USED');
  foreignSql(join(server.config.dataDir, 'meshca.db'), (database) =>
    database
      .prepare("UPDATE certificates SET state = 'withheld' WHERE profile = 'short-lived'")
      .run(),
  );
  assert.equal(await minted('/late'), used);
  await server.restart();
  const refused = await server.mint(`${td}/late`).then(
    () => assert.fail('it was issued'),
    (thrown: unknown) => PkiError.from(thrown),
  );
  assert.match(refused.message, /the rule few of the policy allows 3 in 600 s, and all are used/);
  const [, free = ''] = /free at (\S+)$/.exec(refused.message) ?? [];
  const wait = Date.parse(free) / 1000 - clock.now();
  assert.ok(wait > 0 && wait <= 600, free);
  aheadSeconds += wait - 1;
  // the second of the last place may end between the two
  if (clock.now() < Date.parse(free) / 1000 - 1) assert.equal(await minted('/late'), used);
  aheadSeconds += 600;
  assert.equal(await minted('/late'), 'resolved');
});

test('another version of the policy with a rule of this name goes on counting', async () => {
  await activate(allow('few', { count: 1, by: 'rule' }, { message: 'fewer' }));
  assert.equal(await minted('/more'), used);
  await activate(allow('few', { count: 2, by: 'rule' }));
  assert.equal(await minted('/more'), 'resolved');
  assert.equal(await minted('/more'), used);
});

test('by SPIFFE ID each has its own places, and a rule without a quota comes first', async () => {
  await activate(allow('each', { count: 1, by: 'spiffe-id' }), {
    name: 'free',
    effect: 'allow',
    spiffeIds: [`${td}/free/*`],
  });
  assert.deepEqual(await sorted([minted('/a'), minted('/a'), minted('/b')]), [
    used,
    'resolved',
    'resolved',
  ]);
  assert.deepEqual(await sorted([minted('/free/a'), minted('/free/a')]), ['resolved', 'resolved']);
});

test('the repeat of a request that was answered takes no second place', async () => {
  await activate(allow('once', { count: 1, by: 'caller' }));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const request = { spiffeId: `${td}/once`, csrDer: createCsr(privateKey), requestId: uuidv7() };
  const first = await server.admin('Certificates/MintX509Svid', request);
  const again = await server.admin('Certificates/MintX509Svid', request);
  assert.equal(again.serial, first.serial);
  assert.equal(await minted('/other'), used);
});

test('certificates and JWT-SVIDs of an agent take places of one quota', async () => {
  const agent = await server.joinAgent('node-1');
  const entry = { id: 'web', spiffeId: `${td}/web`, parentId: agent.spiffeId };
  await server.admin('Entries/CreateEntries', {
    entries: [{ ...entry, selectors: ['unix:uid:1234'] }],
  });
  const asAgent = server.client(agent);
  const selectors = [{ type: 'unix', value: 'uid:1234' }];
  const jwt = (): Promise<string> =>
    codeOf(
      unaryCall(asAgent, '/meshca.issuer.v1.AgentIssuer/SignJwtSvid', {
        ...{ requestId: uuidv7(), entryId: 'web', audience: ['api'], ttlSeconds: 60, selectors },
      }),
    );
  await activate(allow('web', { count: 4, by: 'spiffe-id' }));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const items = Array.from({ length: 2 }, () => ({
    ...{ requestId: uuidv7(), entryId: 'web', csrDer: createCsr(privateKey), selectors },
  }));
  const { results } = await unaryCall(asAgent, '/meshca.issuer.v1.AgentIssuer/SignX509Svids', {
    items,
  });
  assert.deepEqual(
    (results as { readonly svid?: unknown }[]).map(({ svid }) => svid !== null),
    [true, true],
  );
  assert.deepEqual(await sorted([jwt(), jwt(), jwt()]), [used, 'resolved', 'resolved']);
});
