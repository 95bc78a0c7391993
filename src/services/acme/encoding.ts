/** Strict base64url (RFC 7515 section 2): no padding, no other character, no unused bits set. */
export function base64urlBytes(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

/** The JSON value in these bytes. Undefined if they are not UTF-8, or not JSON. */
export function jsonIn(bytes: Buffer): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) };
  } catch {
    return undefined;
  }
}

/** The JSON object in these bytes. Undefined if there is none, or another value. */
export function jsonObjectIn(
  bytes: Buffer | undefined,
): Readonly<Record<string, unknown>> | undefined {
  const value = bytes === undefined ? undefined : jsonIn(bytes)?.value;
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
