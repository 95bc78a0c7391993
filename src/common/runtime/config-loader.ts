import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { fail, ok, type Result } from '../errors/index.ts';
import { configTypeOf } from './config-type.ts';
import { nearest } from './nearest.ts';

/**
 * Reads one configuration file (YAML or JSON) and the environment into one frozen, validated
 * record. The environment wins. `hsm.idleSeconds` is `<PREFIX>HSM_IDLE_SECONDS`. Imported on its
 * own path, since it loads zod.
 */
export interface ConfigSource {
  /** `.json` is read as JSON, any other file as YAML. Absent: only environment and defaults. */
  readonly path?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * For example `MESHCA_AGENT_`. A variable with this prefix that names no key is refused like an
   * unknown key.
   */
  readonly envPrefix: string;
  /** Variables (or prefixes, if they end in `_`) that share the prefix and are not ours. */
  readonly ignoreEnv?: readonly string[];
}

export interface ConfigKey {
  /** Dotted, as in the file. */
  readonly path: string;
  readonly envName: string;
  readonly description: string;
  /** In words, with the range of a number. */
  readonly type: string;
  /** The default. Undefined if the key has none. */
  readonly fallback: unknown;
}

type Schema = z.core.$ZodType;
type Tree = { [key: string]: unknown };

export async function loadConfig<S extends z.ZodObject>(
  schema: S,
  source: ConfigSource,
): Promise<Result<Readonly<z.output<S>>>> {
  let input: Tree = {};
  const where = source.path === undefined ? 'the environment' : source.path;
  if (source.path !== undefined) {
    const read = await readTree(source.path);
    if (!read.ok) return read;
    input = read.value;
  }
  const applied = applyEnvironment(schema, input, source);
  if (!applied.ok) return applied;
  // read once: zod would spend more on compiling a reader than it saves
  const parsed = schema.safeParse(input, { jitless: true });
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) => describeIssue(schema, issue));
    return fail('CONFIG_INVALID', `${where}: ${problems.join('; ')}`, {
      detail: { problems: problems.length },
      ...(source.path === undefined
        ? {
            next: 'No configuration file was named: give --config FILE, or set every required key in the environment.',
          }
        : {}),
    });
  }
  return ok(deepFreeze(parsed.data));
}

/** Every key that may stand in the file, with the variable that sets it. */
export function configKeys(schema: z.ZodObject, envPrefix: string): readonly ConfigKey[] {
  const keys = [...leaves(schema, [])].map(({ path, schema: leaf }) => ({
    path: path.join('.'),
    envName: envNameOf(envPrefix, path),
    description: descriptionOf(leaf),
    ...configTypeOf(leaf),
  }));
  const names = new Set(keys.map(({ envName }) => envName));
  if (names.size !== keys.length)
    throw new Error('two configuration keys have the same environment name');
  return keys;
}

/** JSON Schema (draft 2020-12) of what the file may hold. */
export const configJsonSchema = (schema: z.ZodObject, title: string): object => ({
  title,
  ...z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }),
});

async function readTree(path: string): Promise<Result<Tree>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    return fail(
      'CONFIG_INVALID',
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown error'})`,
      { cause: thrown, next: 'Check the path and its permissions.' },
    );
  }
  let value: unknown;
  try {
    // the YAML parser is loaded only for YAML, since an agent would keep its memory
    value = path.endsWith('.json')
      ? JSON.parse(text)
      : (await import('yaml')).parse(text, { strict: true, uniqueKeys: true, maxAliasCount: 20 });
  } catch (thrown) {
    return fail(
      'CONFIG_INVALID',
      `${path} is not valid ${path.endsWith('.json') ? 'JSON' : 'YAML'}: ${firstLine(thrown)}`,
      { cause: thrown },
    );
  }
  if (value === null || value === undefined) return ok({});
  if (typeof value !== 'object' || Array.isArray(value))
    return fail('CONFIG_INVALID', `${path} holds no mapping of keys to values`);
  return ok(value as Tree);
}

function applyEnvironment(schema: z.ZodObject, input: Tree, source: ConfigSource): Result<void> {
  const byName = new Map(
    [...leaves(schema, [])].map((leaf) => [envNameOf(source.envPrefix, leaf.path), leaf]),
  );
  const ignored = (name: string): boolean =>
    (source.ignoreEnv ?? []).some((each) =>
      each.endsWith('_') ? name.startsWith(each) : name === each,
    );
  const unknown: string[] = [];
  for (const [name, text] of Object.entries(source.env)) {
    if (!name.startsWith(source.envPrefix) || text === undefined || ignored(name)) continue;
    const leaf = byName.get(name);
    if (leaf === undefined) {
      unknown.push(`unknown variable ${name}${suggestion(name, [...byName.keys()])}`);
      continue;
    }
    let at = input;
    for (const key of leaf.path.slice(0, -1)) {
      const next = at[key];
      at = at[key] =
        typeof next === 'object' && next !== null && !Array.isArray(next)
          ? { ...(next as Tree) }
          : {};
    }
    at[leaf.path.at(-1) as string] = fromText(leaf.schema, text);
  }
  return unknown.length === 0
    ? ok(undefined)
    : fail('CONFIG_INVALID', `the environment: ${unknown.join('; ')}`);
}

