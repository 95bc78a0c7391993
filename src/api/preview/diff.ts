import { canonicalJson, type Json } from '../../common/approval/index.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** A title, and a line for each changed field. */
export function diff(
  title: string,
  before: Fields | undefined,
  after: Fields | undefined,
): readonly string[] {
  const lines = [title];
  const keys = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  for (const key of [...keys].sort()) {
    const [old, fresh] = [before?.[key], after?.[key]].map((value) =>
      value === undefined ? undefined : canonicalJson(value as Json),
    );
    if (old === fresh) continue;
    if (old !== undefined) lines.push(`- ${key}: ${old}`);
    if (fresh !== undefined) lines.push(`+ ${key}: ${fresh}`);
  }
  return lines;
}
