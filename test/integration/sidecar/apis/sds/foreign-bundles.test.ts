import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { fromServiceError } from '../../../../../src/common/wire/index.ts';
import type { Secret__Output } from '../../../../../src/common/wire/generated/envoy/extensions/transport_sockets/tls/v3/Secret.ts';
import { pemEncode } from '../../../../../src/common/x509/index.ts';
import { heldMs } from '../../../../../sidecar/apis/sds/options.ts';
import { nobodysAuthority } from '../../../../../sidecar/bundle/index.ts';
import { bundleOf, entryOf, LeapClock } from '../../../../support/local-server-fakes.ts';
import { until } from '../../../../support/until.ts';
import { openDelta, openFull, startSds } from './support.ts';

const uid = [`unix:uid:${process.getuid?.() ?? 0}`];
let revision = 0;
const web = (...federatesWith: readonly string[]) =>
  entryOf('w', 'spiffe://td.test/web', uid, { federatesWith, revision: (revision += 1) });

type Domains = Readonly<Record<string, string>>;

/** The PEM of each trust domain, without the mark behind it. */
interface TrustDomains {
  readonly trustDomains: readonly {
    readonly name: string;
    readonly trustBundle: { readonly inlineBytes: Buffer };
  }[];
}

const domainsOf = (secret: Secret__Output | null | undefined): Domains => {
  const { typedConfig } = secret?.validationContext?.customValidatorConfig ?? {};
  const { trustDomains = [] } = (typedConfig?.value ?? {}) as Partial<TrustDomains>;
  return Object.fromEntries(
    trustDomains.map(({ name, trustBundle }) => [
      name,
      trustBundle.inlineBytes.toString().replace(/#.*\n$/, ''),
    ]),
  );
};
const pem = (der: Buffer): string => pemEncode('CERTIFICATE', der);
const nobody = pem(nobodysAuthority());

describe('foreign bundles of a proxy', () => {
  test('ALL and the ID of a trust domain give what its entries name, ROOTCA the own one alone', async () => {
    await using harness = await startSds();
    const [b, c] = [bundleOf('b.test'), bundleOf('c.test')];
    harness.bundles.set(bundleOf('td.test'), [c, b]);
    harness.entries.set(web('b.test'));
    using all = openFull(harness);
    all.ask('ALL', 'ROOTCA', 'spiffe://b.test');
    for (let index = 0; index < 3; index += 1) {
      await all.count(index + 1);
      all.ack(index);
    }
    const own = pem(harness.bundles.own?.rootsDer[0] as Buffer);
    const foreign = pem(b.rootsDer[0] as Buffer);
    assert.deepEqual(
      [0, 1, 2].map((index) => domainsOf(all.secret(index))),
      [{ 'td.test': own, 'b.test': foreign }, { 'td.test': own }, { 'b.test': foreign }],
    );
  });

  test('one that no entry names is not granted, and is not in the list of what is', async () => {
    const clock = new LeapClock();
    await using harness = await startSds({ clock });
    harness.bundles.set(bundleOf('td.test'), [bundleOf('b.test'), bundleOf('c.test')]);
    harness.entries.set(web('b.test'));
    using secrets = openFull(harness);
    secrets.ask('spiffe://c.test');
    await until(() => clock.runs(heldMs));
    clock.leap(heldMs);
    const error = fromServiceError(await secrets.error());
    assert.equal(error.code, 'SECRET_NOT_GRANTED');
    assert.match(error.message, /spiffe:\/\/b\.test/);
    assert.doesNotMatch(error.message, /c\.test.*c\.test/);
  });

  test('one that is withdrawn is replaced at once by one that trusts nobody, and may come back', async () => {
    await using harness = await startSds();
    const b = bundleOf('b.test');
    const own = bundleOf('td.test');
    harness.bundles.set(own, [b]);
    harness.entries.set(web('b.test'));
    using secrets = openFull(harness);
    secrets.ask('spiffe://b.test');
    await secrets.count(1);
    secrets.ack(0);
    harness.entries.set(web());
    await secrets.count(2);
    assert.deepEqual(domainsOf(secrets.secret(1)), { 'b.test': nobody });
    secrets.ack(1);
    harness.entries.set(web('b.test'));
    await secrets.count(3);
    assert.deepEqual(domainsOf(secrets.secret(2)), { 'b.test': pem(b.rootsDer[0] as Buffer) });
    secrets.ack(2);
    harness.bundles.set(own);
    await secrets.count(4);
    assert.deepEqual(domainsOf(secrets.secret(3)), { 'b.test': nobody });
    assert.ok(new X509Certificate(nobody).ca);
  });

  test('a proxy that comes back with what is withdrawn meanwhile loses it, in full and by differences', async () => {
    await using harness = await startSds();
    harness.bundles.set(bundleOf('td.test'), [bundleOf('b.test')]);
    harness.entries.set(web('b.test'));
    let version = '';
    {
      using secrets = openDelta(harness);
      secrets.send({ resourceNamesSubscribe: ['spiffe://b.test'] });
      await secrets.count(1);
      version = secrets.version(0);
    }
    harness.entries.set(web());
    using delta = openDelta(harness);
    delta.send({
      resourceNamesSubscribe: ['spiffe://b.test'],
      initialResourceVersions: { 'spiffe://b.test': version },
    });
    await delta.count(1);
    const resource = delta.messages[0]?.resources[0]?.resource as unknown as {
      readonly value: Secret__Output;
    };
    assert.deepEqual(domainsOf(resource.value), { 'b.test': nobody });
    using full = openFull(harness);
    full.send({ versionInfo: version, resourceNames: ['spiffe://b.test'] });
    await full.count(1);
    assert.deepEqual(domainsOf(full.secret(0)), { 'b.test': nobody });
  });

  test('a client that names nothing loses what is withdrawn too', async () => {
    await using harness = await startSds();
    harness.bundles.set(bundleOf('td.test'), [bundleOf('b.test')]);
    harness.entries.set(web('b.test'));
    using secrets = openFull(harness);
    secrets.ask();
    for (let index = 0; index < 3; index += 1) {
      await secrets.count(index + 1);
      secrets.ack(index);
    }
    harness.entries.set(web());
    await secrets.count(4);
    assert.deepEqual(domainsOf(secrets.secret(3)), { 'b.test': nobody });
  });

  test('foreign roots that a proxy refuses do not keep our own new roots from it', async () => {
    await using harness = await startSds();
    const own = bundleOf('td.test');
    harness.bundles.set(own, [bundleOf('b.test')]);
    harness.entries.set(web('b.test'));
    using secrets = openFull(harness);
    secrets.ask('ALL');
    await secrets.count(1);
    secrets.ack(0);
    const confirmed = (): string =>
      `confirmed spiffe://td.test/web ${harness.bundles.own?.authoritySetDigest.toString('hex').slice(0, 8)}`;
    await until(() => harness.consumers.reports.at(-1) === confirmed());
    const next = bundleOf('td.test', 2);
    harness.bundles.set(next, [bundleOf('b.test', 2)]);
    await secrets.count(2);
    secrets.nack(1, 'a foreign root is broken');
    await secrets.count(3);
    assert.deepEqual(domainsOf(secrets.secret(2)), { 'td.test': pem(next.rootsDer[0] as Buffer) });
    secrets.ack(2);
    await until(() => harness.consumers.reports.at(-1) === confirmed());
    const healed = bundleOf('b.test', 3);
    harness.bundles.set(next, [healed]);
    await secrets.count(4);
    assert.deepEqual(Object.keys(domainsOf(secrets.secret(3))), ['td.test', 'b.test']);
  });

  test('a change of foreign roots alone leaves what is known of the own ones as it was', async () => {
    await using harness = await startSds();
    const own = bundleOf('td.test');
    harness.bundles.set(own, [bundleOf('b.test')]);
    harness.entries.set(web('b.test'));
    using secrets = openFull(harness);
    secrets.ask('ALL', 'spiffe://b.test');
    await secrets.count(1);
    secrets.ack(0);
    await secrets.count(2);
    secrets.ack(1);
    await until(() => harness.consumers.reports.at(-1)?.startsWith('confirmed') === true);
    const before = harness.consumers.reports.length;
    harness.bundles.set(own, [bundleOf('b.test', 2)]);
    await secrets.count(3);
    secrets.nack(2, 'the foreign roots are broken');
    await secrets.count(4);
    const later = new Set(harness.consumers.reports.slice(before));
    assert.deepEqual(
      [...later].filter((each) => !each.startsWith('confirmed')),
      [],
    );
  });
});
