import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import {
  BundleEndpoint,
  bundleDocumentOf,
  foreignRoot,
  newJwtKey,
  svidPair,
  webPair,
} from '../../../support/bundle-endpoint.ts';
import { FederationWorld } from '../../../support/federation-world.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { local, type ServicesWorld } from '../../../support/services-world.ts';

const partner = 'spiffe://partner.test/server';
const root = foreignRoot('partner.test');
const later = foreignRoot('partner.test', { subject: 'a later root' });
const webRoot = foreignRoot('web', { uriSans: [] });
const webRoots = [webRoot.certificateDer.toString('base64')];
const documentOf = bundleDocumentOf({ roots: [root], sequence: 5 });

/** A server that can be restarted, and a database that others can write to. Owner of both. */
class Scene implements AsyncDisposable {
  readonly #dir: string;
  readonly #remains: ServicesWorld['remains'];
  readonly endpoint: BundleEndpoint;
  world: FederationWorld;

  private constructor(dir: string, parts: Pick<Scene, 'endpoint' | 'world'>, remains: object) {
    this.#dir = dir;
    this.#remains = remains as ServicesWorld['remains'];
    this.endpoint = parts.endpoint;
    this.world = parts.world;
  }

  /** The first poll has brought a bundle with the sequence 5. */
  static async open(profile: 'https_web' | 'https_spiffe', document = documentOf): Promise<Scene> {
    const dir = await mkdtemp(join(tmpdir(), 'meshca-restart-'));
    const remains = { path: join(dir, 'meshca.db'), keys: new Map() };
    const web = profile === 'https_web';
    const pair = web ? webPair(webRoot) : svidPair(root, partner);
    const endpoint = await BundleEndpoint.start(pair);
    endpoint.answer = document;
    const world = await FederationWorld.startOn(remains);
    await world.create({
      endpointUrl: endpoint.url,
      endpointProfile: profile,
      endpointSpiffeId: web ? '' : partner,
      webRoots: web ? webRoots : [],
      bundleDocument: Buffer.from(web ? '' : document),
    });
    await world.polled(1);
    assert.equal((await world.view()).bundle?.sequence, 5);
    return new Scene(dir, { endpoint, world }, remains);
  }

