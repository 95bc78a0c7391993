import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { unwrap } from '../../src/common/errors/index.ts';
import { readCases } from '../../src/common/policy/cases.ts';
import { compileExpression, type Expression } from '../../src/common/policy/cel/expression.ts';
import { fields } from '../../src/common/policy/cel/fields.ts';
import { loadCel, type CelLibrary } from '../../src/common/policy/cel/library.ts';
import { readPolicy } from '../../src/common/policy/file.ts';
import {
  decide,
  policyCallers,
  policyKinds,
  traceOf,
  type PolicyFacts,
} from '../../src/common/policy/index.ts';
import { SpiffeId } from '../../src/common/spiffe/index.ts';
import { keyTypes } from '../../src/common/x509/index.ts';
import { fixturePath } from '../support/fixtures.ts';

const mesh = readFileSync(fixturePath('policy/mesh.yaml'), 'utf8');

const word = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('*', '**', '', '*.test', 'spiffe://td.test/**', '10.0.0.0/8', '1h', 'a.test'),
);
const words = fc.oneof(
  { weight: 9, arbitrary: fc.array(word, { maxLength: 4 }) },
  { weight: 1, arbitrary: fc.array(word, { minLength: 200, maxLength: 300, size: 'max' }) },
);
const facts: fc.Arbitrary<PolicyFacts> = fc.record({
  at: fc.oneof(fc.nat(), fc.integer(), fc.double()),
  kind: fc.constantFrom(...policyKinds),
  caller: fc.constantFrom(...policyCallers),
  callerName: word,
  spiffeId: fc.constantFrom(undefined, SpiffeId.of('spiffe://td.test/ns/prod/web')),
  dnsNames: fc.option(words, { nil: undefined }),
  ips: fc.option(words, { nil: undefined }),
  audiences: fc.option(words, { nil: undefined }),
  profile: fc.constantFrom(undefined, 'short-lived' as const),
  keyType: fc.constantFrom(undefined, ...keyTypes),
  ttlSeconds: fc.option(fc.integer(), { nil: undefined }),
  entryId: fc.option(word, { nil: undefined }),
  delegationId: fc.option(word, { nil: undefined }),
});

/** At a time that a calendar knows. */
const possible = facts.map((asked) => ({
  ...asked,
  at: Math.abs(Math.trunc(asked.at)) % 1e11 || 0,
}));

/** Loads, or is refused; what loads decides whatever is asked. Returns whether it loaded. */
function loads(source: string, asked: PolicyFacts): boolean {
  const read = readPolicy(source);
  if (!read.ok) {
    assert.equal(read.error.code, 'POLICY_INVALID');
    return false;
  }
  const { allowed, rule: by, failure } = decide(read.value, asked);
  const trace = traceOf(read.value, asked);
  const deciding = trace.find(({ rule: name }) => name === by);
  // an allow that decided matches, a deny that decided matches or failed, and nothing else allows
  if (allowed) assert.equal(deciding?.effect, 'allow');
  if (failure !== undefined) assert.ok(!allowed);
  if (deciding !== undefined && failure === undefined) assert.equal(deciding.mismatch, undefined);
  return true;
}
const fileOf = (rules: readonly object[]): string => JSON.stringify({ meshcaPolicy: 1, rules });

const value = fc.oneof(
  word,
  fc.array(word, { maxLength: 4 }),
  fc.jsonValue({ maxDepth: 2 }),
  fc.integer(),
);
const conditions = [
  ...['kinds', 'callers', 'callerIds', 'spiffeIds', 'dnsNames', 'ips', 'audiences', 'profiles'],
  ...['keyTypes', 'ttl', 'entries', 'delegations', 'times', 'validFrom', 'validUntil', 'message'],
  ...['when', 'quota', 'wildcardNames'],
];
const anyRule = fc.record(
  {
    name: fc.oneof(fc.constantFrom('a', 'b'), word),
    effect: fc.constantFrom('allow', 'deny', 'x'),
    ...Object.fromEntries(conditions.map((key) => [key, value])),
  },
  { requiredKeys: ['name', 'effect'] },
);
/** Each condition is absent or right. */
const rightRule = fc.record(
  {
    name: fc.stringMatching(/^[a-z][a-z0-9]{0,12}$/),
    effect: fc.constantFrom('allow', 'deny'),
    kinds: fc.subarray([...policyKinds], { minLength: 1 }),
    callers: fc.subarray([...policyCallers], { minLength: 1 }),
    spiffeIds: fc.constantFrom(
      ['spiffe://td.test/**'],
      ['spiffe://td.test/*/x', 'spiffe://o.test/a'],
    ),
    dnsNames: fc.constantFrom(['*.test'], ['**.a.test', 'b.test']),
    ips: fc.constantFrom(['10.0.0.0/8'], ['::/0', '1.2.3.4']),
    keyTypes: fc.subarray([...keyTypes], { minLength: 1 }),
    ttl: fc.constantFrom({ max: '1h' }, { min: 5 }),
    times: fc.constantFrom([{ days: ['mon'] }], [{ from: '08:00' }]),
    when: fc.constantFrom('request.path[2] == "web"', 'request.ttl < 60 || has(request.entry)'),
  },
  { requiredKeys: ['name', 'effect'] },
);