/**
 * Text that does not parse as the type of the key stays text, so that the schema names the problem.
 */
function fromText(schema: Schema, text: string): unknown {
  const kinds = kindsOf(schema);
  if (kinds.has('number') && /^-?[0-9]+(\.[0-9]+)?$/.test(text.trim())) return Number(text);
  if (kinds.has('boolean') && /^(true|false)$/.test(text.trim())) return text.trim() === 'true';
  if (kinds.has('array') && !text.trimStart().startsWith('['))
    return text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .map((part) => fromText(elementOf(schema), part));
  if (['array', 'object', 'record', 'tuple'].some((kind) => kinds.has(kind))) {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }
  return text;
}

interface Leaf {
  readonly path: readonly string[];
  readonly schema: Schema;
}

function* leaves(schema: Schema, path: readonly string[]): Generator<Leaf> {
  const bare = unwrapSchema(schema);
  const shape = shapeOf(bare);
  if (shape === undefined) {
    yield { path, schema };
    return;
  }
  for (const [key, inner] of Object.entries(shape)) yield* leaves(inner, [...path, key]);
}

interface Def {
  readonly type: string;
  readonly innerType?: Schema;
  readonly in?: Schema;
  readonly element?: Schema;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly options?: readonly Schema[];
}
const defOf = (schema: Schema): Def => schema._zod.def as unknown as Def;

function unwrapSchema(schema: Schema): Schema {
  const def = defOf(schema);
  const inner = def.innerType ?? (def.type === 'pipe' ? def.in : undefined);
  return inner === undefined ? schema : unwrapSchema(inner);
}

const shapeOf = (schema: Schema): Readonly<Record<string, Schema>> | undefined => {
  const def = defOf(unwrapSchema(schema));
  return def.type === 'object' ? def.shape : undefined;
};

const elementOf = (schema: Schema): Schema => {
  const bare = unwrapSchema(schema);
  const array =
    defOf(bare).type === 'union'
      ? defOf(bare)
          .options?.map(unwrapSchema)
          .find((option) => defOf(option).type === 'array')
      : bare;
  return (array === undefined ? undefined : defOf(array).element) ?? bare;
};

function kindsOf(schema: Schema): ReadonlySet<string> {
  const bare = unwrapSchema(schema);
  const def = defOf(bare);
  return new Set(
    def.type === 'union'
      ? (def.options ?? []).flatMap((option) => [...kindsOf(option)])
      : [def.type],
  );
}

const descriptionOf = (schema: Schema): string =>
  (schema as { readonly description?: string }).description ??
  (unwrapSchema(schema) as { readonly description?: string }).description ??
  '';

const envNameOf = (prefix: string, path: readonly string[]): string =>
  prefix + path.map((key) => key.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_');

function describeIssue(schema: z.ZodObject, issue: z.core.$ZodIssue): string[] {
  const path = issue.path.map(String);
  if (issue.code === 'invalid_type' && /received undefined$/.test(issue.message))
    return [`${path.join('.')} is missing`];
  if (issue.code !== 'unrecognized_keys')
    return [`${path.join('.') || 'the file'}: ${issue.message}`];
  const siblings = Object.keys(shapeAt(schema, path) ?? {});
  const everywhere = [...leaves(schema, [])].map((leaf) => leaf.path);
  return issue.keys.map((key) => {
    const full = [...path, key].join('.');
    const near = nearest(key, siblings);
    const elsewhere = everywhere.find((known) => known.at(-1) === key);
    const hint = near !== undefined ? [...path, near].join('.') : elsewhere?.join('.');
    return (
      'unknown key ' +
      `${full}${hint === undefined ? `; known here: ${siblings.join(', ')}` : `; did you mean ${hint}?`}`
    );
  });
}

function shapeAt(
  schema: Schema,
  path: readonly string[],
): Readonly<Record<string, Schema>> | undefined {
  let at: Schema | undefined = schema;
  for (const key of path) {
    if (at === undefined) return undefined;
    at = /^[0-9]+$/.test(key) ? elementOf(at) : shapeOf(at)?.[key];
  }
  return at === undefined ? undefined : shapeOf(at);
}

const suggestion = (name: string, known: readonly string[]): string => {
  const near = nearest(name, known);
  return near === undefined ? '' : `; did you mean ${near}?`;
};

const firstLine = (thrown: unknown): string =>
  (thrown instanceof Error ? thrown.message : String(thrown)).split('\n', 1)[0] as string;

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
