import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { DelegateCaller } from '../../../../src/services/index.ts';
import type { DueCertificate, ReplacementPart } from '../../../../src/services/watching/watch.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import {
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn, until } from '../../../support/until.ts';

/** A control plane with a delegation for `/<name>/*`. */
async function controlPlane(w: ServicesWorld, name: string): Promise<DelegateCaller> {
  await w.services.delegations.create(local, {
    ...{ clientId: id(`/control/${name}`), patterns: [id(`/${name}/*`)], maxTtlSeconds: 3600 },
    ...{ keyTypes: [], dnsPatterns: [], ipRanges: [], wildcards: false, profile: '', expiresAt: 0 },
  });
  return (await w.mint(`/control/${name}`, false)) as DelegateCaller;
}

async function signed(w: ServicesWorld, caller: DelegateCaller, path: string): Promise<string> {
  const { outcomes } = await w.services.signing.sign(caller, [
    {
      ...{ requestId: uuidv7(), spiffeId: id(path), dnsNames: [], ips: [], profile: '' },
      ...{ csrDer: createCsr(newKey()), ttlSeconds: 0 },
    },
  ]);
  const [outcome] = outcomes;
  assert.ok(outcome?.ok);
  return outcome.leaf.serial;
}

/** What a stream with this cursor is told. */
async function watch(w: ServicesWorld, caller: DelegateCaller, cursor = '') {
  const parts: ReplacementPart[] = [];
  const connection = await w.services.watch.open(
    caller,
    {
      ...{ instance: 'pod-0', version: '', withoutCrls: true },
      ...{ withReplacements: true, replacementsAfter: cursor },
    },
    {
      send: ({ replacements }) => {
        if (replacements !== undefined) parts.push(replacements);
        return true;
      },
      close: ({ code }) => assert.equal(code, 'SHUTTING_DOWN'),
    },
  );
  await until(() => parts.length > 0, 'the first part');
  return {
    parts,
    connection,
    told: (): readonly DueCertificate[] => parts.flatMap(({ certificates }) => certificates),
    /** After the rest between two looks. */
    next: async (count: number) => {
      await until(() => {
        w.clock.advance(50);
        return parts.flatMap(({ certificates }) => certificates).length >= count;
      });
    },
  };
}

const ask = { reason: 'superseded', actId: '' };

test('a control plane is told which of its certificates to replace and why, and nothing of others', async () => {
  await using w = await createServicesWorld();
  const [one, other] = [await controlPlane(w, 'one'), await controlPlane(w, 'other')];
  const [a, b, c] = [
    await signed(w, one, '/one/a'),
    await signed(w, one, '/one/b'),
    await signed(w, one, '/one/c'),
  ];
  await signed(w, other, '/other/a');
  const stream = await watch(w, one);
  const strange = await watch(w, other);
  assert.deepEqual(stream.parts, [
    { certificates: [], windowSeconds: 600, cursor: 'since-0', more: false },
  ]);

  await w.services.selections.revoke(local, { selection: { spiffeId: id('/one/a') }, ...ask });
  await stream.next(1);
  const [revoked] = stream.told();
  assert.ok(revoked);
  const { since, notAfter, delegationId, ...told } = revoked;
  assert.deepEqual(told, {
    ...{ serial: a, spiffeId: id('/one/a'), dnsNames: [], ips: [] },
    ...{ why: 'revoked', reason: 'superseded', replacedBy: '' },
  });
  assert.ok(since > 0 && notAfter > since && delegationId !== '');
  assert.equal(stream.parts.at(-1)?.windowSeconds, 5);

  await w.services.keys.block(local, { serial: b }, 'stolen');
  await stream.next(2);
  assert.deepEqual(
    stream.told().map(({ serial, why }) => `${serial} ${why}`),
    [`${a} revoked`, `${b} key-blocked`],
  );
  const taintedAt = w.clock.now();
  w.setAuthorities({
    all: w.authorities
      .all()
      .map((each) => (each.id === w.issuing.id ? { ...each, state: 'tainted', taintedAt } : each)),
  });
  await stream.next(3);
  const last = stream.told()[2];
  assert.deepEqual([last?.serial, last?.why, last?.since], [c, 'authority-tainted', taintedAt]);
  await strange.next(1);
  assert.deepEqual(
    strange.told().map(({ spiffeId }) => spiffeId),
    [id('/other/a')],
  );
});

