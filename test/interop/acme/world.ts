import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DnsServer, dnsIpv4, dnsText } from '../../support/dns-server.ts';
import { lanAddress } from '../../support/lan.ts';

/**
 * What stands around an ACME server and its clients: a name server, ports 80 and 443 of every host,
 * a TLS gateway in front of the server, and a control port by which hooks put answers in place.
 */
export class AcmeWorld implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'meshca-acme-'));
  readonly address = lanAddress();
  readonly dns: DnsServer;
  /** Token → key authorization, served at every host. */
  readonly #tokens = new Map<string, string>();
  /** The ports of clients that answer http-01 themselves. */
  readonly httpBackends = new Set<number>();
  /** By SNI: the port of the client that answers tls-alpn-01. */
  readonly tlsBackends = new Map<string, number>();
  readonly #servers: net.Server[] = [];
  /** Each third nonce that a client gets is replaced by one that was never made. */
  badNonces = false;
  /** The HTTP port of the server on 127.0.0.1. */
  upstream = 0;
  readonly #nonces = new Map<string, number>();
  #ports = { http: 0, https: 0, control: 0, gateway: 0 };

  private constructor(dns: DnsServer) {
    this.dns = dns;
  }

  static async open(): Promise<AcmeWorld> {
    const world = new AcmeWorld(await DnsServer.open());
    world.#makeCertificate();
    world.#ports = {
      http: await world.#listen(http.createServer(world.#answerHttp), world.address),
      https: await world.#listen(net.createServer(world.#routeTls), world.address),
      control: await world.#listen(http.createServer(world.#control), '127.0.0.1'),
      gateway: await world.#listen(
        https.createServer(
          { key: world.#read('gateway.key'), cert: world.#read('gateway.pem') },
          world.#forward,
        ),
        '127.0.0.1',
      ),
    };
    return world;
  }

  get httpPort(): number {
    return this.#ports.http;
  }

  get httpsPort(): number {
    return this.#ports.https;
  }

  get control(): string {
    return `http://127.0.0.1:${this.#ports.control}`;
  }

  get publicBaseUrl(): string {
    return `https://localhost:${this.#ports.gateway}`;
  }

  /** The root above the certificate of the gateway. */
  get caFile(): string {
    return join(this.dir, 'ca.pem');
  }

  /** The name leads to this machine. */
  host(name: string): void {
    this.dns.zone.set(`${name} A`, [dnsIpv4(this.address)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dns.close();
    for (const server of this.#servers) {
      if (server instanceof http.Server) server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    rmSync(this.dir, { recursive: true, force: true });
  }

  #listen(server: net.Server, host: string): Promise<number> {
    this.#servers.push(server);
    return new Promise((resolve) =>
      server.listen(0, host, () => resolve((server.address() as AddressInfo).port)),
    );
  }

  #read(name: string): string {
    return readFileSync(join(this.dir, name), 'utf8');
  }

  #makeCertificate(): void {
    const at = (name: string): string => join(this.dir, name);
    const openssl = (...args: readonly string[]): void => {
      execFileSync('openssl', args, { stdio: 'ignore' });
    };
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl(
      'req',
      '-x509',
      ...key,
      ...['-subj', '/CN=Gateway root', '-days', '2'],
      ...['-keyout', at('ca.key'), '-out', at('ca.pem')],
    );
    writeFileSync(at('san'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
    openssl(
      'req',
      ...key,
      '-subj',
      '/CN=localhost',
      ...['-keyout', at('gateway.key'), '-out', at('gateway.csr')],
    );
    openssl(
      'x509',
      '-req',
      '-in',
      at('gateway.csr'),
      '-CA',
      at('ca.pem'),
      ...[
        ...['-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2'],
        ...['-extfile', at('san'), '-out', at('gateway.pem')],
      ],
    );
  }

  /** Port 80 of every host: the tokens of hooks, then what the clients answer that listen. */
  readonly #answerHttp: http.RequestListener = (incoming, response) => {
    const token = incoming.url?.replace('/.well-known/acme-challenge/', '') ?? '';
    const known = this.#tokens.get(token);
    if (known !== undefined) {
      response.end(known);
      return;
    }
    void this.#askBackends(incoming.url ?? '/', incoming.headers.host ?? '').then((body) => {
      response.writeHead(body === undefined ? 404 : 200).end(body ?? '');
    });
  };

  async #askBackends(path: string, host: string): Promise<string | undefined> {
    for (const port of this.httpBackends) {
      const body = await new Promise<string | undefined>((resolve) => {
        const asked = http.get({ host: '127.0.0.1', port, path, headers: { host } }, (answer) => {
          let text = '';
          answer.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
          answer.on('end', () => resolve(answer.statusCode === 200 ? text : undefined));
        });
        asked.on('error', () => resolve(undefined));
      });
      if (body !== undefined) return body;
    }
    return undefined;
  }

  /** Port 443 of every host. The ClientHello names it. */
  readonly #routeTls = (socket: net.Socket): void => {
    socket.on('error', () => {});
    socket.once('data', (hello: Buffer) => {
      const text = hello.toString('latin1');
      const port = [...this.tlsBackends].find(([name]) => text.includes(name))?.[1];
      if (port === undefined) {
        socket.destroy();
        return;
      }
      const backend = net.connect(port, '127.0.0.1', () => {
        backend.write(hello);
        socket.pipe(backend).pipe(socket);
      });
      backend.on('error', () => socket.destroy());
    });
  };

  /** `PUT /http/TOKEN` and `PUT /dns/NAME`, by hooks. */
  readonly #control: http.RequestListener = (incoming, response) => {
    let body = '';
    incoming.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
    incoming.on('end', () => {
      const [, kind, name = ''] = (incoming.url ?? '').split('/');
      if (kind === 'http') this.#tokens.set(name, body);
      else {
        const at = `${name} TXT`;
        const others = this.dns.zone.get(at);
        this.dns.zone.set(at, [...(Array.isArray(others) ? others : []), dnsText(body)]);
      }
      response.end();
    });
  };

  readonly #forward: http.RequestListener = (incoming, response) => {
    const { method, url, headers } = incoming;
    const asked = http.request(
      { host: '127.0.0.1', port: this.upstream, method, path: url, headers },
      (answer) => {
        const answered = { ...answer.headers };
        if (this.#spoilsNonce(headers['user-agent'] ?? '', answered))
          answered['replay-nonce'] = 'bm90LW1hZGUtaGVyZQ';
        response.writeHead(answer.statusCode ?? 502, answered);
        answer.pipe(response);
      },
    );
    asked.on('error', () => response.writeHead(502).end());
    incoming.pipe(asked);
  };

  /** By client, so that a repetition gets a good one: two in a row are not in question. */
  #spoilsNonce(client: string, headers: http.IncomingHttpHeaders): boolean {
    if (!this.badNonces || headers['replay-nonce'] === undefined) return false;
    const count = (this.#nonces.get(client) ?? 0) + 1;
    this.#nonces.set(client, count);
    return count % 3 === 0;
  }
}
