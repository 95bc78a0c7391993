import assert from 'node:assert/strict';
import { test } from 'node:test';
import { levelled, silentLogger, type Logger } from '../../../../src/common/runtime/index.ts';

test('fields are made for a line that is written, and for no other', () => {
  const lines: object[] = [];
  const inner: Logger = { ...silentLogger, debug: (fields) => void lines.push(fields) };
  const logger = levelled(inner, 'info');
  let made = 0;
  const fields = (): object => {
    made += 1;
    return { made };
  };
  logger.debug(fields, 'request done');
  assert.deepEqual([made, lines], [0, []]);
  logger.setLevel('debug');
  logger.debug(fields, 'request done');
  logger.debug({ plain: true }, 'request done');
  assert.deepEqual(lines, [{ made: 1 }, { plain: true }]);
});
