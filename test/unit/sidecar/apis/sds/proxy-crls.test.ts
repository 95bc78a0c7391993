import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import { buildCrlTbs } from '../../../../../src/certs/index.ts';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../../src/common/runtime/index.ts';
import { derWriter as w, parseCertificate } from '../../../../../src/common/x509/index.ts';
import {
  ProxyCrls,
  type ProxyCrlsDependencies,
} from '../../../../../sidecar/apis/sds/proxy-crls.ts';
import { bundleOf, LeapClock } from '../../../../support/local-server-fakes.ts';
import {
  createIntermediate,
  createRoot,
  type TestAuthority,
} from '../../../../support/test-pki.ts';

const root = createRoot('td.test');
const issuer = createIntermediate(root, 'td.test');
const own = { ...bundleOf('td.test'), rootsDer: [root.certificateDer] };
const lifeSeconds = 600;

function crlOf(authority: TestAuthority, now: number): Buffer {
  const tbs = buildCrlTbs({
    issuer: unwrap(parseCertificate(authority.certificateDer)),
    number: 1n,
    thisUpdate: now - 60,
    nextUpdate: now + lifeSeconds,
    revoked: [],
  });
  const algorithm = w.sequence(w.oid('1.2.840.10045.4.3.2'));
  return w.sequence(tbs, algorithm, w.bitString(sign('sha256', tbs, authority.privateKey)));
}

function setUp(policy: ProxyCrlsDependencies['policy']) {
  const clock = new LeapClock();
  const whole = [crlOf(root, clock.now()), crlOf(issuer, clock.now())];
  const state = {
    crls: whole as readonly Buffer[],
    issuers: [[issuer.certificateDer]] as readonly (readonly Buffer[])[],
    withheld: [] as boolean[],
    changes: 0,
  };
  const crls = new ProxyCrls({
    bundles: { crls: () => state.crls },
    issuers: () => state.issuers,
    clock,
    logger: silentLogger,
    onWithheld: (withheld) => void state.withheld.push(withheld),
    policy,
  });
  const leave = crls.onChange(() => void (state.changes += 1));
  return { clock, whole, state, crls, [Symbol.dispose]: leave };
}

test('proxies get no CRLs unless the configuration asks for them', () => {
  using world = setUp('none');
  assert.deepEqual(world.crls.current(own), []);
  assert.deepEqual(world.state.withheld, []);
});

test('a set that lacks a level is left out with an alert, and is back when it is whole', () => {
  using world = setUp('fail open');
  const { crls, state, whole } = world;
  assert.equal(crls.current(own), whole);
  for (const part of [[whole[0] as Buffer], [whole[1] as Buffer], []]) {
    state.crls = part;
    assert.deepEqual(crls.current(own), []);
  }
  state.crls = whole;
  assert.equal(crls.current(own), whole);
  assert.deepEqual([state.withheld[0], state.withheld.at(-1)], [true, false]);
});

test('nothing is withheld when the last proxy has left, and the next one is told of anew', () => {
  const world = setUp('fail open');
  const { crls, state } = world;
  state.crls = [];
  const leaveSecond = crls.onChange(() => {});
  crls.current(own);
  world[Symbol.dispose]();
  assert.deepEqual(state.withheld, [true], 'another proxy is there');
  leaveSecond();
  assert.deepEqual(state.withheld, [true, false]);
  const leave = crls.onChange(() => {});
  crls.current(own);
  assert.deepEqual(state.withheld, [true, false, true]);
  leave();
});

test('a set is not complete while no issuer is known, or one that can not be read', () => {
  using open = setUp('fail open');
  using closed = setUp('fail closed');
  for (const issuers of [[], [[]], [[issuer.certificateDer], []], [[Buffer.from('no DER')]]]) {
    open.state.issuers = issuers;
    closed.state.issuers = issuers;
    assert.deepEqual(open.crls.current(own), []);
    assert.equal(closed.crls.current(own), undefined, 'no bundle goes out');
  }
  open.state.issuers = [[issuer.certificateDer]];
  assert.equal(open.crls.current(own), open.whole);
});

test('a set that was not renewed is left out before it ends, and the streams are told', async () => {
  using world = setUp('fail open');
  const { crls, state, whole, clock } = world;
  assert.equal(crls.current(own), whole);
  clock.leap((lifeSeconds - 100) * 1000);
  await clock.caughtUp();
  assert.equal(state.changes, 1);
  assert.deepEqual(crls.current(own), []);
});

test('a set is read once while nothing changes, and again when anything does', () => {
  using world = setUp('fail open');
  const { crls, state, whole, clock } = world;
  let reads = 0;
  state.crls = new Proxy(whole, {
    get(target, key, receiver) {
      if (key === 'length' || key === 'flatMap' || key === Symbol.iterator) reads += 1;
      return Reflect.get(target, key, receiver) as unknown;
    },
  });
  const isGood = (bundle = own): boolean => crls.current(bundle) === state.crls;
  assert.ok(isGood());
  const once = reads;
  assert.ok(once > 0);
  for (let look = 0; look < 10; look += 1) assert.ok(isGood());
  state.issuers = [...state.issuers];
  assert.ok(isGood());
  assert.equal(reads, once);
  state.issuers = [[createIntermediate(root, 'td.test').certificateDer]];
  assert.ok(!isGood(), 'another issuer has no CRL');
  state.issuers = [[issuer.certificateDer]];
  assert.ok(isGood());
  const rootOfAll = createRoot('td.test');
  assert.ok(isGood({ ...own, rootsDer: [root.certificateDer, rootOfAll.certificateDer] }));
  clock.leap((lifeSeconds - 100) * 1000);
  assert.ok(!isGood(), 'its end is near');
  state.crls = [crlOf(root, clock.now()), crlOf(issuer, clock.now())];
  assert.ok(isGood());
});

test('closed on failure, the last whole set stays, and before there is one no bundle is sent', () => {
  using world = setUp('fail closed');
  const { crls, state, whole, clock } = world;
  state.crls = [];
  assert.equal(crls.current(own), undefined);
  state.crls = whole;
  assert.equal(crls.current(own), whole);
  clock.leap(2 * lifeSeconds * 1000);
  state.crls = [];
  assert.equal(crls.current(own), whole, 'it has ended: proxies refuse everybody');
  assert.equal(state.withheld.at(-1), true);
});
