import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'node:test';
import { merged, placeOfRefusal, wantedKinds } from '../../../src/cli/audit-filter.ts';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { actKinds, recordKinds } from '../../../src/common/tlog/index.ts';

const invalid = (form: RegExp) => (thrown: unknown) => {
  const { code, message } = PkiError.from(thrown);
  return code === 'INVALID_REQUEST' && form.test(message);
};

describe('the kinds of records that are asked for', () => {
  test('are all where none is named', () => {
    const { asked, isWanted } = wantedKinds({});
    assert.equal(asked, undefined);
    assert.ok(isWanted('certificate.issued') && isWanted('kind.of-tomorrow'));
  });

  test('may be named with wildcards and left out', () => {
    assert.deepEqual(wantedKinds({ kind: ['entry.*'] }).asked, [
      'entry.created',
      'entry.deleted',
      'entry.updated',
    ]);
    assert.deepEqual(wantedKinds({ kind: ['entry.*'], notKind: ['*.deleted'] }).asked, [
      'entry.created',
      'entry.updated',
    ]);
    const { asked, isWanted } = wantedKinds({ notKind: ['certificate.issued'] });
    assert.equal(asked, undefined);
    assert.ok(!isWanted('certificate.issued') && isWanted('agent.banned'));
  });

  test('are administrative acts on request', () => {
    const { asked, isWanted } = wantedKinds({ acts: true });
    assert.deepEqual(asked, [...actKinds]);
    assert.ok(isWanted('agent.banned') && !isWanted('agent.renewed'));
  });

  test('are refused where no record has them', () => {
    assert.throws(
      () => wantedKinds({ kind: ['certificate.isued'] }),
      invalid(/did you mean certificate\.issued\?/),
    );
    assert.throws(() => wantedKinds({ notKind: ['nothing.*'] }), invalid(/no record has the kind/));
    assert.throws(
      () => wantedKinds({ kind: ['agent.renewed'], acts: true }),
      invalid(/exclude every kind of record/),
    );
  });
});

test('a refusal is looked for around the time in its ID', () => {
  const atMs = 1_700_000_000_123;
  const { sinceMs, untilMs } = placeOfRefusal(uuidv7(atMs));
  assert.ok(sinceMs < atMs && atMs < untilMs && untilMs - sinceMs <= 120_000);
  for (const text of ['', '0a', randomUUID(), `${uuidv7(atMs)}0`])
    assert.throws(() => placeOfRefusal(text), invalid(/no refusal ID/));
});

test('the known kinds are those that the sources record', () => {
  const root = fileURLToPath(new URL('../src/', import.meta.resolve('#proto/README.md')));
  const named = new Set<string>();
  for (const path of readdirSync(root, { recursive: true, encoding: 'utf8' }))
    if (path.endsWith('.ts'))
      for (const [, kind] of readFileSync(join(root, path), 'utf8').matchAll(
        /kind: '([a-z-]+\.[a-z.-]+)'/g,
      ))
        named.add(kind as string);
  assert.deepEqual(
    [...named].filter((kind) => !recordKinds.includes(kind)),
    [],
  );
  assert.ok(named.size > 20);
});

test('sequences in order are merged in order', async () => {
  const of = (...numbers: number[]): AsyncIterator<number> =>
    (async function* () {
      yield* numbers;
    })();
  const found: number[] = [];
  for await (const each of merged([of(9, 4, 1), of(), of(8, 7, 2)], (a, b) => a > b))
    found.push(each);
  assert.deepEqual(found, [9, 8, 7, 4, 2, 1]);
});
