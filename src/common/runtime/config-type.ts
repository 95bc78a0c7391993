import { z } from 'zod';

interface JsonType {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly items?: JsonType;
  readonly properties?: Readonly<Record<string, JsonType>>;
  readonly anyOf?: readonly JsonType[];
  readonly default?: unknown;
}

/** The type of a configuration key in words, and its default where it has one. */
export function configTypeOf(schema: z.core.$ZodType): {
  readonly type: string;
  readonly fallback: unknown;
} {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonType;
  return { type: words(json), fallback: json.default };
}

function words(json: JsonType): string {
  if (json.enum !== undefined) return `one of ${json.enum.map(String).join(', ')}`;
  if (json.const !== undefined) return JSON.stringify(json.const);
  if (json.anyOf !== undefined) return json.anyOf.map(words).join(' or ');
  switch (json.type) {
    case 'string':
      return 'text';
    case 'integer':
    case 'number':
      return `${json.type === 'integer' ? 'whole number' : 'number'}${range(json)}`;
    case 'array':
      return `list of ${words(json.items ?? {})}`;
    case 'object':
      return json.properties === undefined
        ? 'object'
        : `{ ${Object.keys(json.properties).join(', ')} }`;
    case 'boolean':
      return 'true or false';
    default:
      return json.type ?? 'text';
  }
}

function range({ minimum, exclusiveMinimum, maximum = Infinity }: JsonType): string {
  const least = minimum ?? (exclusiveMinimum === undefined ? -Infinity : exclusiveMinimum + 1);
  const lower = least > Number.MIN_SAFE_INTEGER ? least : undefined;
  const upper = maximum < Number.MAX_SAFE_INTEGER ? maximum : undefined;
  if (lower !== undefined && upper !== undefined) return ` from ${lower} to ${upper}`;
  if (lower !== undefined) return ` from ${lower} on`;
  return upper === undefined ? '' : ` up to ${upper}`;
}
