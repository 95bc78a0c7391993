import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const main = fileURLToPath(
  new URL(`../../../bench/main.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);

interface Printed {
  readonly cores: number;
  readonly figures: readonly {
    readonly name: string;
    readonly what: string;
    readonly ratio: number;
    readonly met: boolean | null;
    readonly detail: Readonly<Record<string, number>>;
  }[];
}
const bench = async (...names: readonly string[]): Promise<Printed> =>
  JSON.parse(
    (await run(process.execPath, [main, '--short', '--json', ...names], { timeout: 500_000 }))
      .stdout,
  ) as Printed;

function assertFigures({ figures, cores }: Printed, names: readonly string[]): void {
  assert.ok(cores >= 1);
  assert.deepEqual(
    figures.map(({ name }) => name),
    names,
  );
  for (const { name, what, ratio, met, detail } of figures) {
    assert.ok(what.length > 0 && Number.isFinite(ratio) && ratio > 0, `${name}: ${ratio}`);
    assert.ok(met === null || typeof met === 'boolean');
    assert.ok(
      Object.values(detail).every((value) => Number.isFinite(value)),
      `${name}: ${JSON.stringify(detail)}`,
    );
  }
}

test('the short bench gives figures of a start, of the store and of fan-out', async () => {
  assertFigures(await bench('sync', 'start', 'store.batch100'), [
    'start.cpu.server',
    'start.cpu.agent',
    'start.cpu.command',
    'start.memory.server',
    'start.memory.agent',
    'start.memory.signer',
    'start.log',
    'store.batch100',
    'sync.fanout',
  ]);
});

test('the short bench gives a figure of issuance through a real server, against the crypto floor', async () => {
  const printed = await bench('issuance.agent.batch100');
  assertFigures(printed, ['issuance.agent.batch100']);
  assert.ok((printed.figures[0]?.detail['crypto floor/s'] ?? 0) > 0);
});

test('the short bench says what the audit log and its checks cost on a whole issuance', async () => {
  const printed = await bench('audit.batch100');
  assertFigures(printed, ['audit.batch100']);
  assert.ok((printed.figures[0]?.detail['certificates/s with'] ?? 0) > 0);
});

test('the bench refuses names and options that it does not know', async () => {
  for (const wrong of ['issuanse', '--shrot'])
    await assert.rejects(
      run(process.execPath, [main, wrong]),
      (error: { readonly code: number }) => error.code === 2,
    );
});

test('the short bench says what a policy costs of a whole issuance', async () => {
  assertFigures(await bench('policy.batch100'), ['policy.batch100']);
});
