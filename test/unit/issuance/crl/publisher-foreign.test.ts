import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { systemRandom, uuidv7 } from '../../../../src/common/runtime/index.ts';
import type { Authority } from '../../../../src/domain/index.ts';
import { UpstreamCrls } from '../../../../src/issuance/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { day, ca, crlOf, world, settled, setup, stateOf } from './publisher-support.ts';

test('a CRL from outside is warned of in its last third, and takes the whole set away when it ends', async () => {
  const { clock, root, publisher, lines } = setup();
  await publisher.start();
  assert.deepEqual([publisher.set().length, stateOf(publisher, root)], [0, 'missing']);
  const imported = await publisher.importExternal({
    actor: 'uid:0',
    crlDer: crlOf(root, { number: 1, thisUpdate: clock.now(), nextUpdate: clock.now() + 9 * day }),
  });
  assert.deepEqual([imported.handedOut, imported.changed, publisher.set().length], [true, true, 2]);
  const alerts = (): string[] =>
    lines
      .filter(({ fields }) => fields['alert'] === true && fields['source'] === 'external')
      .map(({ text }) => text);
  await settled(clock, 5 * day);
  assert.deepEqual([stateOf(publisher, root), alerts()], ['current', []]);
  await settled(clock, 2 * day);
  assert.deepEqual(
    [stateOf(publisher, root), alerts(), publisher.set().length],
    ['expiring', ['a CRL ends soon'], 2],
  );
  await settled(clock, 2 * day + 600);
  await settled(clock, 200);
  assert.deepEqual([stateOf(publisher, root), publisher.set().length], ['expired', 0]);
  assert.deepEqual(
    alerts(),
    ['a CRL ends soon', 'a CRL expired: no CRLs are handed out'],
    'once for each change',
  );
  await publisher.importExternal({
    actor: 'uid:0',
    crlDer: crlOf(root, { number: 2, thisUpdate: clock.now(), nextUpdate: clock.now() + 9 * day }),
  });
  assert.equal(publisher.set().length, 2);
  await publisher.close();
});

test('what was revoked here below an authority of others is told of until its CRL names it', async () => {
  const clock = new FakeClock();
  const root = ca(clock, 'root', undefined);
  const [issuing, stolen] = [
    ca(clock, 'issuing', root, { token: 'issuing' }),
    ca(clock, 'issuing', root, { token: 'issuing', state: 'revoked' }),
  ];
  const { publisher } = world(
    clock,
    [root.authority, issuing.authority, stolen.authority],
    issuing,
  );
  await publisher.start();
  const take = (number: number, revoked: readonly string[]) =>
    publisher.importExternal({
      actor: 'uid:0',
      crlDer: crlOf(root, {
        number,
        thisUpdate: clock.now(),
        nextUpdate: clock.now() + 9 * day,
        revoked,
      }),
    });
  assert.match((await take(1, [])).warnings.join(), /revoked here and is not on it/);
  assert.deepEqual(publisher.standings()[0]?.unlisted, [stolen.authority.id]);
  assert.deepEqual((await take(2, [stolen.certificate.serialHex])).warnings, []);
  assert.deepEqual(publisher.standings()[0]?.unlisted, []);
  await publisher.close();
});

test('of a certificate that was issued anew for the same key the CRL counts for both, and goes out once', async () => {
  const clock = new FakeClock();
  const root = ca(clock, 'root', undefined);
  const again: Authority = { ...root.authority, id: uuidv7(clock.nowMs()), ckaId: 'ab'.repeat(32) };
  const issuing = ca(clock, 'issuing', root, { token: 'issuing' });
  const { publisher } = world(clock, [root.authority, again, issuing.authority], issuing);
  await publisher.start();
  const taken = await publisher.importExternal({
    actor: 'uid:0',
    crlDer: crlOf(root, { number: 1, thisUpdate: clock.now(), nextUpdate: clock.now() + 9 * day }),
  });
  assert.deepEqual(
    [taken.authorityIds, taken.handedOut, publisher.set().length],
    [[root.authority.id, again.id], true, 2],
  );
  await publisher.close();
});

test('before the server may sign, and while the database is stale, none is taken in', async () => {
  const { clock, root, publisher, events, state } = setup();
  await assert.rejects(
    publisher.importExternal({
      actor: 'uid:0',
      crlDer: crlOf(root, { number: 1, thisUpdate: clock.now(), nextUpdate: clock.now() + day }),
    }),
    { code: 'DATABASE_STALE' },
  );
  await publisher.start();
  state.held = true;
  await assert.rejects(
    publisher.importExternal({
      actor: 'uid:0',
      crlDer: crlOf(root, { number: 1, thisUpdate: clock.now(), nextUpdate: clock.now() + day }),
    }),
    { code: 'DATABASE_STALE' },
  );
  assert.deepEqual(
    events.filter(({ kind }) => kind === 'crl.imported'),
    [],
  );
  await publisher.close();
});

test('an expired CRL of an upstream is fetched anew, and one with a lower number changes nothing', async () => {
  const { clock, root, publisher, logger } = setup();
  await publisher.start();
  const upstream = {
    present: crlOf(root, {
      number: 5,
      thisUpdate: clock.now() - 3 * day,
      nextUpdate: clock.now() - day,
    }),
    renewed: 0,
    failing: false,
  };
  const crls = new UpstreamCrls({
    upstream: {
      crls: () =>
        upstream.failing
          ? Promise.reject(new PkiError('UPSTREAM_SEALED', 'sealed'))
          : Promise.resolve([upstream.present]),
      renewCrls: () => {
        upstream.renewed += 1;
        upstream.present = crlOf(root, {
          number: 6,
          thisUpdate: clock.now(),
          nextUpdate: clock.now() + 3 * day,
        });
        return Promise.resolve();
      },
    },
    publisher,
    authorities: { onChange: () => () => {} },
    clock,
    random: systemRandom,
    logger,
    refreshSeconds: 600,
  });
  await crls.fetch();
  assert.deepEqual(
    [upstream.renewed, stateOf(publisher, root), publisher.set().length],
    [1, 'current', 2],
  );
  upstream.present = crlOf(root, {
    number: 4,
    thisUpdate: clock.now(),
    nextUpdate: clock.now() + 9 * day,
  });
  await crls.fetch();
  assert.equal(publisher.standings()[0]?.number, '6');
  upstream.failing = true;
  await crls.fetch();
  assert.equal(crls.failure()?.code, 'UPSTREAM_SEALED');
  upstream.failing = false;
  await settled(clock, 60);
  assert.equal(
    crls.failure(),
    undefined,
    'it is asked again soon, and not only at the next refresh',
  );
  crls.close();
  await publisher.close();
});
