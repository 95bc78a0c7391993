import assert from 'node:assert/strict';
import { chmodSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import type { FileTarget } from '../../sidecar/files/target.ts';
import { deliver, ServedClients, serves, stage } from './served-scene.ts';
import { plannedSet, servedDelivery, type ServedDeliveryOptions } from './served-delivery.ts';
import { ServedTarget } from './served-target.ts';
import type { RunningServer, ServedDirectory } from './servers/index.ts';
import { serverPair, tlsServer } from './tls-servers.ts';
import { until } from './until.ts';

export interface ServedShape {
  readonly name: string;
  readonly start: (directory: ServedDirectory) => Promise<RunningServer>;
  /** It looks at its files by itself, so that nobody need tell it. */
  readonly watches?: boolean;
  /** While it has a pair that does not fit it presents something else, and its clients fail. */
  readonly failsMeanwhile?: boolean;
}

type Scene = Pick<ServedDeliveryOptions, 'planned'> & Partial<ServedDeliveryOptions>;

/** Of a set that is not going to be shown; the one before it is, in as short a time. */
const unproven = { handshakes: 3, timeoutSeconds: 3 };

/** A delivery that has taken up what is served. */
async function taken(served: ServedTarget, scene: Scene) {
  const delivery = servedDelivery({
    target: served.target(),
    journalDirectory: served.journalDirectory,
    offlineCheck: 'on',
    ...scene,
  });
  await delivery.start();
  await until(() => {
    const { state } = delivery.status();
    return state === 'proven' || state === 'applied';
  }, 'the first set is known');
  return delivery;
}

/** A driver of one's own that says it did what it was told. */
function script(served: ServedTarget, ...lines: readonly string[]): FileTarget['driver'] {
  const program = join(served.journalDirectory, 'driver');
  writeFileSync(program, ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(program, 0o755);
  return { type: 'exec', settings: { program }, timeoutSeconds: 1 };
}

/** What a delivery to one real server does when something is wrong, with clients all the while. */
export function servedSuite({ name, start, watches, failsMeanwhile }: ServedShape): void {
  suite(`a delivery to ${name}`, () => {
    test('brings one set after another, and no client is refused', async () => {
      await using served = await ServedTarget.start(start);
      const next = [1, 2, 3].map(() => plannedSet(served.authorities));
      await using delivery = await taken(served, { planned: [served.first, ...next] });
      await using clients = new ServedClients(served);
      for (const { serial } of next) {
        const status = await deliver(delivery);
        assert.equal(status.state, 'proven', status.reason);
        await serves(served, serial);
        await clients.some();
      }
      await clients.unharmed();
    });

    test('refuses a pair that does not fit before it is swapped in', async () => {
      await using served = await ServedTarget.start(start);
      const wrong = plannedSet(served.authorities, { wrongKey: true });
      const good = plannedSet(served.authorities);
      await using delivery = await taken(served, { planned: [served.first, wrong, good] });
      await using clients = new ServedClients(served);
      const refused = await stage(delivery);
      assert.ok(!refused.ok);
      assert.equal(refused.error.code, 'SET_INVALID');
      await serves(served, served.first.serial);
      assert.equal((await deliver(delivery)).state, 'proven');
      await serves(served, good.serial);
      await clients.unharmed();
    });

    test('takes a pair back that nobody checked, and the process with it', async () => {
      await using served = await ServedTarget.start(start);
      const wrong = plannedSet(served.authorities, { wrongKey: true });
      const good = plannedSet(served.authorities);
      await using delivery = await taken(served, {
        planned: [served.first, wrong, good],
        offlineCheck: 'off',
        // the wrong pair is waited for as long as the good one may take
        target: served.target({ proof: { handshakes: 3, timeoutSeconds: 10 } }),
      });
      await using clients = new ServedClients(served);
      const status = await deliver(delivery);
      assert.notEqual(status.state, 'failed', status.reason);
      assert.notEqual(status.reason, '');
      await serves(served, served.first.serial);
      if (failsMeanwhile !== true) await clients.unharmed();
      assert.equal((await deliver(delivery)).state, 'proven');
      await serves(served, good.serial);
    });

    test('takes a set back that one listener does not show', async () => {
      await using served = await ServedTarget.start(start);
      await using other = await tlsServer(serverPair());
      const next = plannedSet(served.authorities);
      const target = served.target({ proof: unproven });
      const behind = { address: other.address, serverName: undefined, protocol: 'tls' } as const;
      await using delivery = await taken(served, {
        planned: [served.first, next],
        target: { ...target, listeners: [...target.listeners, behind] },
      });
      await using clients = new ServedClients(served);
      const status = await deliver(delivery);
      assert.match(status.reason, /PROOF_MISSING/);
      assert.ok(status.reason.includes(other.address), status.reason);
      await serves(served, served.first.serial);
      await clients.unharmed();
    });

    if (watches !== true)
      test('takes a set back that the server was not told of', async () => {
        await using served = await ServedTarget.start(start);
        const next = plannedSet(served.authorities);
        await using delivery = await taken(served, {
          planned: [served.first, next],
          target: served.target({ driver: script(served, 'exit 0'), proof: unproven }),
        });
        await using clients = new ServedClients(served);
        const status = await deliver(delivery);
        assert.equal(status.state, 'rolled-back');
        assert.match(status.reason, /PROOF_MISSING/);
        assert.ok(status.reason.includes(`showed ${served.first.serial}`), status.reason);
        await serves(served, served.first.serial);
        await clients.unharmed();
      });

    test('waits where its directory is gone, and goes on when it is back', async () => {
      await using served = await ServedTarget.start(start);
      const next = plannedSet(served.authorities);
      await using delivery = await taken(served, { planned: [next] });
      await using clients = new ServedClients(served);
      const away = `${served.path}.away`;
      renameSync(served.path, away);
      try {
        const refused = await stage(delivery);
        assert.ok(!refused.ok);
        assert.equal(refused.error.code, 'TARGET_UNWRITABLE');
        await clients.unharmed();
      } finally {
        renameSync(away, served.path);
      }
      assert.equal((await deliver(delivery)).state, 'proven');
      await serves(served, next.serial);
      await clients.unharmed();
    });

    test('takes a set back whose driver hangs', async () => {
      await using served = await ServedTarget.start(start);
      const next = plannedSet(served.authorities);
      const hangs = script(served, '[ "$1" = apply ] || exit 0', 'exec sleep 1000');
      await using delivery = await taken(served, {
        planned: [served.first, next],
        target: served.target({ driver: hangs }),
      });
      await using clients = new ServedClients(served);
      const status = await deliver(delivery);
      assert.match(status.reason, /DRIVER_TIMEOUT/);
      await serves(served, served.first.serial);
      await clients.unharmed();
    });
  });
}