test('whatever the rules, a policy loads or is refused, and what loads decides whatever is asked', () => {
  fc.assert(
    fc.property(fc.array(anyRule, { minLength: 1, maxLength: 3 }), facts, (rules, asked) => {
      loads(fileOf(rules), asked);
    }),
    { numRuns: 250 },
  );
  const distinct = fc.uniqueArray(rightRule, {
    minLength: 1,
    maxLength: 5,
    selector: ({ name }) => name,
  });
  fc.assert(
    fc.property(distinct, facts, (rules, asked) => assert.ok(loads(fileOf(rules), asked))),
    { numRuns: 200 },
  );
});

/** A text with a few parts cut, repeated, moved or replaced. */
const mutated = (seed: string, inserted: readonly string[]): fc.Arbitrary<string> =>
  fc
    .array(
      fc.record({
        kind: fc.constantFrom('cut', 'repeat', 'insert', 'replace', 'copy'),
        at: fc.nat(),
        size: fc.integer({ min: 1, max: 40 }),
        text: fc.oneof(fc.constantFrom(...inserted), fc.string({ maxLength: 3 })),
      }),
      { minLength: 1, maxLength: 4 },
    )
    .map((changes) =>
      changes.reduce((text, { kind, at, size, text: added }) => {
        const from = at % (text.length + 1);
        const part = text.slice(from, from + size);
        const rest = text.slice(from + size);
        const start = text.slice(0, from);
        if (kind === 'cut') return start + rest;
        if (kind === 'repeat') return start + part.repeat(3) + rest;
        if (kind === 'insert') return start + added + part + rest;
        if (kind === 'copy') return start + part + rest + part;
        return start + added + rest;
      }, seed),
    );
const yamlParts = [
  '&a ',
  '*a',
  '!!binary ',
  '<<: ',
  '? ',
  '---\n',
  '[',
  '{',
  '"',
  '\t',
  '\n- ',
  '\n',
];

test('whatever becomes of the text of a policy or of cases, it loads or is refused', () => {
  fc.assert(
    fc.property(mutated(mesh, yamlParts), facts, (source, asked) => {
      loads(source, asked);
    }),
    { numRuns: 150 },
  );
  const cases = readFileSync(fixturePath('policy/mesh.cases.yaml'), 'utf8').slice(0, 3000);
  fc.assert(
    fc.property(mutated(cases.slice(0, cases.lastIndexOf('\n  - name')), yamlParts), (source) => {
      const read = readCases(source, 0);
      if (read.ok) for (const each of read.value) decide(unwrap(readPolicy(mesh)), each.facts);
      else assert.equal(read.error.code, 'POLICY_INVALID');
    }),
    { numRuns: 25 },
  );
  fc.assert(
    fc.property(fc.oneof(fc.string({ maxLength: 200 }), word), (source) => {
      const read = readPolicy(source);
      assert.ok(!read.ok && read.error.code === 'POLICY_INVALID');
    }),
  );
});

// expressions

const { cel, re2 } = loadCel();
/** Calls of functions and looks at patterns since the last reset. */
const steps = { count: 0 };
const counting: CelLibrary = {
  re2: {
    ...re2,
    RE2JS: Object.assign(function RE2JS() {}, {
      compile: (pattern: string) => {
        const compiled = re2.RE2JS.compile(pattern);
        return Object.assign(Object.create(compiled) as typeof compiled, {
          test: (text: string) => {
            steps.count += 1;
            return compiled.test(text);
          },
        });
      },
    }) as unknown as typeof re2.RE2JS,
  },
  cel: {
    ...cel,
    celEnv: ((options) => {
      const env = cel.celEnv(options);
      const funcs = {
        find: (name: string) => {
          const called = env.funcs.find(name);
          return (
            called && {
              call: (...args: Parameters<typeof called.call>) => {
                steps.count += 1;
                return called.call(...args);
              },
            }
          );
        },
      };
      return { namespace: env.namespace, registry: env.registry, variables: env.variables, funcs };
    }) as typeof cel.celEnv,
  },
};

/** Decides without a throw, twice the same, and in a bounded number of steps. */
function decides({ holds, size }: Expression, asked: PolicyFacts, canFail: boolean): void {
  assert.ok(size.nodes <= 150);
  assert.ok(size.instructions <= 256 * 16);
  steps.count = 0;
  const first = holds(asked);
  // each part once for each item of the longest list
  assert.ok(steps.count <= size.nodes * 257, `${steps.count} steps for ${size.nodes} parts`);
  assert.deepEqual(holds(asked), first);
  if (first.ok) return;
  assert.equal(first.error.code, 'POLICY_FAILED');
  const tooLong = /has more than 256 items/.test(first.error.message);
  assert.ok(canFail || tooLong, first.error.message);
}

