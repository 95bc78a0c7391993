import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listJson, listText } from '../../../drills/list.ts';

const drills = [
  {
    name: 'transition-kills',
    promise:
      'a rotation goes on from wherever the server was killed, nothing is done twice, and of two actors one acts',
    options: ['--rounds N'],
  },
  { name: 'taint', promise: 'short', options: [] },
];

test('the list of drills fits the terminal, and loses no word', () => {
  const text = listText(drills, 80);
  const lines = text.split('\n');
  for (const line of lines) assert.ok(line.length <= 80, line);
  assert.ok(lines.length > drills.length + 1, 'the long promise is broken into lines');
  assert.ok(text.replace(/\s+/g, ' ').includes(drills[0]?.promise ?? '-'));
});

test('a list of drills that is piped has one line for each', () => {
  assert.equal(listText(drills, 0).trimEnd().split('\n').length, drills.length);
});

test('the list as JSON has names, promises and options', () => {
  assert.deepEqual(JSON.parse(listJson(drills)), drills);
});
