import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { X509Source } from '../../../../src/workload/index.ts';
import {
  eventually,
  quickLives,
  rotationOf,
  startNode,
  startTraffic,
} from '../../../support/mesh.ts';
import { codeOf, startTestServer } from '../../../support/server.ts';
import { rotationLooked } from '../../../support/settled.ts';
import { SimAgent, simServer } from '../../../support/sim-agent.ts';
import { until } from '../../../support/until.ts';

test('with a cross-certificate chains verify under either root, and the old one stays until withdrawal', async (context) => {
  const server = await startTestServer({
    config: { ...quickLives, rotation: { ...quickLives.rotation, crossCertificates: true } },
  });
  context.after(() => server[Symbol.asyncDispose]());
  const { activeId, byId, status } = rotationOf(server);
  await using agent = await SimAgent.join(simServer(server), 'node');
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: 'spiffe://mesh.test/web',
        parentId: agent.credential.spiffeId,
        selectors: ['unix:uid:1'],
      },
    ],
  });
  const from = await activeId('root');
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('an intermediate under the new root signs', async () => {
    const { authorities } = await status();
    const [root, issuing] = ['root', 'issuing'].map(
      (kind) =>
        authorities.findLast(
          ({ authority }) => authority!.kind === kind && authority!.state === 'active',
        )?.authority,
    );
    return root?.id !== from && issuing?.parentId === root?.id;
  });
  const to = await activeId('root');
  const cross = (fromId: string, toId: string) =>
    server.admin('AuthoritySources/CrossSign', { fromId, toId });
  const made = await cross(from, to);
  assert.equal(made.inChains, true);
  assert.equal(made.authority!.state, 'published');
  assert.equal(made.authority!.parentId, from);
  assert.equal(await codeOf(cross(from, to)), 'ALREADY_EXISTS');
  assert.equal(await codeOf(cross(to, to)), 'INVALID_REQUEST');
  assert.equal(await codeOf(cross(to, from)), 'CONFLICT');
  assert.equal(await codeOf(cross(await activeId('issuing'), to)), 'AUTHORITY_UNFIT');

  const openssl = (rootDer: Buffer, chainDer: readonly Buffer[]): string => {
    const file = (name: string, ders: readonly Buffer[]): string => {
      writeFileSync(join(server.dir, name), certificatesToPem([...ders]));
      return join(server.dir, name);
    };
    const { stdout, stderr } = spawnSync(
      'openssl',
      [
        'verify',
        '-x509_strict',
        '-no-CApath',
        '-no-CAstore',
        '-CAfile',
        file('only.pem', [rootDer]),
        '-untrusted',
        file('above.pem', chainDer.slice(1)),
        file('leaf.pem', chainDer.slice(0, 1)),
      ],
      { encoding: 'utf8' },
    );
    return `${stdout}${stderr}`;
  };
  const certificateOf = async (id: string): Promise<Buffer> =>
    (await server.admin('Authorities/ListAuthorities')).authorities.find((each) => each.id === id)!
      .certificateDer;
  const [oldRoot, newRoot] = [await certificateOf(from), await certificateOf(to)];
  await eventually(
    'chains end with it',
    async () => (await agent.renew(results[0]!.entry!.id)).chainDer.length === 3,
  );
  const chain = agent.leaf?.chainDer ?? [];
  assert.match(openssl(oldRoot, chain), /leaf\.pem: OK/);
  assert.match(openssl(newRoot, chain), /leaf\.pem: OK/);
  assert.doesNotMatch(openssl(oldRoot, chain.slice(0, 2)), /OK/);
  // a real agent, and workloads that talk to each other, take such chains as they are
  const node = await startNode(server, 'one');
  context.after(() => node[Symbol.asyncDispose]());
  const source = await X509Source.connect({ socketPath: node.socketPath });
  context.after(() => source.close());
  assert.equal(source.svid.chainDer.length, 3);
  let shaken = 0;
  const stop = await startTraffic(source, source, () => (shaken += 1));
  await until(() => shaken >= 20, 'handshakes');
  assert.deepEqual((await stop()).failed, []);
  const serial = made.authority!.id;
  const { records } = await server.admin('Audit/ListAuditRecords', {
    kind: 'authority.cross',
    page: { size: 10, token: '' },
  });
  assert.deepEqual(
    records.map(({ subject }) => subject),
    [serial],
  );

  await rotationLooked(server);
  assert.equal((await byId(from)).authority.state, 'old');
  await server.admin('Authorities/WithdrawAuthority', {
    id: made.authority!.id,
    reason: 'everybody has the new root',
  });
  await eventually(
    'chains go without it',
    async () => (await agent.renew(results[0]!.entry!.id)).chainDer.length === 2,
  );
});
