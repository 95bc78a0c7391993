import assert from 'node:assert/strict';
import test from 'node:test';
import { buildGraph, closure, cycles } from './graph.ts';
import { floorViolations, partOf } from './rules.ts';
import { scan } from './scan.ts';
import { tokenize } from './tokens.ts';

// A line per case, so that the text stays out of the scan of this very file.
const lines = (...text: readonly string[]): string => text.join('\n');

test('every form of import and re-export is found, with its kind', () => {
  const { imports, unknownImports } = scan(
    lines(
      'import a from "./a.ts";',
      "import * as b from './b.ts'",
      'import { c, type C } from "./c.ts";',
      'import d, { e as f } from "./d.ts";',
      'import "./side.ts";',
      'import type { T } from "./t.ts";',
      'import type U from "./u.ts"',
      'import { type V } from "./v.ts";',
      'import type from "./w.ts";',
      'export { x } from "./x.ts";',
      'export * from "./y.ts";',
      'export * as z from "./z.ts";',
      'export type { Z } from "./zt.ts";',
      'export type * from "./zs.ts";',
      'const l = await import("./l.ts");',
      'const m = await import(`./m.ts`);',
      'const n = require("n");',
      'type W = import("./it.ts").W;',
      'import json from "./j.json" with { type: "json" };',
      'import {',
      '  multi,',
      '  line,',
      '} from "./ml.ts";',
    ),
  );
  assert.equal(unknownImports, 0);
  const of = (kind: string): string[] =>
    imports.filter((each) => each.kind === kind).map(({ specifier }) => specifier);
  assert.deepEqual(of('static'), [
    './a.ts',
    './b.ts',
    './c.ts',
    './d.ts',
    './side.ts',
    './v.ts',
    './w.ts',
    './x.ts',
    './y.ts',
    './z.ts',
    './j.json',
    './ml.ts',
  ]);
  assert.deepEqual(of('type'), ['./t.ts', './u.ts', './zt.ts', './zs.ts']);
  assert.deepEqual(of('dynamic'), ['./l.ts', './m.ts', 'n', './it.ts']);
});

test('what only looks like an import is none', () => {
  const { imports, unknownImports } = scan(
    lines(
      '// import "./comment.ts";',
      '/* import "./block.ts"; */',
      'const s = "import \'./string.ts\'";',
      'const t = `import "./template.ts"`;',
      'const r = /import "x"/;',
      'const u = new URL("./fork.ts", import.meta.url);',
      'const v = import.meta.resolve("#x/y");',
      'object.import("./member.ts");',
      'const w = { import: "./key.ts", from: "./from.ts" };',
      'export const from = "./value.ts";',
      'export function f() { return "./f.ts"; }',
      'export { s };',
      'const q = "./after.ts";',
      'export type Q = { from: "./type.ts" };',
      'export class K { from = "./class.ts"; }',
      'export interface I { readonly a: string }',
    ),
  );
  assert.deepEqual(imports, []);
  assert.equal(unknownImports, 0);
});

test('code after tricky literals is still scanned', () => {
  for (const before of [
    'const a = b / c / d;',
    'const a = x.replace(/["\'`]/g, "");',
    'const a = /[/"]/.test(s);',
    'const a = `${`${"}"}`} \\` /*`;',
    'const a = "\\"";',
    'const a = (b) / 2; // "',
    'const a = b[0] / 2; /* ` */',
    'return /`/;',
    'const a = 1 / 2 / 3;',
    'const a = `//${b}`;',
    "/** it's */",
    'const a = { b: 1 }; const c = `${{ d: `}` }}`;',
    '#!/usr/bin/env node "',
  ]) {
    assert.deepEqual(
      scan(`${before}\nimport { z } from './z.ts';`).imports,
      [{ specifier: './z.ts', kind: 'static' }],
      before,
    );
  }
  assert.deepEqual(scan('const a = `${await import("./inside.ts")}`;').imports, [
    { specifier: './inside.ts', kind: 'dynamic' },
  ]);
});

