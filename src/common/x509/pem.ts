import { fail, ok, type Result } from '../errors/index.ts';

export interface PemBlock {
  readonly label: string;
  readonly der: Buffer;
}

/** RFC 7468: base64 in lines of 64 characters, with a newline at the end. */
export function pemEncode(label: string, derBytes: Buffer): string {
  const base64 = derBytes.toString('base64');
  let lines = '';
  for (let at = 0; at < base64.length; at += 64) lines += `${base64.slice(at, at + 64)}\n`;
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

/** Leaf first, one certificate after another. */
export const certificatesToPem = (ders: readonly Buffer[]): string =>
  ders.map((each) => pemEncode('CERTIFICATE', each)).join('');

/** White space may stand behind the first line; lines end in CRLF, LF or CR (RFC 7468 section 3). */
const block =
  /-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*(?:\r\n|\n|\r)([A-Za-z0-9+/=\s]*?)-----END ([A-Z0-9 ]{1,64})-----/g;
/** What dashes of UTF-16, in either order, look like when they are read as UTF-8. */
const utf16 = /(?:-\0){5}|(?:\0-){5}/;

/**
 * All PEM blocks of a text; what stands between them is explanatory text and ignored (RFC 7468
 * section 2).
 */
export function pemDecode(text: string): Result<readonly PemBlock[]> {
  if (utf16.test(text))
    return fail('INVALID_REQUEST', 'the text is UTF-16: save it as UTF-8 or ASCII');
  const blocks: PemBlock[] = [];
  for (const [, label, body, closing] of text.matchAll(block)) {
    if (label !== closing)
      return fail('INVALID_REQUEST', `a PEM block begins as ${label} and ends as ${closing}`);
    const base64 = (body as string).replace(/\s+/g, '');
    const derBytes = Buffer.from(base64, 'base64');
    // Buffer.from skips what it does not understand: only an exact round trip is accepted
    if (derBytes.length === 0 || derBytes.toString('base64') !== base64)
      return fail('INVALID_REQUEST', `the PEM block ${label} is not valid base64`);
    blocks.push({ label: label as string, der: derBytes });
  }
  if (blocks.length !== (text.match(/-----BEGIN /g) ?? []).length)
    return fail('INVALID_REQUEST', 'the text has an unfinished PEM block');
  return ok(blocks);
}

/**
 * The certificates of a PEM text, in their order. Fails if there is none, or if a block of another
 * kind stands among them.
 */
export function certificatesFromPem(text: string): Result<readonly Buffer[]> {
  const blocks = pemDecode(text);
  if (!blocks.ok) return fail('CERTIFICATE_MALFORMED', blocks.error.message);
  const foreign = blocks.value.find((each) => each.label !== 'CERTIFICATE');
  if (foreign !== undefined)
    return fail(
      'CERTIFICATE_MALFORMED',
      `a PEM block ${foreign.label} stands where certificates belong`,
    );
  if (blocks.value.length === 0)
    return fail('CERTIFICATE_MALFORMED', 'the text has no PEM certificate');
  return ok(blocks.value.map((each) => each.der));
}

/** The second one is what Microsoft's and older tools write. */
const requestLabels: readonly string[] = ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'];

/** The only certificate request of a PEM text. Fails with CSR_MALFORMED. */
export function csrFromPem(text: string): Result<Buffer> {
  const blocks = pemDecode(text);
  if (!blocks.ok) return fail('CSR_MALFORMED', blocks.error.message);
  const [first, ...more] = blocks.value;
  if (first === undefined || more.length > 0 || !requestLabels.includes(first.label))
    return fail('CSR_MALFORMED', 'the text does not hold exactly one CERTIFICATE REQUEST (PEM)');
  return ok(first.der);
}
