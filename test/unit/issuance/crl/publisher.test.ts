import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import {
  assembleSigned,
  buildAuthorityTbs,
  buildCrlTbs,
  newSerial,
} from '../../../../src/certs/index.ts';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import { systemRandom, uuidv7, type Logger } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  parseCertificate,
  parseCrl,
  sha256Hex,
  spkiOf,
  type ParsedCertificate,
} from '../../../../src/common/x509/index.ts';
import {
  crlId,
  type AuditEvent,
  type Authority,
  type LoggedObject,
  type StoredCrl,
} from '../../../../src/domain/index.ts';
import { CrlPublisher, ShardAllocator, UpstreamCrls } from '../../../../src/issuance/index.ts';
import { CrlShards } from '../../../../src/ledger/crl-shards.ts';
import { Revoked } from '../../../../src/ledger/revoked.ts';
import type { CrlPlace } from '../../../../src/store/ports/index.ts';
import { FakeClock } from '../../../support/agent.ts';

const day = 86_400;
const trustDomain = TrustDomain.of('mesh.test');

interface Ca {
  readonly authority: Authority;
  readonly certificate: ParsedCertificate;
  readonly key: KeyObject;
}

function ca(
  clock: FakeClock,
  kind: 'root' | 'issuing' | 'names-issuing',
  issuer: Ca | undefined,
  over: Partial<Authority> = {},
): Ca {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const spkiDer = spkiOf(key);
  const [notBefore, notAfter] = [clock.now() - day, clock.now() + 400 * day];
  const tbsDer = buildAuthorityTbs({
    serial: newSerial(clock.nowMs(), systemRandom),
    profile: kind === 'root' ? 'root' : 'intermediate',
    issuer: issuer?.certificate,
    spkiDer,
    trustDomain,
    notBefore,
    notAfter,
  });
  const certificateDer = assembleSigned(
    tbsDer,
    'ec-p256',
    sign('sha256', tbsDer, issuer?.key ?? key),
  );
  const certificate = unwrap(parseCertificate(certificateDer));
  const authority: Authority = {
    id: uuidv7(clock.nowMs()),
    kind,
    state: 'active',
    version: 3,
    keyType: 'ec-p256',
    token: 'external',
    ckaId: sha256Hex(certificateDer),
    parentId: issuer?.authority.id ?? null,
    scope: {},
    spkiDer,
    certificateDer,
    subjectKeyId: certificate.subjectKeyId ?? null,
    notBefore,
    notAfter,
    createdAt: clock.now(),
    activatedAt: clock.now(),
    taintedAt: null,
    ...over,
  };
  return { authority, certificate, key };
}

function crlOf(
  { certificate, key }: Ca,
  options: {
    readonly number: number;
    readonly thisUpdate: number;
    readonly nextUpdate: number;
    readonly revoked?: readonly string[];
  },
): Buffer {
  const { number, thisUpdate, nextUpdate, revoked = [] } = options;
  const tbsDer = buildCrlTbs({
    issuer: certificate,
    number: BigInt(number),
    thisUpdate,
    nextUpdate,
    revoked: revoked.map((serialHex) => ({ serialHex, revokedAt: thisUpdate })),
  });
  return assembleSigned(tbsDer, 'ec-p256', sign('sha256', tbsDer, key));
}

