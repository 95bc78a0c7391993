import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { test, type TestContext } from 'node:test';
import type { PkiError } from '../../../../src/common/errors/index.ts';
import { eventually } from '../../../support/mesh.ts';
import { codeOf, startTestServer, type TestServer } from '../../../support/server.ts';
import { rotationLooked } from '../../../support/settled.ts';
import { createTokens } from '../../../support/softhsm.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';

const quick = {
  issuance: {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: 20,
    maximumTtlSeconds: 60,
    agentTtlSeconds: 60,
    serverTtlSeconds: 60,
    jwtMaximumTtlSeconds: 60,
    jwtDefaultTtlSeconds: 30,
    bundleRefreshHintSeconds: 1,
  },
  rotation: { marginSeconds: 60, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};

interface Mesh {
  readonly server: TestServer;
  readonly agents: readonly SimAgent[];
  readonly entryIds: readonly string[];
}

async function mesh(context: TestContext, count: number, config: object = quick): Promise<Mesh> {
  const server = await startTestServer({ config });
  context.after(() => server[Symbol.asyncDispose]());
  const agents = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      SimAgent.join(simServer(server), `node-${index}`, ['web', 'db']),
    ),
  );
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: agents.map(({ name, credential }) => ({
      spiffeId: `spiffe://mesh.test/${name}`,
      parentId: credential.spiffeId,
      selectors: ['unix:uid:1'],
    })),
  });
  return { server, agents, entryIds: results.map(({ entry }) => entry!.id) };
}

const status = (server: TestServer) => server.admin('Authorities/GetRotationStatus');
const rows = async (server: TestServer, kind: string) =>
  (await status(server)).authorities.filter((each) => each.authority!.kind === kind);
const inState = async (server: TestServer, kind: string, state: string) =>
  (await rows(server, kind)).findLast((each) => each.authority!.state === state)?.authority;
const activeOf = async (server: TestServer, kind: string): Promise<string> =>
  (await inState(server, kind, 'active'))!.id;

test('intermediate, root and JWT key sign only after the agents have confirmed them', async (context) => {
  const { server, agents, entryIds } = await mesh(context, 3);
  const first = {
    root: await activeOf(server, 'root'),
    issuing: await activeOf(server, 'issuing'),
    jwt: await activeOf(server, 'jwt'),
  };
  await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index] as string)));
  assert.ok(agents.every(({ leaf }) => leaf?.authorityId === first.issuing));

  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing' });
  await eventually(
    'a new intermediate signs',
    async () => (await activeOf(server, 'issuing')) !== first.issuing,
  );
  const second = await activeOf(server, 'issuing');
  await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index] as string)));
  assert.ok(agents.every(({ leaf }) => leaf?.authorityId === second));

  await server.admin('Authorities/RotateAuthorities', { kind: 'jwt' });
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('a new root, an intermediate under it, and a JWT key sign', async () => {
    const [root, issuing, jwt] = await Promise.all(
      ['root', 'issuing', 'jwt'].map((kind) => inState(server, kind, 'active')),
    );
    return root!.id !== first.root && issuing!.parentId === root!.id && jwt!.id !== first.jwt;
  });
  await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index] as string)));
  const third = await activeOf(server, 'issuing');
  assert.ok(agents.every(({ leaf }) => leaf?.authorityId === third));
  assert.ok(agents.every(({ rootsDer }) => rootsDer.length === 2));
  // each transition is on record
  const { records } = await server.admin('Audit/ListAuditRecords', { page: { size: 500 } });
  const kinds = records.map(({ kind }) => kind);
  for (const kind of [
    'rotation.opened',
    'authority.prepared',
    'authority.published',
    'authority.active',
    'authority.old',
    'rotation.done',
  ])
    assert.ok(kinds.includes(kind), kind);
});

