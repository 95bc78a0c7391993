import { createHash } from 'node:crypto';
import { isIP, isIPv4, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { fromBER, OctetString } from 'asn1js';
import { Certificate, GeneralNames, type Extension } from 'pkijs';
import { ipOctets } from '../x509/ip-address.ts';
import type { Dialer } from './dialer.ts';
import { invalid, type Evidence, type Judged } from './outcome.ts';

export interface TlsAlpn01Dependencies {
  readonly dialer: Pick<Dialer, 'dial'>;
  /** 443. */
  readonly port: number;
}

export interface TlsAlpn01Ask {
  /** A DNS name, or an IP address in canonical text (RFC 8738). */
  readonly host: string;
  readonly keyAuthorization: string;
}

const protocol = 'acme-tls/1';
const acmeIdentifierOid = '1.3.6.1.5.5.7.1.31';
const subjectAltNameOid = '2.5.29.17';

/** The challenge tls-alpn-01 (RFC 8737 section 3). */
export async function validateTlsAlpn01(
  { host, keyAuthorization }: TlsAlpn01Ask,
  { dialer, port }: TlsAlpn01Dependencies,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const dialled = await dialer.dial(host, port, signal);
  if (!dialled.ok) return dialled;
  const { socket, address } = dialled.value;
  const stop = (): void => void socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const tls = await handshake(socket, serverName(host));
    if (typeof tls === 'string')
      return signal.aborted
        ? invalid('connection', `${host} did not answer in time`)
        : invalid('tls', `the handshake with ${host} at ${address} failed: ${tls}`);
    const wrong = problemOf(tls, host, keyAuthorization);
    return wrong === undefined
      ? { ok: true, value: { seenAt: [`${address} port ${port}`] } }
      : invalid('unauthorized', `${host} at ${address}: ${wrong}`);
  } finally {
    signal.removeEventListener('abort', stop);
    socket.destroy();
  }
}

/** For an address, its name in the reverse zone (RFC 8738 section 6). */
export function serverName(host: string): string {
  if (isIP(host) === 0) return host;
  if (isIPv4(host)) return `${host.split('.').toReversed().join('.')}.in-addr.arpa`;
  const hex = (ipOctets(host) as Buffer).toString('hex');
  return `${Array.from(hex).toReversed().join('.')}.ip6.arpa`;
}

/** Resolves with the reason of a failure. The certificate of the challenge is self-signed. */
function handshake(socket: Socket, servername: string): Promise<TLSSocket | string> {
  return new Promise((resolve) => {
    const tls = connectTls({
      socket,
      servername,
      ALPNProtocols: [protocol],
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
    });
    tls.once('secureConnect', () => resolve(tls));
    tls.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'it ended'));
    tls.once('close', () => resolve('the connection ended'));
  });
}

/** What is wrong with the certificate. Undefined: nothing. */
function problemOf(tls: TLSSocket, host: string, keyAuthorization: string): string | undefined {
  if (tls.alpnProtocol !== protocol)
    return `the server did not select the protocol ${protocol} (ALPN)`;
  const raw = tls.getPeerX509Certificate()?.raw;
  const extensions = raw === undefined ? undefined : extensionsOf(raw);
  if (extensions === undefined) return 'the certificate can not be read';
  const [name, ...otherNames] = extensions.filter(({ extnID }) => extnID === subjectAltNameOid);
  if (name === undefined || otherNames.length > 0 || !namesExactly(name, host))
    return 'the certificate of the challenge must have this name, and no other, as its SAN';
  const [mark, ...otherMarks] = extensions.filter(({ extnID }) => extnID === acmeIdentifierOid);
  if (mark === undefined || otherMarks.length > 0 || !mark.critical)
    return 'the certificate lacks the critical extension acmeIdentifier';
  const digest = createHash('sha256').update(keyAuthorization).digest();
  const expected = Buffer.from(new OctetString({ valueHex: digest }).toBER());
  return expected.equals(Buffer.from(mark.extnValue.valueBlock.valueHexView))
    ? undefined
    : 'acmeIdentifier is not the digest of the key authorization of this challenge and account';
}

function extensionsOf(der: Buffer): readonly Extension[] | undefined {
  try {
    return Certificate.fromBER(der).extensions ?? [];
  } catch {
    return undefined;
  }
}

function namesExactly({ extnValue }: Extension, host: string): boolean {
  try {
    const { names } = new GeneralNames({
      schema: fromBER(extnValue.valueBlock.valueHexView).result,
    });
    const [name] = names;
    if (name === undefined || names.length !== 1) return false;
    if (isIP(host) === 0) return name.type === 2 && (name.value as string).toLowerCase() === host;
    const { valueBlock } = name.value as OctetString;
    return name.type === 7 && ipOctets(host)?.equals(Buffer.from(valueBlock.valueHexView)) === true;
  } catch {
    return false;
  }
}
