import type { Struct } from '../../../src/common/wire/generated/google/protobuf/Struct.ts';
import type { Value } from '../../../src/common/wire/generated/google/protobuf/Value.ts';

/** Converts JSON to google.protobuf.Struct. */
export function toStruct(object: Readonly<Record<string, unknown>>): Struct {
  return {
    fields: Object.fromEntries(
      Object.entries(object)
        .filter(([, value]) => value !== undefined)
        .map(([key, value]) => [key, toValue(value)]),
    ),
  };
}

function toValue(value: unknown): Value {
  if (value === null || value === undefined) return { nullValue: 'NULL_VALUE' };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  return { structValue: toStruct(value as Record<string, unknown>) };
}
