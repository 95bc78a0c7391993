import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fullId } from '../../../src/cli/short-id.ts';
import { PkiError } from '../../../src/common/errors/index.ts';

const ids = [
  '019a0000-0000-7000-8000-aaaaaaaaaaaa',
  '019a0000-0000-7000-8000-bbbbbbaaaaaa',
  'beadedbeaded',
];
const find = (text: string): Promise<string> =>
  fullId(text, { what: 'token', list: 'token list', ids: () => ids });
const code = (wanted: string) => (thrown: unknown) => PkiError.from(thrown).code === wanted;

describe('a short ID', () => {
  test('is the end or the beginning of one, as tables show it', async () => {
    assert.equal(await find('bbbbbbaaaaaa'), ids[1]);
    assert.equal(await find('beadedbea'), ids[2]);
    assert.equal(await find('…bbbbaaaaaa'), ids[1]);
    assert.equal(await find(ids[0] as string), ids[0]);
  });

  test('is refused where several fit or none does', async () => {
    await assert.rejects(find('aaaaaa'), code('INVALID_REQUEST'));
    await assert.rejects(find('019a0000'), code('INVALID_REQUEST'));
    await assert.rejects(find('cccccc'), code('NOT_FOUND'));
    await assert.rejects(find('aaa'), code('NOT_FOUND'));
  });
});
