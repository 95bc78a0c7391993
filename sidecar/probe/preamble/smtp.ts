import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';

const maximumLine = 1_024;
const maximumLines = 100;

/** EHLO, then STARTTLS (RFC 3207). */
export async function startSmtp(stream: ByteStream): Promise<void> {
  await reply(stream, '220', 'greets');
  stream.write(Buffer.from('EHLO localhost\r\n', 'latin1'));
  const offers = await reply(stream, '250', 'answers EHLO');
  if (!offers.some((line) => line.slice(4).trim().toUpperCase() === 'STARTTLS'))
    throw new ProbeFailure('the server does not offer STARTTLS');
  stream.write(Buffer.from('STARTTLS\r\n', 'latin1'));
  await reply(stream, '220', 'answers STARTTLS');
}

/** All lines of one reply (RFC 5321 section 4.2.1). */
async function reply(stream: ByteStream, code: string, act: string): Promise<readonly string[]> {
  const lines: string[] = [];
  for (;;) {
    const line = await stream.line(maximumLine);
    if (!line.startsWith(code) || lines.length === maximumLines)
      throw new ProbeFailure(`the server ${act} otherwise than with ${code}`);
    lines.push(line);
    if (line[3] !== '-') return lines;
  }
}
