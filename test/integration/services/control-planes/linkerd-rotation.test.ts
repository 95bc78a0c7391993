import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkerdSuffix } from '../../../../src/domain/index.ts';
import { plane, servingName, startLinkerdMesh, web } from '../../../support/linkerd-mesh.ts';
import { LinkerdProxy } from '../../../support/linkerd-proxy.ts';
import { eventually, quickLives, rotationOf } from '../../../support/mesh.ts';

/** A machine that stands still for seconds lets no leaf expire before its proxy renews. */
const lives = {
  ...quickLives,
  issuance: { ...quickLives.issuance, maximumTtlSeconds: 20 },
};
const seconds = (): number => Math.floor(Date.now() / 1000);

test('a new root waits for the last leaf of a proxy that began with the old roots, and names it', async () => {
  await using mesh = await startLinkerdMesh(lives);
  const { server } = mesh;
  const before = await rotationOf(server).activeId('root');
  const issuing = await rotationOf(server).activeId('issuing');
  const old = mesh.proxy(web);
  await old.certify();
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  const confirmation = async () =>
    (await rotationOf(server).inState('root', 'published'))?.confirmation;
  await eventually('only the proxy is waited for', async () => {
    const now = await confirmation();
    return now?.inferredHolders.length === 1 && now.unprovableUntil < seconds();
  });
  // its next leaf brings no root: the same process goes on with the same anchors
  const { validUntil } = await old.certify();
  const end = validUntil?.seconds ?? 0;
  const restarted = new LinkerdProxy({
    port: server.server.port,
    anchorsDer: (await server.admin('Authorities/GetBundle')).rootsDer as Buffer[],
    servingName,
    name: `web.shop.${linkerdSuffix(plane)}`,
    token: () => mesh.token({ ...web, pod: 'web-1' }),
  });
  await restarted.certify();
  await eventually('the renewal is waited for as well', async () => {
    const now = await confirmation();
    return now?.inferredUntil === end && now.inferredNeeded === 3;
  });
  const [waiting, ...more] = (await confirmation())?.inferredHolders ?? [];
  assert.match(waiting?.holder ?? '', /^linkerd:prod\/shop\/web-0#/);
  assert.deepEqual([waiting?.until, more], [end, []]);
  assert.equal(await rotationOf(server).activeId('root'), before);

  // it ends; a process that began later does not delay the root, as long as it renews
  await eventually('the new root is active', async () => {
    await restarted.certify();
    return (await rotationOf(server).activeId('root')) !== before;
  });
  const active = await rotationOf(server).active('root');
  assert.ok(active.activatedAt > end, `${active.activatedAt} is after ${end}`);
  await eventually(
    'an intermediate below it signs',
    async () => (await rotationOf(server).activeId('issuing')) !== issuing,
  );
  await restarted.certify();
  await assert.rejects(old.certify(), /self[- ]signed|unable to|anchor|issuer/i);
});
