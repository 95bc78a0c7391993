import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { fromServiceError } from '../../../../../src/common/wire/index.ts';
import { heldMs } from '../../../../../sidecar/apis/sds/options.ts';
import { defaultLimits } from '../../../../../sidecar/local-server/index.ts';
import { bundleOf, entryOf, LeapClock } from '../../../../support/local-server-fakes.ts';
import { until } from '../../../../support/until.ts';
import type { Harness } from '../../local-server/support.ts';
import { fetchSecrets, openDelta, openFull, startSds } from './support.ts';

const uid = ['unix:uid:0'];
const web = entryOf('w', 'spiffe://td.test/web', uid);
const other = entryOf('o', 'spiffe://td.test/other', ['unix:uid:12345']);

const digestOf = (harness: Harness): string =>
  harness.bundles.own!.authoritySetDigest.toString('hex').slice(0, 8);

/** Grants the identity, and has it signed anew. */
function renew(harness: Harness): void {
  const [identity] = harness.entries.match([...web.selectors]);
  harness.svids.renew(identity!);
}

describe('what a proxy gets', () => {
  test('its certificate with the key, and the roots, each in a response of its own', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    using secrets = openFull(harness);
    secrets.ask('default', 'ALL');
    await secrets.count(1);
    const { tlsCertificate } = secrets.secret(0)!;
    const chain = Buffer.from(tlsCertificate!.certificateChain!.inlineBytes as Buffer);
    assert.match(new X509Certificate(chain).subjectAltName ?? '', /spiffe:\/\/td\.test\/web/);
    assert.deepEqual(secrets.names(), ['default'], 'the next one waits for the acknowledgement');
    secrets.ack(0);
    await secrets.count(2);
    assert.deepEqual(secrets.names(), ['default', 'ALL']);
  });

  test('only real changes, and a renewed certificate at once', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    using secrets = openFull(harness);
    secrets.ask('default');
    await secrets.count(1);
    secrets.ack(0);
    await until(() => harness.svids.confirmed.length === 1);
    harness.bundles.set(bundleOf('td.test'));
    harness.entries.set(web, other);
    renew(harness);
    await secrets.count(2);
    assert.equal(secrets.messages.length, 2);
    assert.notEqual(secrets.messages[0]!.versionInfo, secrets.messages[1]!.versionInfo);
  });

  test('plain roots if its node says so, and then not those of all trust domains', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    const node = {
      id: 'proxy-1',
      metadata: { fields: { disable_spiffe_cert_validation: { boolValue: true } } },
    };
    using secrets = openFull(harness);
    secrets.send({ node, resourceNames: ['ROOTCA'] });
    await secrets.count(1);
    const { validationContext } = secrets.secret(0) ?? {};
    assert.match(String(validationContext?.trustedCa?.inlineBytes), /BEGIN CERTIFICATE/);
    assert.equal(validationContext?.customValidatorConfig, null);
    using all = openFull(harness);
    all.send({ node, resourceNames: ['ALL'] });
    assert.equal(fromServiceError(await all.error()).code, 'SECRET_NAME_INVALID');
  });

  test('nothing of another caller, whatever it names, and a list of what it may have', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    harness.entries.set(web, other);
    using secrets = openFull(harness);
    secrets.ask('spiffe://td.test/other');
    await until(() => clock.runs(heldMs));
    clock.leap(heldMs);
    const error = fromServiceError(await secrets.error());
    assert.equal(error.code, 'SECRET_NOT_GRANTED');
    const [, refusalId = ''] = /refusal ID (\S+)/.exec(error.message) ?? [];
    assert.equal(harness.refusals.get(refusalId)?.code, 'SECRET_NOT_GRANTED');
    assert.match(error.message, /may have default, ROOTCA, ALL, spiffe:\/\/td\.test\/web,/);
    assert.equal(secrets.messages.length, 0);
    using asked = openFull(harness);
    asked.ask('spiffe://td.test/web');
    await asked.count(1);
    assert.deepEqual(asked.names(), ['spiffe://td.test/web']);
  });

  test('everything that it may have, if it names nothing, which proves nothing', async () => {
    await using harness = await startSds();
    harness.entries.set({ ...web, federatesWith: ['b.test'] }, other);
    harness.bundles.set(bundleOf('td.test'), [bundleOf('b.test'), bundleOf('c.test')]);
    using secrets = openFull(harness);
    secrets.ask();
    for (let index = 0; index < 3; index += 1) {
      await secrets.count(index + 1);
      secrets.ack(index);
    }
    assert.deepEqual(secrets.names(), [
      'spiffe://td.test/web',
      'spiffe://td.test',
      'spiffe://b.test',
    ]);
    assert.deepEqual(harness.svids.confirmed, []);
    assert.ok(harness.consumers.reports.every((each) => each.startsWith('unprovable')));
  });

  test('no certificate whose key is another', async () => {
    let mismatches = 0;
    const metrics = {
      refusedByProxy: () => {},
      notGranted: () => {},
      keyMismatch: () => void (mismatches += 1),
      crlsWithheld: () => {},
    };
    await using harness = await startSds({ change: { metrics } });
    const { pair } = harness.svids;
    harness.svids.pair = (identity) => ({
      ...pair(identity),
      privateKeyPkcs8Der: pair(identity).privateKeyPkcs8Der,
    });
    harness.entries.set(web);
    using secrets = openFull(harness);
    secrets.ask('default');
    await until(() => mismatches > 0);
    harness.svids.pair = pair;
    renew(harness);
    await secrets.count(1);
    assert.equal(secrets.messages.length, 1);
  });

  test('the same default as before, when an entry comes that would be the first', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    const older = entryOf('a', 'spiffe://td.test/older', uid);
    {
      using secrets = openFull(harness);
      secrets.ask('default');
      await secrets.count(1);
      secrets.ack(0);
      await until(() => harness.svids.confirmed.length === 1);
    }
    harness.entries.set(older, web);
    using secrets = openFull(harness);
    secrets.ask('default');
    await secrets.count(1);
    const chain = Buffer.from(secrets.secret(0)!.tlsCertificate!.certificateChain!.inlineBytes!);
    assert.match(new X509Certificate(chain).subjectAltName ?? '', /td\.test\/web/);
  });
});