/** The publisher over a store in memory, below a root of others. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function world(
  clock: FakeClock,
  all: Authority[],
  signing: Ca,
  before?: {
    readonly crls: Map<string, StoredCrl>;
    readonly revoked: Revoked;
    readonly shards: CrlShards;
  },
) {
  const crls = before?.crls ?? new Map<string, StoredCrl>();
  const events: AuditEvent[] = [];
  const lines: { readonly text: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  const line = (fields: object, text: string): void =>
    void lines.push({ text, fields: fields as Record<string, unknown> });
  const logger = {
    debug: () => {},
    info: line,
    warn: line,
    error: line,
    child: () => logger,
  } as unknown as Logger;
  const listeners = new Set<() => void>();
  const revoked = before?.revoked ?? new Revoked();
  const shards = before?.shards ?? new CrlShards();
  const said = (event: AuditEvent, { authorityId, shard }: CrlPlace, sha256: string): void => {
    events.push(event);
    const { kind: act, subject } = event;
    const detail = { number: Number(event.detail['number'] ?? 0), ...event.detail, shard };
    const record = { kind: 'crl', id: crlId(authorityId, shard), sha256, act, subject, detail };
    revoked.apply(record as LoggedObject);
    shards.applyCrl(record as LoggedObject);
  };
  const state = { held: false, clockBelieved: true };
  const shardUrl = (id: string, shard: number): string =>
    `http://ca.mesh.test/crl/${id}/${shard}.crl`;
  const allocator = new ShardAllocator({
    shards: (id) => shards.of(id),
    url: shardUrl,
    restoredMs: () => 0,
    clock,
    mostLeaves: 4,
  });
  const publisher = new CrlPublisher({
    authorities: {
      all: () => all,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    store: {
      mark: (scope) => revoked.mark(scope),
      entries: (scope, endingFrom) => revoked.entries(scope, endingFrom),
      crlCovers: (id, shard) => revoked.crlCovers(id, shard),
      shards: (id) => shards.of(id),
      compareRows: () => Promise.resolve(),
      crls: () => Promise.resolve([...crls.values()]),
      highestCrlNumber: (id, shard) => Promise.resolve(crls.get(crlId(id, shard))?.number ?? 0),
      issuerCrlNumber: (id) =>
        Promise.resolve(
          events
            .filter(({ subject }) => subject === id)
            .reduce((most, { detail }) => {
              const number = BigInt(detail['crlNumber'] as string);
              return number > most ? number : most;
            }, 0n),
        ),
      saveCrl: (crl, event) => {
        crls.set(crlId(crl.authorityId, crl.shard), crl);
        said(event, crl, '00');
        return Promise.resolve();
      },
      dropCrl: (place, event) => {
        crls.delete(crlId(place.authorityId, place.shard));
        said(event, place, '');
        return Promise.resolve();
      },
    },
    shards: allocator,
    shardUrl,
    onRevision: () => () => {},
    signers: {
      sign: (items) =>
        Promise.resolve(
          items.map(({ bytes }) => ({
            ok: true as const,
            signature: sign('sha256', bytes, signing.key),
          })),
        ),
    },
    openToken: () => Promise.reject(new Error('no token')),
    held: () => state.held,
    clockBelieved: () => state.clockBelieved,
    clock,
    logger,
    lifeSeconds: 7 * day,
    clockSkewSeconds: 300,
  });
  return {
    publisher,
    revoked,
    shards,
    allocator,
    crls,
    events,
    lines,
    logger,
    state,
    moved: () => {
      for (const listener of listeners) listener();
    },
  };
}

/** So that what timers started has happened. */
async function settled(clock: FakeClock, seconds: number): Promise<void> {
  const step = Math.max(1, Math.ceil(seconds / 50));
  for (let at = 0; at < seconds; at += step) {
    clock.advance(step * 1000);
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

const setup = () => {
  const clock = new FakeClock();
  const root = ca(clock, 'root', undefined);
  const issuing = ca(clock, 'issuing', root, { token: 'issuing' });
  return { clock, root, issuing, ...world(clock, [root.authority, issuing.authority], issuing) };
};
const stateOf = (publisher: CrlPublisher, { authority }: Ca): string =>
  publisher.standings().find(({ authorityId }) => authorityId === authority.id)?.state ?? 'none';

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

/** Leaves of a names authority with four in a shard, as the log tells of them. */
function namesSetup() {
  const clock = new FakeClock();
  const issuing = ca(clock, 'names-issuing', ca(clock, 'root', undefined), { token: 'issuing' });
  const parts = world(clock, [issuing.authority], issuing);
  const { id } = issuing.authority;
  const issue = (notAfter: number) => {
    const assigned = parts.allocator.assign(id);
    assert.ok(assigned !== undefined);
    const { shard, url, isNew } = assigned;
    parts.shards.applyLeaf({ authorityId: id, shard, notAfter, url: isNew ? url : '' });
    return assigned;
  };
  const revoke = (serial: string, shard: number, notAfter: number): void => {
    const [reason, revokedBy, revokedAt] = ['superseded', 'uid:0', clock.now()] as const;
    parts.revoked.add({ serial, authorityId: id, reason, revokedAt, revokedBy, notAfter, shard });
  };
  const read = (shard: number) => {
    const { der } = parts.crls.get(crlId(id, shard)) as StoredCrl;
    return unwrap(parseCrl(der, { ofShards: true }));
  };
  return { ...parts, clock, id, issuing, issue, revoke, read };
}

test('a names authority has a CRL for each shard of its leaves before they are issued, and no complete one', async () => {
  const { clock, publisher, crls, events, id, issue, revoke, read, moved } = namesSetup();
  await publisher.start();
  const [first] = [...crls.values()].map(({ shard }) => shard);
  assert.deepEqual([crls.size, publisher.set()], [1, []], 'no agent is sent any');
  const leaves = Array.from({ length: 9 }, () => issue(clock.now() + 30 * day));
  const numbers = [...new Set(leaves.map(({ shard }) => shard))];
  assert.deepEqual([numbers.length, numbers[0]], [3, first]);
  assert.deepEqual([leaves[0]?.isNew, leaves[8]?.isNew], [false, true]);
  await settled(clock, 2);
  for (const { shard, url } of leaves) assert.equal(read(shard).distributionPoint, url);
  const signed = (): number => events.length;
  const before = signed();
  revoke('0a', leaves[5]?.shard ?? 0, clock.now() + 30 * day);
  moved();
  await settled(clock, 2);
  assert.equal(signed(), before + 1, 'the CRLs of the other shards stay');
  assert.deepEqual([...read(leaves[5]?.shard ?? 0).revoked.keys()], ['0a']);
  assert.equal((await publisher.crl(id, first)).length > 0, true);
  await assert.rejects(publisher.crl(id), { code: 'NOT_FOUND' });
  assert.deepEqual(
    publisher.standings().map(({ state, shards }) => [state, shards]),
    [['current', numbers.length]],
  );
  await publisher.close();
});

test('an ended shard has one more CRL, which is then removed; a later start signs none of it', async () => {
  const { clock, publisher, crls, issue, revoke, read, events, moved, ...parts } = namesSetup();
  const ends = clock.now() + day;
  const { shard } = issue(ends);
  revoke('0a', shard, ends);
  for (let more = 0; more < 3; more += 1) issue(ends);
  for (let more = 0; more < 4; more += 1) issue(clock.now() + 60 * day);
  await publisher.start();
  await settled(clock, day + 400);
  await settled(clock, 200);
  assert.ok(read(shard).thisUpdate > ends);
  assert.deepEqual([...read(shard).revoked.keys()], ['0a'], 'RFC 5280, section 3.3');
  await settled(clock, 8 * day);
  const removed = events.filter(({ kind }) => kind === 'crl.removed');
  assert.deepEqual(
    removed.map(({ detail }) => detail['shard']),
    [shard],
  );
  await publisher.close();
  const { revoked, shards, issuing } = parts;
  assert.equal(shards.get(issuing.authority.id, shard), undefined);
  const later = world(clock, [issuing.authority], issuing, { crls, revoked, shards });
  await later.publisher.start();
  moved();
  assert.equal(crls.has(crlId(issuing.authority.id, shard)), false);
  await later.publisher.close();
});

test('in the mesh the complete CRL lists what is on those of the shards, and alone goes to agents', async () => {
  const clock = new FakeClock();
  const issuing = ca(clock, 'issuing', ca(clock, 'root', undefined), { token: 'issuing' });
  const { publisher, allocator, revoked, shards, crls, moved } = world(
    clock,
    [issuing.authority],
    issuing,
  );
  const { id } = issuing.authority;
  await publisher.start();
  assert.equal(crls.size, 1, 'shards are opened by their first leaf');
  const { shard, url } = allocator.assign(id) as { shard: number; url: string };
  const notAfter = clock.now() + day;
  shards.applyLeaf({ authorityId: id, shard, notAfter, url });
  const of = { authorityId: id, reason: 'superseded', revokedBy: 'uid:0' } as const;
  for (const [serial, each] of [
    ['0a', shard],
    ['0b', 0],
  ] as const)
    revoked.add({ ...of, serial, revokedAt: clock.now(), notAfter, shard: each });
  moved();
  await settled(clock, 2);
  const [complete] = publisher.set().map(({ der }) => unwrap(parseCrl(der)));
  assert.deepEqual([...(complete?.revoked.keys() ?? [])].sort(), ['0a', '0b']);
  assert.equal(publisher.set().length, 1);
  const ofShard = unwrap(parseCrl(await publisher.crl(id, shard), { ofShards: true }));
  assert.deepEqual([...ofShard.revoked.keys()], ['0a']);
  await publisher.close();
});
