import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { corroborationOf, type Quorum } from '../../../../src/domain/index.ts';

const letters = { a: 'agreed', d: 'disagreed', n: 'absent', w: 'awaited' } as const;
type Letter = keyof typeof letters;
const judge = (texts: string, quorum: Quorum): string =>
  corroborationOf(
    Array.from(texts, (letter) => letters[letter as Letter]),
    quorum,
  );
const all: Quorum = { agreeing: 3, disagreeing: 0 };
const most: Quorum = { agreeing: 2, disagreeing: 1 };

describe('the quorum of perspectives', () => {
  for (const [texts, quorum, verdict] of [
    ['aaa', all, 'corroborated'],
    ['aad', all, 'contradicted'],
    ['aan', all, 'short'],
    ['aaw', all, 'open'],
    ['adw', all, 'contradicted'],
    ['nnn', all, 'short'],
    ['', { agreeing: 1, disagreeing: 0 }, 'contradicted'],
    ['aaa', most, 'corroborated'],
    ['aad', most, 'corroborated'],
    ['aan', most, 'corroborated'],
    ['aaw', most, 'corroborated'],
    ['adn', most, 'short'],
    ['ann', most, 'short'],
    ['add', most, 'contradicted'],
    ['ddn', most, 'contradicted'],
    ['ddw', most, 'contradicted'],
    ['adw', most, 'open'],
    ['aadw', most, 'open'],
    ['dnn', most, 'short'],
    ['ad', most, 'contradicted'],
    ['a', { agreeing: 1, disagreeing: 0 }, 'corroborated'],
  ] as const)
    it(`of ${quorum.agreeing}, ${quorum.disagreeing} is ${verdict} by "${texts}"`, () => {
      assert.equal(judge(texts, quorum), verdict);
    });

  it('never rests on perspectives that said nothing', () => {
    const random = (seed: number) => () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31);
    const draw = random(7);
    const next = (): number => Math.floor(draw() / 65_536);
    for (let round = 0; round < 2_000; round += 1) {
      const texts = Array.from({ length: 1 + (next() % 6) }, () => 'adnw'[next() % 4]).join('');
      const quorum = { agreeing: 1 + (next() % texts.length), disagreeing: next() % texts.length };
      const [agreed, disagreed] = ['a', 'd'].map((wanted) => texts.split(wanted).length - 1);
      const verdict = judge(texts, quorum);
      if (verdict !== 'corroborated') continue;
      assert.ok((agreed as number) >= quorum.agreeing, texts);
      assert.ok((disagreed as number) <= quorum.disagreeing, texts);
      // whatever those say who are still awaited, it stays so
      assert.equal(judge(texts.replaceAll('w', 'd'), quorum), 'corroborated', texts);
    }
  });
});
