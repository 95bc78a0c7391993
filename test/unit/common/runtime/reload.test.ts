import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import { changedKeys } from '../../../../src/common/runtime/changed-keys.ts';
import {
  levelled,
  reloadConfig,
  ReloadRequests,
  silentLogger,
  type Logger,
  type LogLevel,
} from '../../../../src/common/runtime/index.ts';
import { nextTurn } from '../../../support/until.ts';

interface Line {
  readonly level: string;
  readonly fields: Record<string, unknown>;
}

function recording(): { readonly logger: Logger; readonly lines: Line[] } {
  const lines: Line[] = [];
  const at = (level: string) => (fields: object) =>
    void lines.push({ level, fields: { ...fields } });
  const logger: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    fatal: at('fatal'),
    child: () => logger,
  };
  return { logger, lines };
}

const config = (level: LogLevel, port = 1) => ({ log: { level }, listen: { port } });

describe('a reload', () => {
  test('takes the log level over, for children too, and names keys that need a restart', async () => {
    const { logger: inner, lines } = recording();
    const logger = levelled(inner, 'info');
    const child = logger.child({});
    child.debug({});
    assert.deepEqual(lines, []);
    await reloadConfig({
      started: config('info'),
      load: () => Promise.resolve(ok(config('debug', 2))),
      reloadedKeys: ['log.level'],
      apply: () => Promise.resolve(),
      logger,
    });
    assert.deepEqual(
      lines.map(({ level, fields }) => [level, fields]),
      [
        ['info', { logLevel: 'debug' }],
        ['warn', { keys: ['listen.port'] }],
      ],
    );
    child.debug({});
    assert.equal(lines.length, 3);
  });

  test('that fails changes nothing, and is logged with its code', async () => {
    for (const [load, apply] of [
      [(): Result<ReturnType<typeof config>> => fail('CONFIG_INVALID', 'no'), () => {}],
      [
        (): Result<ReturnType<typeof config>> => ok(config('debug')),
        () => assert.fail('the files can not be read'),
      ],
    ] as const) {
      const { logger: inner, lines } = recording();
      const logger = levelled(inner, 'error');
      await reloadConfig({
        started: config('error'),
        load: () => Promise.resolve(load()),
        reloadedKeys: ['log.level'],
        apply: () => Promise.resolve().then(apply),
        logger,
      });
      assert.deepEqual(
        lines.map(({ level }) => level),
        ['error'],
      );
      assert.equal(typeof lines[0]?.fields['code'], 'string');
      assert.equal(logger.level(), 'error');
    }
  });

  test('compares configurations by key, and lists as a whole', () => {
    const before = { a: { b: 1, c: [1, 2] }, same: {} };
    assert.deepEqual(changedKeys(before, { a: { b: 1, c: [2, 1], d: true }, same: {} }), [
      'a.c',
      'a.d',
    ]);
    assert.deepEqual(changedKeys(before, { a: { b: 2, c: [1, 2] } }, ['a.b']), []);
  });
});

describe('requests to reload', () => {
  test('that come before the start, or during a reload, are served once afterwards', async () => {
    const requests = new ReloadRequests();
    requests.request();
    requests.request();
    let runs = 0;
    const ends: (() => void)[] = [];
    const serving = requests.serve(() => {
      runs += 1;
      return new Promise((resolve) => ends.push(resolve));
    });
    assert.equal(runs, 1);
    requests.request();
    requests.request();
    assert.equal(runs, 1);
    ends.shift()?.();
    while (runs < 2) await nextTurn();
    ends.shift()?.();
    await nextTurn();
    assert.equal(runs, 2);
    await serving[Symbol.asyncDispose]();
    requests.request();
    assert.equal(runs, 2);
  });
});

test('a logger lets the levels from its own on through', () => {
  const { logger: inner, lines } = recording();
  const logger = levelled(inner, 'warn');
  for (const level of ['debug', 'info', 'warn', 'error', 'fatal'] as const) logger[level]({});
  assert.deepEqual(
    lines.map(({ level }) => level),
    ['warn', 'error', 'fatal'],
  );
  levelled(silentLogger, 'debug').child({}).debug({});
});
