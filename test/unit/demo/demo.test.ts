import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  apply,
  failedHandshakes,
  newModel,
  nextSecond,
  renewals,
  type DemoEvent,
  type DemoModel,
} from '../../../demo/model.ts';
import { parseOptions } from '../../../demo/options.ts';
import { draw } from '../../../demo/picture.ts';
import { summary } from '../../../demo/plain.ts';
import { bar, cut, painter, sparkline, widthOf } from '../../../demo/text.ts';

const start = 1_800_000_000_000;

function busy(): DemoModel {
  const model = newModel(start);
  const tell = (event: DemoEvent, afterMs = 2000): void =>
    void apply(model, event, start + afterMs);
  tell({
    kind: 'facts',
    trustDomain: 'demo.meshca.test',
    hsm: 'SoftHSM',
    root: { text: 'ec-p384 until 2036-01-01', notAfter: 1 },
    issued: 7,
  });
  tell({ kind: 'server', state: 'ready', detail: 'gRPC on 127.0.0.1:8443' });
  tell({
    kind: 'agent',
    state: 'ready',
    detail: 'spiffe://demo.meshca.test/meshca/agent/join-token/demo-node',
  });
  for (const name of ['greeter', 'caller'] as const) {
    const identity = {
      type: 'identity',
      id: `spiffe://demo.meshca.test/${name}`,
      serial: '0123456789abcdef0123',
      notBefore: start / 1000 - 30,
      notAfter: start / 1000 + 32,
      issuer: 'aabbccddeeff0011',
    } as const;
    tell({ kind: 'workload', name, report: { ...identity, renewal: false } });
    tell({ kind: 'workload', name, report: { ...identity, renewal: true } });
  }
  for (let second = 0; second < 200; second += 1) {
    tell(
      {
        kind: 'workload',
        name: 'caller',
        report: {
          type: 'traffic',
          requests: second * 25,
          failedRequests: 0,
          connections: second * 6,
          failedHandshakes: 0,
          lastFailure: undefined,
        },
      },
      3000 + second,
    );
    nextSecond(model);
  }
  return model;
}

for (const columns of [20, 40, 60, 72, 80, 100, 200]) {
  for (const rows of [5, 16, 24, 50]) {
    test(`the picture keeps inside ${columns} by ${rows}, with colours and without`, () => {
      for (const color of [true, false]) {
        for (const model of [newModel(start), busy()]) {
          const lines = draw(
            model,
            { columns, rows },
            { color, nowMs: start + 10_000, tryNext: ['npm run -s meshca -- entry list'] },
          );
          assert.ok(lines.length < rows, `${lines.length} lines`);
          for (const line of lines)
            assert.ok(widthOf(line) <= columns, `${widthOf(line)} columns: ${line}`);
          if (!color) assert.ok(!lines.join('').includes('\u001b'));
        }
      }
    });
  }
}

test('a terminal of usual size shows the next commands once they are of use, and the newest events', () => {
  const tryNext = ['one', 'two', 'three', 'four', 'five'].map((text) => `npm run ${text}`);
  const model = busy();
  model.hsm = 'SoftHSM';
  model.root = { text: 'ec-p384' } as NonNullable<typeof model.root>;
  const lines = draw(
    model,
    { columns: 80, rows: 24 },
    { color: false, nowMs: start + 10_000, tryNext },
  ).join('\n');
  for (const command of tryNext) assert.ok(lines.includes(command), lines);
  assert.match(lines, /events/);
});

test('the figures at the end are those of the workloads', () => {
  const model = busy();
  assert.equal(renewals(model), 2);
  assert.deepEqual(JSON.parse(summary(model)), {
    seconds: 3,
    renewals: 2,
    requests: 4975,
    failedHandshakes: 0,
  });
  assert.equal(JSON.parse(summary(newModel(start))).seconds, null);
});

test('a certificate by a new authority is told with the count of failed handshakes, and shown', () => {
  const model = busy();
  const renewed = {
    type: 'identity',
    id: 'spiffe://demo.meshca.test/caller',
    serial: '99',
    notBefore: 1,
    notAfter: start / 1000 + 60,
    issuer: '1234567890abcdef',
    renewal: true,
  } as const;
  assert.match(
    apply(model, { kind: 'workload', name: 'caller', report: renewed }, start)?.text ?? '',
    /new authority 12345678; 0 failed/,
  );
  assert.doesNotMatch(
    apply(model, { kind: 'workload', name: 'caller', report: { ...renewed, serial: '98' } }, start)
      ?.text ?? '',
    /new authority/,
  );
  assert.match(
    draw(model, { columns: 120, rows: 50 }, { color: false, nowMs: start, tryNext: [] }).join('\n'),
    /by aabbccdd.*by 12345678/,
  );
});

test('a failure is told once, with its reason, and counted', () => {
  const model = newModel(start);
  const report = {
    type: 'traffic',
    requests: 5,
    failedRequests: 0,
    connections: 1,
    failedHandshakes: 1,
    lastFailure: 'CHAIN_UNTRUSTED',
  } as const;
  assert.equal(apply(model, { kind: 'workload', name: 'caller', report }, start)?.tone, 'bad');
  apply(model, { kind: 'workload', name: 'caller', report }, start);
  assert.equal(model.log.filter(({ tone }) => tone === 'bad').length, 1);
  assert.equal(failedHandshakes(model), 1);
});

test('text is cut by what is seen, never inside an escape sequence', () => {
  const paint = painter(true);
  assert.equal(widthOf(cut(paint('abcdefgh', 'red'), 4)), 4);
  assert.equal(cut(paint('abcdefgh', 'red'), 4), '\u001b[31mabc…\u001b[0m');
  assert.equal(cut('abc', 3), 'abc');
  assert.equal(sparkline([0, 1, 2, 4], 6).length, 6);
  for (const share of [-1, 0, 0.01, 0.5, 0.999, 1, 2])
    assert.equal(widthOf(bar(share, 13).full + bar(share, 13).empty), 13);
});

test('options are checked', () => {
  assert.deepEqual(parseOptions(['--seconds', '5', '--json'], {}, '/x'), {
    seconds: 5,
    json: true,
    help: false,
    product: undefined,
    home: '/x/.meshca',
  });
  assert.equal(parseOptions(['--home=/y'], { MESHCA_HOME: '/z' }, '/x').home, '/y');
  assert.equal(parseOptions([], { MESHCA_HOME: 'z' }, '/x').home, '/x/z');
  for (const args of [
    ['--json'],
    ['--seconds'],
    ['--seconds', '0'],
    ['--seconds', 'many'],
    ['--secods', '5'],
  ]) {
    assert.throws(() => parseOptions(args, {}, '/x'), { code: 'INVALID_REQUEST' });
  }
});