  /** Waits for the first poll. Returns its outcome. */
  async restart(): Promise<string> {
    const nowMs = this.world.world.clock.nowMs();
    await this.world[Symbol.asyncDispose]();
    this.world = await FederationWorld.startOn(this.#remains, nowMs);
    await this.world.polled(1);
    return this.world.outcomes[0] as string;
  }

  /** Past the log. */
  alter(column: string, value: string | number): void {
    foreignSql(this.#remains.path, (database) =>
      database.prepare(`UPDATE foreign_bundles SET ${column} = ?`).run(value),
    );
  }

  alertsWith(text: string): number {
    return this.world.alerts.filter(({ message }) => message.includes(text)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
    await this.endpoint[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

const gone: BundleEndpoint['answer'] = (_request, response) => void response.destroy();
const anotherRoots = JSON.stringify([
  foreignRoot('partner.test').certificateDer.toString('base64'),
]);

test('a stale bundle is stale after a restart as well: shown, alerted again, until it is confirmed', async () => {
  await using scene = await Scene.open('https_web');
  const { endpoint } = scene;
  const confirmedAt = (await scene.world.view()).polls?.refreshedAt;
  endpoint.answer = gone;
  for (let polls = 1; polls <= 4; polls += 1) await scene.world.nextPoll();
  assert.equal((await scene.world.view()).stale, true);
  assert.equal(await scene.restart(), 'FEDERATION_ENDPOINT_FAILED');
  const { stale, polls, bundle } = await scene.world.view();
  assert.deepEqual([stale, polls?.refreshedAt, bundle?.sequence], [true, confirmedAt, 5]);
  assert.equal(scene.alertsWith('is stale'), 1);
  assert.match(await scene.world.explain(), /It is stale: nothing has confirmed it since/);
  endpoint.answer = documentOf;
  await scene.world.nextPoll();
  assert.equal((await scene.world.view()).stale, false);
  endpoint.answer = gone;
  assert.equal(await scene.restart(), 'FEDERATION_ENDPOINT_FAILED');
  // one failure after a restart makes nothing stale, and the last success is known
  const healed = await scene.world.view();
  assert.equal(healed.stale, false);
  assert.ok((healed.polls?.refreshedAt ?? 0) > (confirmedAt ?? 0));
  assert.equal(scene.alertsWith('is stale'), 0);
});

test('a bundle that shrank is shown after a restart, and alerted again for a day', async () => {
  const jwtKeys = { k1: newJwtKey() };
  const document = bundleDocumentOf({ roots: [root], sequence: 5, jwtKeys });
  await using scene = await Scene.open('https_web', document);
  scene.endpoint.answer = bundleDocumentOf({ roots: [root], sequence: 6 });
  await scene.world.nextPoll();
  for (const alerts of [1, 0]) {
    assert.equal(await scene.restart(), 'ok');
    assert.deepEqual((await scene.world.view()).polls?.shrunk?.lostJwtKeys, ['k1']);
    assert.equal(scene.alertsWith('has lost keys before'), alerts);
    assert.match(await scene.world.explain(), /it lost keys: JWT key k1/);
    scene.world.world.clock.advance(86_400_000);
  }
});

test('a confirmation is on record once an hour, so that a start knows the last success', async () => {
  await using scene = await Scene.open('https_web');
  for (let polls = 1; polls <= 3; polls += 1) await scene.world.nextPoll();
  const records = async (): Promise<number> =>
    (await scene.world.world.audit('federation.bundle-confirmed')).length;
  assert.equal(await records(), 0, 'the accepted bundle is on record');
  scene.world.world.clock.advance(3_600_000);
  await scene.world.nextPoll();
  await scene.world.nextPoll();
  assert.equal(await records(), 1);
  const { polls } = await scene.world.view();
  scene.endpoint.answer = gone;
  await scene.restart();
  const after = await scene.world.view();
  assert.ok((polls?.refreshedAt ?? 0) - (after.polls?.refreshedAt ?? 0) <= 60);
});

test('an altered row of a bundle counts as none, and the next poll puts a proven one in its place', async () => {
  for (const [column, value] of [
    ['roots', anotherRoots],
    ['sequence', 3],
  ] as const) {
    await using scene = await Scene.open('https_web');
    scene.alter(column, value);
    scene.endpoint.answer = gone;
    await scene.restart();
    assert.equal((await scene.world.view()).bundle, undefined, column);
    assert.equal((await scene.world.foreign.shared()).size, 0);
    // the log remembers the sequence and the keys
    scene.endpoint.answer = bundleDocumentOf({ roots: [root], sequence: 4 });
    assert.equal(await scene.world.refresh(), 'FEDERATION_BUNDLE_ROLLED_BACK');
    scene.endpoint.answer = bundleDocumentOf({ roots: [later], sequence: 5 });
    assert.equal(await scene.world.refresh(), 'FEDERATION_BUNDLE_ROLLED_BACK');
    scene.endpoint.answer = documentOf;
    await scene.world.nextPoll();
    assert.equal((await scene.world.view()).bundle?.sequence, 5);
    assert.equal((await scene.world.foreign.shared()).size, 1);
    // what lost keys meanwhile is noticed
    scene.alter(column, value);
    scene.endpoint.answer = bundleDocumentOf({ roots: [later], sequence: 6 });
    assert.equal(await scene.restart(), 'ok');
    assert.equal((await scene.world.view()).polls?.shrunk?.lostRoots.length, 1);
  }
});

test('a row that is altered under a running server withdraws nothing, and a refresh stores it anew', async () => {
  await using scene = await Scene.open('https_spiffe');
  scene.alter('roots', anotherRoots);
  assert.equal(await scene.world.refresh(), 'ok');
  assert.equal((await scene.world.view()).bundle?.sequence, 5);
  scene.endpoint.answer = gone;
  await scene.restart();
  assert.equal((await scene.world.view()).bundle?.sequence, 5);
});

test('an endpoint with an SVID is verified by the roots of an altered row that the log vouches for', async () => {
  await using scene = await Scene.open('https_spiffe');
  scene.alter('sequence', 9);
  assert.equal(await scene.restart(), 'ok');
  assert.equal((await scene.world.view()).bundle?.sequence, 5);
  // without any such root nothing verifies it
  scene.alter('roots', anotherRoots);
  assert.equal(await scene.restart(), 'FEDERATION_ENDPOINT_UNTRUSTED');
  assert.equal((await scene.world.view()).bundle, undefined);
  assert.match(await scene.world.explain(), /altered past the audit log.*\n[^]*--bundle FILE/);
  // as the advice says
  const { endpoint, world } = scene;
  await world.service.delete(local, 'partner.test', 'altered');
  await world.create({
    ...{ endpointUrl: endpoint.url, endpointProfile: 'https_spiffe' },
    ...{ endpointSpiffeId: partner, bundleDocument: Buffer.from(documentOf) },
  });
  assert.equal(await world.refresh(), 'ok');
});
