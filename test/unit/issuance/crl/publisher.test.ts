import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { parseCrl } from '../../../../src/common/x509/index.ts';
import type { StoredCrl } from '../../../../src/domain/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import { day, ca, crlOf, world, settled, setup } from './publisher-support.ts';

test('an authority past its end signs no CRL, and none of it is needed', async () => {
  const clock = new FakeClock();
  const root = ca(clock, 'root', undefined);
  const issuing = ca(clock, 'issuing', root, { token: 'issuing' });
  const longer = { ...root.authority, notAfter: issuing.authority.notAfter + 400 * day };
  const { publisher, events, lines } = world(clock, [longer, issuing.authority], issuing);
  clock.advance((400 * day - 60) * 1000);
  await publisher.start();
  const signed = (): number => events.filter(({ kind }) => kind === 'crl.signed').length;
  assert.deepEqual([signed(), publisher.standings().length], [1, 2]);
  await publisher.close();
  const later = world(clock, [longer, issuing.authority], issuing);
  clock.advance(60_000);
  await later.publisher.start();
  await settled(clock, day);
  assert.deepEqual(
    later.publisher.standings().map(({ authorityId }) => authorityId),
    [longer.id],
  );
  assert.deepEqual(later.events, []);
  assert.deepEqual(
    [...lines, ...later.lines].filter(({ text }) => text === 'a CRL could not be signed'),
    [],
  );
  await later.publisher.close();
});

test('what is revoked together is on one CRL; one that lacks somebody is signed anew at the start', async () => {
  const { clock, root, issuing, publisher, revoked, shards, crls, events, moved } = setup();
  const { id } = issuing.authority;
  const revoke = (serial: string, notAfter = clock.now() + day): void =>
    revoked.apply({
      kind: 'revocation',
      id: serial,
      sha256: '00',
      act: 'certificate.revoked',
      subject: 's',
      detail: {
        ...{ authority: id, reason: 'superseded', revokedBy: 'uid:0' },
        ...{ revokedAt: clock.now(), notAfter },
      },
    });
  const listed = (): readonly string[] => {
    const { revoked: entries } = unwrap(parseCrl((crls.get(id) as StoredCrl).der));
    return [...entries.keys()];
  };
  const signed = (): number => events.filter(({ kind }) => kind === 'crl.signed').length;
  await publisher.start();
  assert.deepEqual([signed(), listed()], [1, []]);
  for (const serial of ['0a', '0b', '0c']) {
    revoke(serial);
    moved();
  }
  await settled(clock, 2);
  assert.deepEqual([signed(), listed()], [2, ['0a', '0b', '0c']]);
  moved();
  revoke('0d', clock.now() - 1);
  moved();
  await settled(clock, 2);
  assert.deepEqual([signed(), listed()], [3, ['0a', '0b', '0c', '0d']], 'once more (section 3.3)');
  await publisher.close();

  const again = (): ReturnType<typeof world> =>
    world(clock, [root.authority, issuing.authority], issuing, { crls, revoked, shards });
  const same = again();
  await same.publisher.start();
  assert.deepEqual(same.events, [], 'the CRL that is kept names everybody who is valid');
  await same.publisher.close();
  revoke('0e');
  const lacking = again();
  await lacking.publisher.start();
  assert.deepEqual([lacking.events.length, listed()], [1, ['0a', '0b', '0c', '0d', '0e']]);
  await lacking.publisher.close();
});

test('while the clock is not believed no CRL leaves the set, and what is revoked is listed', async () => {
  const { clock, root, issuing, publisher, revoked, crls, state, moved } = setup();
  const { id } = issuing.authority;
  const revoke = (serial: string, notAfter: number): void =>
    revoked.apply({
      kind: 'revocation',
      id: serial,
      sha256: '00',
      act: 'certificate.revoked',
      subject: 's',
      detail: {
        ...{ authority: id, reason: 'superseded', revokedBy: 'uid:0' },
        ...{ revokedAt: clock.now(), notAfter },
      },
    });
  const listed = (): readonly string[] => [
    ...unwrap(parseCrl((crls.get(id) as StoredCrl).der)).revoked.keys(),
  ];
  revoke('0a', clock.now() + day);
  await publisher.start();
  await publisher.importExternal({
    actor: 'uid:0',
    crlDer: crlOf(root, { number: 1, thisUpdate: clock.now(), nextUpdate: clock.now() + 9 * day }),
  });
  assert.deepEqual([publisher.set().length, listed()], [2, ['0a']]);
  state.clockBelieved = false;
  const lastValid = clock.now() + day;
  clock.jumpWall(100 * day * 1000);
  revoke('0b', lastValid);
  moved();
  await settled(clock, 120);
  assert.deepEqual([publisher.set().length, listed()], [2, ['0a', '0b']]);
  state.clockBelieved = true;
  moved();
  await settled(clock, 120);
  assert.equal(publisher.set().length, 0, 'by a clock that is right the imported one has ended');
  await publisher.close();
});

test('a CRL that was signed while the clock was ahead is signed anew once the clock is right', async () => {
  const { clock, root, issuing, publisher, revoked, shards, crls } = setup();
  const { id } = issuing.authority;
  clock.jumpWall(10 * day * 1000);
  await publisher.start();
  await publisher.close();
  const ahead = crls.get(id) as StoredCrl;
  clock.jumpWall(-10 * day * 1000);
  assert.ok(ahead.thisUpdate > clock.now());
  const before = { crls, revoked, shards };
  const later = world(clock, [root.authority, issuing.authority], issuing, before);
  await later.publisher.start();
  const anew = crls.get(id) as StoredCrl;
  assert.ok(anew.thisUpdate <= clock.now());
  assert.ok(anew.number > ahead.number);
  await later.publisher.close();
});
