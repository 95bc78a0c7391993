import { request, type IncomingMessage } from 'node:http';
import { isIP, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { parseDnsName } from '../spiffe/index.ts';
import type { Dialer } from './dialer.ts';
import { invalid, type Evidence, type Judged } from './outcome.ts';

export interface Http01Dependencies {
  readonly dialer: Pick<Dialer, 'dial'>;
  /** 80 and 443. Redirects may lead to these two alone. */
  readonly ports: { readonly http: number; readonly https: number };
}

export interface Http01Ask {
  /** A DNS name, or an IP address in canonical text (RFC 8738). */
  readonly host: string;
  readonly token: string;
  /** The token, a dot and the thumbprint of the account's key (RFC 8555 section 8.1). */
  readonly keyAuthorization: string;
}

const maximumRedirects = 10;
/** A key authorization has 87 characters, and white space may follow. */
const maximumBodyBytes = 512;

/** The challenge http-01 (RFC 8555 section 8.3). The certificate of a redirect is not judged. */
export async function validateHttp01(
  { host, token, keyAuthorization }: Http01Ask,
  { dialer, ports }: Http01Dependencies,
  signal: AbortSignal,
): Promise<Judged<Evidence>> {
  const seenAt: string[] = [];
  let at = new URL(`http://${urlHost(host)}/.well-known/acme-challenge/${token}`);
  if (ports.http !== 80) at.port = String(ports.http);
  for (let redirects = 0; redirects <= maximumRedirects; redirects += 1) {
    const port = at.port === '' ? (at.protocol === 'https:' ? 443 : 80) : Number(at.port);
    const dialled = await dialer.dial(plainHost(at), port, signal);
    if (!dialled.ok) return dialled;
    seenAt.push(`${dialled.value.address} port ${port}`);
    const answer = await ask(at, dialled.value.socket, signal);
    if (!answer.ok) return answer;
    const { status, location, body } = answer.value;
    if (status === 200) {
      if (body?.replace(/\s+$/u, '') === keyAuthorization) return { ok: true, value: { seenAt } };
      return invalid(
        'unauthorized',
        `${whereabouts(at, dialled.value.address, redirects)} answered with something else than the key ` +
          'authorization of this challenge and account',
      );
    }
    if (location === undefined || ![301, 302, 303, 307, 308].includes(status))
      return invalid(
        'unauthorized',
        `${whereabouts(at, dialled.value.address, redirects)} answered with status ${status}`,
      );
    const next = redirectTarget(location, at, { ports, identifierIsIp: isIP(host) !== 0 });
    if (!next.ok) return next;
    at = next.value;
  }
  return invalid('connection', `${host} redirected more than ${maximumRedirects} times`);
}

interface Answer {
  readonly status: number;
  readonly location: string | undefined;
  /** Undefined: longer than any key authorization. */
  readonly body: string | undefined;
}

async function ask(at: URL, socket: Socket, signal: AbortSignal): Promise<Judged<Answer>> {
  const failed = (what: string): Judged<never> =>
    signal.aborted
      ? invalid('connection', `${at.hostname} did not answer in time`)
      : invalid('connection', `${at.hostname}: ${what}`);
  const stop = (): void => void socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const stream = at.protocol === 'https:' ? await secured(at, socket) : socket;
    if (stream === undefined) return failed('the TLS handshake of the redirect failed');
    return { ok: true, value: await exchange(at, stream) };
  } catch {
    return failed('the connection ended, or its answer is not HTTP');
  } finally {
    signal.removeEventListener('abort', stop);
    socket.destroy();
  }
}

function secured(at: URL, socket: Socket): Promise<Socket | undefined> {
  const host = plainHost(at);
  return new Promise((resolve) => {
    const tls = connectTls({
      socket,
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    tls.once('secureConnect', () => resolve(tls));
    tls.once('error', () => resolve(undefined));
    tls.once('close', () => resolve(undefined));
  });
}

function exchange(at: URL, stream: Socket): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      method: 'GET',
      path: `${at.pathname}${at.search}`,
      headers: { host: at.host, accept: '*/*', 'user-agent': 'meshca', connection: 'close' },
      setDefaultHeaders: false,
      maxHeaderSize: 16 * 1024,
      // Without an agent: any agent, `false` included, dials by itself and ignores this.
      createConnection: () => stream,
    });
    outgoing.once('error', reject);
    stream.once('close', () => reject(new Error('closed')));
    outgoing.once('response', (incoming) => {
      read(incoming).then(resolve, reject);
    });
    outgoing.end();
  });
}

async function read(incoming: IncomingMessage): Promise<Answer> {
  const status = incoming.statusCode ?? 0;
  const { location } = incoming.headers;
  if (status !== 200) return { status, location, body: undefined };
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maximumBodyBytes) return { status, location, body: undefined };
    chunks.push(chunk);
  }
  return { status, location, body: Buffer.concat(chunks).toString('latin1') };
}

function redirectTarget(
  location: string,
  from: URL,
  {
    ports,
    identifierIsIp,
  }: { readonly ports: Http01Dependencies['ports']; readonly identifierIsIp: boolean },
): Judged<URL> {
  const refused = (why: string): Judged<never> =>
    invalid('connection', `${from.hostname} redirects to ${why}`);
  if (location.length > 2048 || !URL.canParse(location, from.href))
    return refused('something that is no URL');
  const target = new URL(location, from);
  const port = target.port === '' ? (target.protocol === 'https:' ? 443 : 80) : Number(target.port);
  if (target.protocol !== 'http:' && target.protocol !== 'https:')
    return refused('a URL that is neither http nor https');
  if (port !== ports.http && port !== ports.https)
    return refused(`another port than ${ports.http} and ${ports.https}`);
  if (target.username !== '' || target.password !== '') return refused('a URL with a password');
  const host = plainHost(target);
  if (isIP(host) !== 0 ? !identifierIsIp : !parseDnsName(host).ok)
    return refused(
      isIP(host) === 0
        ? 'a host that is no DNS name'
        : 'an IP address: only a DNS name is followed here',
    );
  return { ok: true, value: target };
}

const urlHost = (host: string): string => (isIPv6(host) ? `[${host}]` : host);
const plainHost = ({ hostname }: URL): string => hostname.replace(/^\[(.*)\]$/, '$1');

/**
 * The path of a redirect is the host's own text, and is not repeated. The token is not either: every
 * failure is on record, and its reader needs no token.
 */
const whereabouts = (at: URL, address: string, redirects: number): string =>
  redirects === 0
    ? `${at.protocol}//${at.host}/.well-known/acme-challenge/ at ${address}`
    : `${at.protocol}//${at.host} at ${address}, after ${redirects} redirects,`;