test('a stream goes on from a cursor, names what replaces a certificate, and forgets what was reported', async () => {
  await using w = await createServicesWorld({ revocable: true });
  const caller = await controlPlane(w, 'one');
  const first = await signed(w, caller, '/one/a');
  await w.services.revocations.revoke(local, { serial: first, reason: '' });
  const successor = await signed(w, caller, '/one/a');
  const early = await watch(w, caller);
  assert.deepEqual(
    early.told().map(({ serial, replacedBy }) => [serial, replacedBy]),
    [[first, successor]],
  );
  const cursor = early.parts.at(-1)?.cursor;
  assert.equal(cursor, `since-${early.told()[0]?.since}`);
  const second = await signed(w, caller, '/one/b');
  w.clock.advance(300_000);
  await w.services.revocations.revoke(local, { serial: second, reason: 'keyCompromise' });
  early.connection.closed();

  const hourLater = (early.told()[0]?.since ?? 0) + 3_700;
  const again = await watch(w, caller, `since-${hourLater}`);
  assert.deepEqual(
    again.told().map(({ serial, reason }) => [serial, reason]),
    [[second, 'keyCompromise']],
    'what is older than an hour before the cursor was told',
  );
  const report = { authoritySetDigest: '', jwtSetDigest: '', consumers: [] };
  await again.connection.report({
    ...{ ...report, namesAllHolders: false, leaving: false },
    replacedSerials: [second],
  });
  again.connection.closed();
  assert.deepEqual(
    (await watch(w, caller)).told().map(({ serial }) => serial),
    [first],
  );
  await assert.rejects(watch(w, caller, 'x'), { code: 'INVALID_REQUEST' });
});

test('an altered row shows no control plane a certificate of another', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-watch-'));
  const path = join(folder, 'meshca.db');
  try {
    await using w = await createServicesWorld({}, { path, keys: new Map() });
    const [one, other] = [await controlPlane(w, 'one'), await controlPlane(w, 'other')];
    const serial = await signed(w, one, '/one/a');
    await w.services.revocations.revoke(local, { serial, reason: '' });
    const announced: string[] = [];
    w.store.objects.onMismatch(({ id: of }) => announced.push(of));
    const foreign = await signed(w, other, '/other/a');
    const bytesOf = async (of: string) =>
      (await w.store.certificates.bySerial(of))?.certificateDer as Buffer;
    const [own, others] = [await bytesOf(serial), await bytesOf(foreign)];
    const setBytes = (bytes: Buffer): void =>
      foreignSql(path, (database) => {
        const set = 'UPDATE certificates SET certificate_der = ? WHERE hex(serial) = upper(?)';
        database.prepare(set).run(bytes, serial);
      });
    setBytes(others);
    await nextTurn();
    const stream = await watch(w, one);
    assert.deepEqual(stream.told(), [], 'the bytes of another');
    stream.connection.closed();
    assert.deepEqual([...new Set(announced.splice(0))], [serial]);
    setBytes(own);
    await nextTurn();
    assert.deepEqual(
      (await watch(w, one)).told().map(({ serial: of }) => of),
      [serial],
    );
    foreignSql(path, (database) =>
      database.exec(
        `UPDATE certificates SET holder = '${other.spiffeId}' WHERE hex(serial) = upper('${serial}')`,
      ),
    );
    await nextTurn();
    assert.deepEqual((await watch(w, other)).told(), []);
    assert.deepEqual([...new Set(announced)], [serial]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
