import { DerError, DerReader, derWriter, tag } from '../../../src/common/x509/index.ts';
import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';

const startTlsOid = '1.3.6.1.4.1.1466.20037';
const extendedRequest = 0x77;
const extendedResponse = 0x78;
const maximumResponse = 4_096;

/** LDAPMessage with the ExtendedRequest of StartTLS (RFC 4511 sections 4.12 and 4.14). */
const request = derWriter.sequence(
  derWriter.integer(1),
  derWriter.der(extendedRequest, derWriter.contextPrimitive(0, Buffer.from(startTlsOid, 'latin1'))),
);

export async function startLdap(stream: ByteStream): Promise<void> {
  stream.write(request);
  const content = await message(stream);
  const code = resultCode(content);
  if (code !== 0) throw new ProbeFailure(`the server refuses StartTLS with the result ${code}`);
}

/** The content of one LDAPMessage. Its length may be in any form of BER. */
async function message(stream: ByteStream): Promise<Buffer> {
  const [first, lengthOctet] = (await stream.read(2)) as unknown as [number, number];
  if (first !== tag.sequence) throw foreign();
  let length = lengthOctet;
  if (lengthOctet >= 0x80) {
    const octets = lengthOctet & 0x7f;
    if (octets === 0 || octets > 4) throw foreign();
    length = (await stream.read(octets)).readUIntBE(0, octets);
  }
  if (length > maximumResponse) throw foreign();
  return stream.read(length);
}

function resultCode(content: Buffer): number {
  try {
    const reader = new DerReader(content);
    reader.smallInteger('the message ID');
    // the length of the response itself is left to the message around it
    return enumeratedIn(content.subarray(reader.offset));
  } catch (thrown) {
    if (thrown instanceof DerError) throw foreign();
    throw thrown;
  }
}

function enumeratedIn(response: Buffer): number {
  if (response[0] !== extendedResponse) throw foreign();
  const first = response[1] ?? 0;
  const start = first >= 0x80 ? 2 + (first & 0x7f) : 2;
  const [code] = new DerReader(response.subarray(start)).content(tag.enumerated, 'the result');
  if (code === undefined) throw foreign();
  return code;
}

const foreign = (): ProbeFailure => new ProbeFailure('the server does not speak LDAP');