describe('a name that is not granted', () => {
  test('is held, and its secret goes out at once when an entry grants it', async () => {
    await using harness = await startSds();
    harness.entries.set(other);
    using secrets = openFull(harness);
    secrets.ask('default');
    await until(() => harness.entries.wantedCalls.length > 0);
    harness.entries.set(web);
    await secrets.count(1);
    assert.deepEqual(secrets.names(), ['default']);
  });

  test('of a process without identity ends its stream on record, without a list', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    harness.entries.set(other);
    using secrets = openFull(harness);
    secrets.ask('ROOTCA');
    await until(() => clock.runs(heldMs));
    clock.leap(heldMs);
    const thrown = await secrets.error();
    assert.equal(fromServiceError(thrown).code, 'NO_IDENTITY');
    assert.match(thrown.details, /refusal ID/);
    assert.doesNotMatch(thrown.details, /td\.test/);
    assert.equal(secrets.messages.length, 0);
  });

  test('as names of files alone, of a process without identity, ends its stream too', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    harness.entries.set(other);
    using secrets = openFull(harness);
    secrets.ask('file-root:system');
    await until(() => clock.runs(heldMs));
    clock.leap(heldMs);
    assert.equal(fromServiceError(await secrets.error()).code, 'NO_IDENTITY');
  });

  test('and never can be is refused at once', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    for (const name of ['spiffe://td.test/meshca/server', 'spiffe://td.test/a//b', 'x']) {
      using secrets = openFull(harness);
      secrets.ask('default', name);
      const thrown = await secrets.error();
      assert.equal(fromServiceError(thrown).code, 'SECRET_NAME_INVALID', name);
      assert.equal(secrets.messages.length, 0);
    }
  });

  test('since the right to it ended is not sent again, and ends the stream', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    const second = entryOf('z', 'spiffe://td.test/second', uid);
    harness.entries.set(web, second);
    using secrets = openFull(harness);
    secrets.ask('spiffe://td.test/second');
    await secrets.count(1);
    secrets.ack(0);
    await until(() => harness.svids.confirmed.length === 1);
    harness.entries.set(web);
    await until(() => harness.consumers.capabilities.includes('right-ended'));
    await until(() => clock.runs(heldMs));
    clock.leap(heldMs);
    assert.equal(fromServiceError(await secrets.error()).code, 'SECRET_NOT_GRANTED');
    assert.equal(secrets.messages.length, 1);
    assert.equal(harness.svids.open, 0);
  });

  test('as the names of Istio’s files, ends no stream', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    harness.entries.set(web);
    using secrets = openFull(harness);
    secrets.ask('file-root:system', 'file-cert:/etc/a~/etc/b', 'default');
    await secrets.count(1);
    secrets.ack(0);
    await until(() => harness.svids.confirmed.length === 1);
    clock.leap(10 * heldMs);
    harness.bundles.set(bundleOf('td.test'));
    renew(harness);
    await secrets.count(2);
    assert.deepEqual(secrets.names(), ['default', 'default']);
  });
});