test('an import of something computed is counted as unknown', () => {
  assert.equal(scan('await import(name);').unknownImports, 1);
  assert.equal(scan('await import("./a" + name);').unknownImports, 1);
  assert.equal(scan('await import(`./${name}.ts`);').unknownImports, 1);
  assert.equal(
    scan('const require = createRequire(import.meta.url); require(name);').unknownImports,
    1,
  );
  assert.equal(scan('class A { require(verb: string): void {} }').unknownImports, 0);
});

test('default exports are found in both spellings', () => {
  for (const text of [
    'export default 1;',
    'export default class {}',
    'export { a as default };',
    'export { default } from "./a.ts";',
    'export { b, a as default } from "./a.ts";',
  ]) {
    assert.equal(scan(text).defaultExport, true, text);
  }
  for (const text of [
    'const a = { default: 1 };',
    'switch (a) { default: b(); }',
    'import { default as c } from "./a.ts";',
    'export const d = { default: 1 };',
    'export { default as e } from "./a.ts";',
  ])
    assert.equal(scan(text).defaultExport, false, text);
});

test('reading process is found by every name it has', () => {
  for (const text of [
    'process.env.A',
    'process?.exit()',
    'process["argv"]',
    'const { env } = process;',
    'run(process)',
    'run(a, process)',
    '`${process.pid}`',
    'globalThis.process.env',
    'import { env } from "node:process"',
    'import p from "process"',
  ]) {
    assert.equal(scan(text).readsProcess, true, text);
  }
  for (const text of [
    'child.process.kill()',
    'const a = { process: 1 };',
    'this.process = 1;',
    '// process.env',
    '"process.env"',
    'class A { process(x) { return x; } }',
    'import type { Env } from "node:process"',
    'preprocess.run()',
    'import { spawn } from "node:child_process"',
  ]) {
    assert.equal(scan(text).readsProcess, false, text);
  }
});

test('tokens keep strings, templates and expressions in templates apart', () => {
  assert.deepEqual(
    tokenize('a + `b${c + "d"}e`').map(({ kind, text }) => `${kind}:${text}`),
    [
      'word:a',
      'punctuation:+',
      'template:b',
      'punctuation:${',
      'word:c',
      'punctuation:+',
      'string:d',
      'punctuation:}',
      'template:e',
    ],
  );
});

const graphOf = (files: Readonly<Record<string, string>>): ReturnType<typeof buildGraph> =>
  buildGraph(new Map(Object.entries(files)));

test('floors: up, sideways, foreign and homeless are reported, down is not', () => {
  assert.deepEqual(
    floorViolations(
      graphOf({
        'src/common/errors/index.ts': '',
        'src/common/runtime/index.ts': 'import "../errors/index.ts";',
        'src/domain/a.ts': 'import "../common/errors/index.ts";',
        'src/hsm/a.ts': 'import "../domain/a.ts";',
        'src/store/a.ts': 'import "../domain/a.ts";',
        'src/compose.ts': 'import "./hsm/a.ts"; import "./store/a.ts";',
        'src/main.ts': 'import "./compose.ts"; import "../sidecar/main.ts"; import "./cli/a.ts";',
        'sidecar/main.ts': 'import "../src/common/errors/index.ts"; import "./b.ts";',
        'sidecar/b.ts': '',
        'src/cli/a.ts': 'import "../common/errors/index.ts";',
        'src/workload/a.ts': '',
        'demo/main.ts': 'import "../src/workload/a.ts";',
      }),
    ),
    [],
  );
  const one = (files: Readonly<Record<string, string>>): number =>
    floorViolations(graphOf(files)).length;
  assert.equal(
    one({ 'src/common/x509/a.ts': 'import "../../domain/a.ts";', 'src/domain/a.ts': '' }),
    1,
    'up',
  );
  assert.equal(
    one({ 'src/domain/a.ts': 'export * from "../certs/a.ts";', 'src/certs/a.ts': '' }),
    1,
    'up by re-export',
  );
  assert.equal(
    one({ 'src/domain/a.ts': 'await import("../certs/a.ts");', 'src/certs/a.ts': '' }),
    1,
    'up by dynamic import',
  );
  assert.equal(
    one({ 'src/domain/a.ts': 'import type { A } from "../certs/a.ts";', 'src/certs/a.ts': '' }),
    1,
    'up by type',
  );
  assert.equal(
    one({ 'src/hsm/a.ts': 'import "../store/a.ts";', 'src/store/a.ts': '' }),
    1,
    'sideways',
  );
  assert.equal(
    one({ 'src/store/a.ts': 'import "../hsm/a.ts";', 'src/hsm/a.ts': '' }),
    1,
    'sideways the other way',
  );
  assert.equal(
    one({ 'sidecar/a.ts': 'import "../src/domain/a.ts";', 'src/domain/a.ts': '' }),
    1,
    'the agent',
  );
  assert.equal(
    one({ 'src/cli/a.ts': 'import "../workload/a.ts";', 'src/workload/a.ts': '' }),
    1,
    'the command line',
  );
  assert.equal(
    one({ 'src/server/a.ts': 'import "../cli/a.ts";', 'src/cli/a.ts': '' }),
    1,
    'from a floor to a guest',
  );
  assert.equal(
    one({ 'src/domain/a.ts': 'import "../main.ts";', 'src/main.ts': '' }),
    1,
    'to the entry',
  );
  assert.equal(one({ 'src/helpers/a.ts': '' }), 1, 'a folder without a floor');
  assert.equal(one({ 'src/hsmx/a.ts': '' }), 1, 'a folder whose name begins like a floor');
});

