import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { tokenize } from './tokens.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

const otherNames = ['stop', 'dispose', 'destroy', 'shutdown', 'terminate'];

/** Names of methods that end their object and are called neither `close` nor a symbol. */
function endingsIn(source: string): readonly string[] {
  const tokens = tokenize(source);
  return tokens.flatMap(({ kind, text }, at) => {
    const [before, next, afterNext] = [tokens[at - 1]?.text, tokens[at + 1]?.text, tokens[at + 2]];
    if (kind !== 'word' || !otherNames.includes(text) || next !== '(') return [];
    // an override has the name that Node gave it
    if (before === 'override' || before === 'function') return [];
    const isMethod = afterNext?.text === ')' && [':', '{'].includes(tokens[at + 3]?.text ?? '');
    return isMethod && ['{', '}', ';', ',', 'async'].includes(before ?? '') ? [text] : [];
  });
}

test('what must be ended has close() or is disposed of by its scope, under no third name', () => {
  const found = ['src', 'sidecar'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.includes('generated'))
      .flatMap((path) =>
        endingsIn(readFileSync(join(root, folder, path), 'utf8')).map(
          (name) => `${folder}/${path}: ${name}()`,
        ),
      ),
  );
  assert.deepEqual(found, [], 'see "Rules" in CONTRIBUTING.md');
});

test('a third name is found in classes, interfaces and records', () => {
  assert.deepEqual(endingsIn('class A { #a = 1; stop(): void { this.#a = 0; } }'), ['stop']);
  assert.deepEqual(endingsIn('interface A { shutdown(): Promise<void>; }'), ['shutdown']);
  assert.deepEqual(endingsIn('const a = { b, async destroy() { await c(); } };'), ['destroy']);
  assert.deepEqual(endingsIn('stop(); socket.destroy(); if (a) { stop(); }'), []);
  assert.deepEqual(endingsIn('class A extends B { override destroy(): void {} }'), []);
});