test('a rotation that can not go on is named, and holds up no other', async (context) => {
  const tokens = await createTokens();
  context.after(() => tokens[Symbol.asyncDispose]());
  const server = await startTestServer({ tokens, config: quick });
  context.after(() => server[Symbol.asyncDispose]());
  const [issuing, jwt] = [await activeOf(server, 'issuing'), await activeOf(server, 'jwt')];
  const { pinFile, pin } = tokens.tokens.root;
  await writeFile(pinFile, '');
  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing' });
  await eventually(
    'the failure is named',
    async () => (await status(server)).failure?.code === 'HSM_PIN_MISSING',
  );
  await server.admin('Authorities/RotateAuthorities', { kind: 'jwt' });
  await eventually(
    'a new JWT key signs',
    async () => (await activeOf(server, 'jwt')) !== jwt && (await status(server)).failure !== null,
  );
  assert.equal(await activeOf(server, 'issuing'), issuing);
  await writeFile(pinFile, pin);
  await eventually(
    'the intermediate signs, and nothing is named any more',
    async () =>
      (await activeOf(server, 'issuing')) !== issuing && (await status(server)).failure === null,
  );
});

test('a rotation waits for the named workload that has not read the new root, then goes on', async (context) => {
  const { server, agents } = await mesh(context, 2);
  const [lagging] = agents as [SimAgent];
  lagging.freeze('db');
  const before = await activeOf(server, 'root');
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('all but one confirmed', async () => {
    const published = (await rows(server, 'root')).find(
      ({ authority }) => authority!.state === 'published',
    );
    return published?.confirmation?.laggardsTotal === 1;
  });
  await rotationLooked(server);
  assert.equal(await activeOf(server, 'root'), before);
  const { confirmation } = (await rows(server, 'root')).find(
    ({ authority }) => authority!.state === 'published',
  )!;
  assert.deepEqual([confirmation!.provenNeeded, confirmation!.provenConfirmed], [6, 5]);
  const [laggard] = confirmation!.laggards;
  assert.deepEqual(
    [laggard!.agentId, laggard!.description, laggard!.state, laggard!.holds],
    [lagging.credential.spiffeId, 'db', 'behind', [before]],
  );
  lagging.thaw('db');
  await eventually('the root signs', async () => (await activeOf(server, 'root')) !== before);
});

test('a forced activation needs a reason and stands in the log with whoever was left out', async (context) => {
  const { server, agents } = await mesh(context, 2);
  (agents[0] as SimAgent).freeze();
  const before = await activeOf(server, 'jwt');
  await server.admin('Authorities/RotateAuthorities', { kind: 'jwt' });
  await eventually(
    'it is published',
    async () => (await inState(server, 'jwt', 'published')) !== undefined,
  );
  assert.equal(
    await codeOf(server.admin('Authorities/ContinueRotation', { kind: 'jwt', force: true })),
    'INVALID_REQUEST',
  );
  await server.admin('Authorities/ContinueRotation', {
    kind: 'jwt',
    force: true,
    reason: 'the node is in repair',
  });
  await eventually('it signs', async () => (await activeOf(server, 'jwt')) !== before);
  const { records } = await server.admin('Audit/ListAuditRecords', {
    page: { size: 100 },
    kind: 'authority.active',
  });
  const { detail, actor } = JSON.parse(records.at(-1)!.canonical.toString('utf8').split('\n')[1]!);
  assert.deepEqual(
    [actor, detail.without, detail.reason],
    [`uid:${process.getuid?.() ?? 0}`, 'forced', 'the node is in repair'],
  );
  assert.ok(detail.laggards.includes((agents[0] as SimAgent).credential.spiffeId));
});

test('a taint of the only issuer makes its successor first, and a revocation waits for the leaves', async (context) => {
  const { server, agents, entryIds } = await mesh(context, 2);
  await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index] as string)));
  const stolen = await activeOf(server, 'issuing');
  await server.admin('Authorities/TaintAuthority', {
    id: stolen,
    reason: 'stolen',
    windowSeconds: 2,
  });
  await eventually(
    'it is tainted, another signs',
    async () =>
      (await inState(server, 'issuing', 'tainted'))?.id === stolen &&
      (await activeOf(server, 'issuing')) !== stolen,
  );
  await eventually('the agents are told', async () =>
    agents.every(({ tainted }) => tainted.includes(stolen)),
  );
  assert.equal(
    await codeOf(server.admin('Authorities/RevokeAuthority', { id: stolen, reason: 'gone' })),
    'AUTHORITY_IN_USE',
  );
  await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index] as string)));
  assert.ok(agents.every(({ leaf }) => leaf?.authorityId !== stolen));
  await server.admin('Authorities/RevokeAuthority', { id: stolen, reason: 'gone', force: true });
  await eventually(
    'it is revoked',
    async () => (await inState(server, 'issuing', 'revoked'))?.id === stolen,
  );
});