test('an import that leads nowhere is an error, not a pass', () => {
  assert.throws(() => graphOf({ 'src/a.ts': 'import "./missing.ts";' }), /not a source file/);
  assert.throws(
    () => graphOf({ 'src/a.ts': 'import "./b.js";', 'src/b.ts': '' }),
    /not a source file/,
  );
  assert.throws(
    () => graphOf({ 'src/a.ts': 'import "/src/b.ts";', 'src/b.ts': '' }),
    /relative path/,
  );
  assert.throws(
    () => graphOf({ 'src/a.ts': 'import "file:///src/b.ts";', 'src/b.ts': '' }),
    /relative path/,
  );
});

test('a closure follows values and not types, dynamic imports as asked, and tells the way', () => {
  const graph = graphOf({
    'a.ts': 'import "./b.ts"; import type { T } from "./t.ts"; import("./d.ts");',
    'b.ts': 'export * from "./c.ts";',
    'c.ts': 'import "kysely"; import "@scope/name/deep"; import "node:sqlite";',
    'd.ts': 'import "pkcs11js";',
    't.ts': 'import "graphene-pk11";',
  });
  assert.deepEqual([...closure(graph, 'a.ts').keys()].sort(), [
    'a.ts',
    'b.ts',
    'c.ts',
    'd.ts',
    'node:sqlite',
    'npm:@scope/name',
    'npm:kysely',
    'npm:pkcs11js',
  ]);
  assert.equal(closure(graph, 'a.ts', { dynamic: false }).has('npm:pkcs11js'), false);
  assert.deepEqual(closure(graph, 'a.ts').get('npm:kysely'), [
    'a.ts',
    'b.ts',
    'c.ts',
    'npm:kysely',
  ]);
});

test('circles between folders are found, through types and over several steps', () => {
  const found = (files: Readonly<Record<string, string>>): number =>
    cycles(graphOf(files), partOf).length;
  assert.equal(
    found({
      'sidecar/a/x.ts': 'import "../b/x.ts";',
      'sidecar/b/x.ts': 'import type { T } from "../a/y.ts";',
      'sidecar/a/y.ts': '',
    }),
    1,
  );
  assert.equal(
    found({
      'sidecar/a/x.ts': 'import "../b/x.ts";',
      'sidecar/b/x.ts': 'import "../c/x.ts";',
      'sidecar/c/x.ts': 'import "../a/y.ts";',
      'sidecar/a/y.ts': '',
    }),
    1,
  );
  assert.equal(
    found({
      'src/common/errors/x.ts': 'import "../runtime/x.ts";',
      'src/common/runtime/x.ts': 'import "../errors/y.ts";',
      'src/common/errors/y.ts': '',
    }),
    1,
  );
  assert.equal(
    found({
      'sidecar/main.ts': 'import "./a/x.ts";',
      'sidecar/a/x.ts': 'import "../rule.ts";',
      'sidecar/rule.ts': '',
      'sidecar/a/y.ts': 'import "./x.ts";',
    }),
    0,
  );
});