const literal = fc.oneof(
  word.map((text) => JSON.stringify(text).replaceAll(/[^ -~]/g, 'x')),
  fc.constantFrom('"prod"', '"td.test"', "'web'", '"""x"""'),
);
const named = (type: string) =>
  fc.constantFrom(
    ...Object.keys(fields)
      .filter((name) => fields[name]?.type === type)
      .map((name) => `request.${name}`),
  );
const { bool: rightExpression } = fc.letrec<{ bool: string; string: string }>((tie) => {
  const list = named('list(string)');
  const string = fc.oneof(literal, named('string'), fc.constant('request.trust_domain'));
  const simple = fc.oneof(
    fc.tuple(tie('string'), fc.constantFrom('==', '!='), tie('string')).map((all) => all.join(' ')),
    fc
      .tuple(tie('string'), fc.constantFrom('startsWith', 'endsWith', 'contains'), tie('string'))
      .map(([left, name, right]) => `${left}.${name}(${right})`),
    fc.tuple(tie('string'), list).map(([item, items]) => `${item} in ${items}`),
    fc.tuple(tie('string'), tie('string')).map(([one, other]) => `${one} in [${one}, ${other}]`),
    fc
      .constantFrom('^[a-z]+$', '(a|b)*c', '\\\\d+', '[^x]{2,3}', '(?i)PROD', '.*.*.*')
      .map((pattern) => `request.kind.matches("${pattern}")`),
    fc
      .tuple(fc.constantFrom('<', '<=', '>', '>=', '=='), fc.integer())
      .map(([sign, seconds]) => `request.ttl ${sign} ${seconds}`),
    list.map((items) => `${items}.size() > 1`),
    fc
      .constantFrom('getHours', 'getDate', 'getDayOfWeek', 'getMonth', 'getFullYear', 'getMinutes')
      .map((name) => `request.time.${name}() < 7`),
    fc.constant('request.time >= timestamp("2026-01-01T00:00:00Z")'),
    fc.constantFrom(...Object.keys(fields)).map((name) => `has(request.${name})`),
    fc
      .tuple(list, fc.constantFrom('exists', 'all', 'exists_one'), tie('string'))
      .map(([items, macro, other]) => `${items}.${macro}(n, n != ${other} || n.size() > 3)`),
  );
  return {
    string,
    bool: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'cel' },
      simple,
      fc
        .tuple(tie('bool'), fc.constantFrom('&&', '||'), tie('bool'))
        .map(([left, sign, right]) => `(${left}) ${sign} (${right})`),
      tie('bool').map((of) => `!(${of})`),
      fc
        .tuple(tie('bool'), tie('bool'), tie('bool'))
        .map(([asks, one, other]) => `(${asks}) ? (${one}) : (${other})`),
    ),
  };
});

test('an expression of known fields, listed functions and right types loads, and never fails', () => {
  let loaded = 0;
  fc.assert(
    fc.property(rightExpression, possible, (text, asked) => {
      const compiled = compileExpression(text, counting);
      if (!compiled.ok) {
        // it reads nothing, or is too large
        assert.match(compiled.error.message, /reads nothing|more than/, text);
        return;
      }
      loaded += 1;
      decides(compiled.value, asked, false);
    }),
    { numRuns: 400 },
  );
  assert.ok(loaded > 100, String(loaded));
});

const celParts = [
  ...['request.', '(', ')', '[0]', '[', ']', '{', '}', '?', ':', '!', '-', '&&', '||', ' in ', '.'],
  ...[
    '"',
    "'",
    '\\',
    '==',
    '+',
    '1',
    'u',
    '1e9',
    'null',
    'true',
    'b"a"',
    'has(',
    '.map(x, x)',
    ',',
  ],
  ...['.all(n, ', '.exists(n, ', '.filter(n, true)', '.matches(', 'dyn(', 'type(', '//', '.size()'],
];

test('whatever becomes of an expression, it loads or is refused, and what loads decides', () => {
  const seeds = [
    'request.dns_names.all(n, n.endsWith(".test") && n != request.path[1]) || request.ttl > 60',
    'request.spiffe_id.matches("^spiffe://[a-z]+/(a|b)*$") ? request.path[0] == "ns" : false',
    'has(request.key_type) && !(request.key_type in ["ec-p256", "ec-p384"])',
  ];
  const anything = fc.oneof(
    ...seeds.map((seed) => mutated(seed, celParts)),
    rightExpression.chain((text) => mutated(text, celParts)),
    fc.array(fc.constantFrom(...celParts), { maxLength: 30 }).map((parts) => parts.join('')),
    fc
      .tuple(fc.constantFrom(...celParts), fc.integer({ min: 1, max: 600 }))
      .map(([part, times]) => part.repeat(times)),
    fc.string({ unit: 'binary', maxLength: 60 }),
  );
  fc.assert(
    fc.property(anything, facts, (text, asked) => {
      const compiled = compileExpression(text, counting);
      if (compiled.ok) decides(compiled.value, asked, true);
      else assert.equal(compiled.error.code, 'POLICY_INVALID');
    }),
    { numRuns: 1000 },
  );
});
