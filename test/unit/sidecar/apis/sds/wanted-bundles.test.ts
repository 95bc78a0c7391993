import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WantedBundles } from '../../../../../sidecar/apis/sds/wanted-bundles.ts';
import { seeded } from '../../../../support/seeded.ts';

interface Plain {
  sent: string;
  applied: string;
  refused: string;
}

const names = ['ROOTCA', 'ALL', 'spiffe://td.test'];
const digest = (value: number): Buffer => Buffer.alloc(4, value);

test('in random histories the counts are those of the subscriptions one by one', () => {
  const random = seeded(7);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (let history = 0; history < 200; history += 1) {
    const bundles = new WantedBundles();
    const streams = [{}, {}, {}];
    const plain = new Map<object, Map<string, Plain>>(streams.map((each) => [each, new Map()]));
    for (let step = 0; step < 40; step += 1) {
      const stream = streams[below(3)] as object;
      const known = plain.get(stream) as Map<string, Plain>;
      const name = names[below(3)] as string;
      const value = below(3);
      const text = digest(value).toString('hex');
      const bundle = known.get(name);
      const act = below(5);
      if (act === 0) {
        const wanted = new Set(names.filter(() => random() < 0.6));
        bundles.wants(stream, wanted);
        for (const each of known.keys()) if (!wanted.has(each)) known.delete(each);
        for (const each of wanted)
          known.set(each, known.get(each) ?? { sent: '', applied: '', refused: '' });
      } else if (act === 1) {
        bundles.change(stream, name, { sent: digest(value), refused: undefined });
        if (bundle !== undefined) Object.assign(bundle, { sent: text, refused: '' });
      } else if (act === 2) {
        bundles.change(stream, name, { applied: text });
        if (bundle !== undefined) bundle.applied = text;
      } else if (act === 3) {
        bundles.change(stream, name, { refused: `no ${value}` });
        if (bundle !== undefined) bundle.refused = `no ${value}`;
      } else {
        const left = bundles.leave(stream);
        assert.deepEqual(
          [...left],
          [...known].map(([each, { applied }]) => [each, applied]),
        );
        known.clear();
      }
      const all = [...plain.values()].flatMap((each) => [...each.values()]);
      const sorted = (values: readonly string[]) => [...new Set(values)].sort();
      assert.equal(bundles.size, all.length);
      assert.deepEqual(
        sorted(bundles.sent()),
        sorted(all.map(({ sent }) => sent).filter((each) => each !== '')),
      );
      assert.deepEqual(sorted(bundles.applied()), sorted(all.map(({ applied }) => applied)));
      const refusals = all.map(({ refused }) => refused).filter((each) => each !== '');
      assert.equal(bundles.refusal() === undefined, refusals.length === 0);
      assert.ok(refusals.length === 0 || refusals.includes(bundles.refusal() as string));
      const applied = streams.filter((each) => (plain.get(each)?.get(name)?.applied ?? '') !== '');
      assert.deepEqual(new Set(bundles.appliedBy(name)), new Set(applied));
    }
  }
});