describe('what is reported of a proxy', () => {
  test('with a certificate and the bundle: confirmed when it acknowledges the bundle', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    using leaf = openFull(harness);
    leaf.ask('default');
    await leaf.count(1);
    leaf.ack(0);
    using roots = openFull(harness);
    roots.ask('ROOTCA');
    await roots.count(1);
    await until(() => harness.consumers.reports.at(-1)?.startsWith('pending') === true);
    roots.ack(0);
    await until(
      () => harness.consumers.reports.at(-1) === `confirmed ${web.spiffeId} ${digestOf(harness)}`,
    );
    assert.equal(harness.consumers.open, 1, 'one line for both streams');
  });

  test('that refuses a bundle: refused with its reason, and not sent the same again', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    using roots = openFull(harness);
    roots.ask('ROOTCA');
    await roots.count(1);
    roots.nack(0, 'no such validator');
    await until(() => harness.consumers.reports.at(-1)?.startsWith('refused') === true);
    assert.match(harness.consumers.refusals.at(-1) ?? '', /no such validator \(code 13\)/);
    harness.entries.set(web, other);
    harness.bundles.set(bundleOf('td.test'));
    await roots.count(2);
    roots.ack(1);
    await until(
      () => harness.consumers.reports.at(-1) === `confirmed ${web.spiffeId} ${digestOf(harness)}`,
    );
    assert.equal(roots.messages.length, 2);
  });

  test('that refuses a bundle: it gets it again, in other bytes, when it applied another secret', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    using roots = openFull(harness);
    roots.ask('ROOTCA');
    await roots.count(1);
    roots.nack(0, 'the key beside it is broken');
    await until(() => harness.consumers.refusals.length > 0);
    using leaf = openFull(harness);
    leaf.ask('default');
    await leaf.count(1);
    assert.equal(roots.messages.length, 1);
    leaf.ack(0);
    await roots.count(2);
    assert.notDeepEqual(roots.secret(1), roots.secret(0));
    roots.nack(1, 'still broken');
    await until(() => harness.consumers.refusals.length > 1);
    renew(harness);
    await leaf.count(2);
    leaf.ack(1);
    await until(() => harness.svids.confirmed.length === 2);
    leaf.send({ resourceNames: ['default', 'ALL'], responseNonce: leaf.messages[1]!.nonce });
    await leaf.count(3);
    leaf.send({ resourceNames: ['default', 'ALL'], responseNonce: leaf.messages[2]!.nonce });
    await roots.count(3);
    roots.ack(2);
    await until(
      () => harness.consumers.reports.at(-1) === `confirmed ${web.spiffeId} ${digestOf(harness)}`,
    );
    assert.equal(roots.messages.length, 3, 'a renewal heals nothing');
  });

  test('that never answers: cut off by name, and counted anew when it is back', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    harness.entries.set(web);
    using silent = openFull(harness);
    silent.ask('ROOTCA');
    await silent.count(1);
    await until(() => clock.runs(defaultLimits.stallMs));
    clock.leap(defaultLimits.stallMs);
    await silent.error();
    assert.match(harness.consumers.stalls.join(), /^took no message for 30 s/);
    using roots = openFull(harness);
    roots.ask('ROOTCA');
    await roots.count(1);
    roots.ack(0);
    await until(() => harness.consumers.reports.at(-1)?.startsWith('confirmed') === true);
  });

  test('that takes no bundle: nobody can tell what it validates with', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    using leaf = openFull(harness);
    leaf.ask('default');
    await leaf.count(1);
    leaf.ack(0);
    await until(() => harness.consumers.reports.length === 1);
    assert.deepEqual(harness.consumers.reports, [
      `unprovable ${web.spiffeId} ${digestOf(harness)}`,
    ]);
  });
});

