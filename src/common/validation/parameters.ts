/**
 * The parameters of an issue value, without the white space around them (RFC 8659 section 4.2).
 * Tags are in lower case. Undefined: one is malformed, or stands twice.
 */
export function parameters(texts: readonly string[]): ReadonlyMap<string, string> | undefined {
  const found = new Map<string, string>();
  for (const text of texts) {
    const [, tag, value] = /^([a-z0-9]+)\s*=\s*([\x21-\x3a\x3c-\x7e]*)$/i.exec(text) ?? [];
    const name = tag?.toLowerCase();
    if (name === undefined || value === undefined || found.has(name)) return undefined;
    found.set(name, value);
  }
  return found;
}