test('illegal steps are refused with the legal ones, and a rotation that stops goes on when it is told', async (context) => {
  const { server } = await mesh(context, 1);
  await server.admin('Authorities/RotateAuthorities', { kind: 'issuing', stopAfter: 'prepared' });
  await assert.rejects(
    server.admin('Authorities/RotateAuthorities', { kind: 'issuing' }),
    ({ code, next }: PkiError) =>
      code === 'CONFLICT' &&
      /^"meshca authority status" shows it.*authority withdraw ID/.test(next),
  );
  await eventually(
    'it is prepared',
    async () => (await inState(server, 'issuing', 'prepared')) !== undefined,
  );
  const prepared = await inState(server, 'issuing', 'prepared');
  assert.equal(
    await codeOf(server.admin('Authorities/RevokeAuthority', { id: prepared!.id, reason: 'x' })),
    'CONFLICT',
  );
  await server.admin('Authorities/ContinueRotation', { id: prepared!.id, stopAfter: 'published' });
  await eventually(
    'it is published',
    async () => (await inState(server, 'issuing', 'published'))?.id === prepared!.id,
  );
  await server.admin('Authorities/WithdrawAuthority', {
    id: prepared!.id,
    reason: 'changed our minds',
  });
  await eventually(
    'it is withdrawn',
    async () => (await inState(server, 'issuing', 'withdrawn'))?.id === prepared!.id,
  );
  assert.equal((await status(server)).operations.length, 0);
});

test('after a compromise the leaves are replaced, and the new bundle refuses leaves of the old chain', async (context) => {
  const { server, agents, entryIds } = await mesh(context, 2);
  await Promise.all(agents.map((agent, index) => agent.renew(entryIds[index] as string)));
  const [stolen, oldRoot] = [await activeOf(server, 'issuing'), await activeOf(server, 'root')];
  const before = agents.map(({ leaf }) => leaf as NonNullable<typeof leaf>);
  const plan = await server.admin('Authorities/PlanCompromise', { id: stolen });
  assert.deepEqual(
    [plan.tainted, plan.replacesRoot, plan.consumersEnforcingCrl, plan.consumers],
    [[stolen, oldRoot], true, 0, 4],
  );
  assert.ok(plan.live >= 4 && plan.exposedUntil > Date.now() / 1000);
  assert.equal(await activeOf(server, 'issuing'), stolen);

  await server.admin('Authorities/CompromiseAuthority', {
    id: stolen,
    reason: 'the token was copied',
    windowSeconds: 5,
  });
  await eventually('old root and intermediate are tainted, others sign', async () => {
    const [root, issuing] = await Promise.all([rows(server, 'root'), rows(server, 'issuing')]);
    return (
      root.some(({ authority }) => authority!.id === oldRoot && authority!.state === 'tainted') &&
      issuing.some(
        ({ authority }) => authority!.state === 'active' && authority!.parentId !== oldRoot,
      )
    );
  });
  // the holders replace everything, their own SVIDs first
  for (const [index, agent] of agents.entries()) {
    await agent.renewSelf();
    await agent.renew(entryIds[index] as string);
  }
  await eventually('nothing of it is live: it leaves', async () => {
    const [root] = (
      await server.admin('Authorities/ListAuthorities', { kind: 'root' })
    ).authorities.filter(({ id }) => id === oldRoot);
    return root!.state === 'revoked';
  });
  const { rootsDer } = await server.admin('Authorities/GetBundle');
  assert.equal(rootsDer.length, 1);
  const verifies = (chainDer: readonly Buffer[]): boolean => {
    const links = [...chainDer, rootsDer[0] as Buffer].map((der) => new X509Certificate(der));
    return links.every(
      (link, index) =>
        index === links.length - 1 ||
        (link.checkIssued(links[index + 1] as X509Certificate) &&
          link.verify((links[index + 1] as X509Certificate).publicKey)),
    );
  };
  assert.ok(agents.every(({ leaf }) => verifies((leaf as NonNullable<typeof leaf>).chainDer)));
  assert.ok(before.every(({ chainDer }) => !verifies(chainDer)));
});