describe('DeltaSecrets', () => {
  test('sends what is new, and not what the proxy holds from an earlier stream', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    let version = '';
    {
      using secrets = openDelta(harness);
      secrets.send({ resourceNamesSubscribe: ['ROOTCA'] });
      await secrets.count(1);
      version = secrets.version(0);
      secrets.ack(0);
    }
    using secrets = openDelta(harness);
    secrets.send({
      resourceNamesSubscribe: ['ROOTCA', 'default'],
      initialResourceVersions: { ROOTCA: version, default: 'of a key that is gone' },
    });
    await secrets.count(1);
    assert.deepEqual(secrets.names(), ['default']);
    await until(() => harness.consumers.reports.at(-1)?.startsWith('confirmed') === true);
    secrets.ack(0);
    harness.bundles.set(bundleOf('td.test'));
    await secrets.count(2);
    assert.deepEqual(secrets.names(), ['default', 'ROOTCA']);
    secrets.send({
      resourceNamesUnsubscribe: ['ROOTCA'],
      responseNonce: secrets.messages[1]!.nonce,
    });
    harness.bundles.set(bundleOf('td.test'));
    renew(harness);
    await secrets.count(3);
    assert.deepEqual(secrets.names(), ['default', 'ROOTCA', 'default']);
  });

  test('sends what the proxy held at first again, when something else was sent since', async () => {
    await using harness = await startSds();
    harness.entries.set(web);
    const first = harness.bundles.own!;
    let version = '';
    {
      using secrets = openDelta(harness);
      secrets.send({ resourceNamesSubscribe: ['ROOTCA'] });
      await secrets.count(1);
      version = secrets.version(0);
    }
    using secrets = openDelta(harness);
    secrets.send({
      resourceNamesSubscribe: ['ROOTCA'],
      initialResourceVersions: { ROOTCA: version },
    });
    const confirmed = (): string => `confirmed ${web.spiffeId} ${digestOf(harness)}`;
    await until(() => harness.consumers.reports.at(-1) === confirmed());
    harness.bundles.set(bundleOf('td.test'));
    await secrets.count(1);
    secrets.ack(0);
    await until(() => harness.consumers.reports.at(-1) === confirmed());
    harness.bundles.set(first);
    await until(() => harness.consumers.reports.at(-1)?.endsWith(digestOf(harness)) === true);
    assert.notEqual(harness.consumers.reports.at(-1), confirmed(), 'it trusts the second set');
    await secrets.count(2);
    assert.equal(secrets.version(1), version);
    secrets.ack(1);
    await until(() => harness.consumers.reports.at(-1) === confirmed());
  });
});

test('answers are free, and a client that asks for the same again and again is limited', async () => {
  await using harness = await startSds({ limits: { callsPerSecond: 1, callsBurst: 10 } });
  harness.entries.set(web);
  using secrets = openDelta(harness);
  secrets.send({ resourceNamesSubscribe: ['ROOTCA'] });
  for (let index = 0; index < 20; index += 1) {
    await secrets.count(index + 1);
    harness.bundles.set(bundleOf('td.test'));
    secrets.ack(index);
  }
  const before = secrets.messages.length;
  secrets.send({ resourceNamesSubscribe: ['ROOTCA'] });
  for (let sent = 0; sent < 40; sent += 1)
    secrets.send({ resourceNamesSubscribe: ['ROOTCA'], responseNonce: String(sent) });
  assert.equal(fromServiceError(await secrets.error()).code, 'RATE_LIMITED');
  assert.ok(before >= 20);
});

test('FetchSecrets, for REST, says what to use instead', async () => {
  await using harness = await startSds();
  const error = await fetchSecrets(harness);
  assert.equal(fromServiceError(error).code, 'NOT_IMPLEMENTED');
});

test('a resource of another type is refused', async () => {
  await using harness = await startSds();
  harness.entries.set(web);
  using secrets = openFull(harness);
  secrets.send({ typeUrl: 'type.googleapis.com/envoy.config.cluster.v3.Cluster' });
  assert.equal(fromServiceError(await secrets.error()).code, 'SECRET_NAME_INVALID');
});
