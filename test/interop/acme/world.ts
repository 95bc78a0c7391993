import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lanAddress } from '../../support/lan.ts';
import { Gateway } from './gateway.ts';
import { NameServers } from './name-servers.ts';
import { Network } from './network.ts';

/**
 * What stands around an ACME server and its clients: name servers, ports 80 and 443 of every host, a
 * TLS gateway in front of the server, and a control port by which hooks put answers in place.
 */
export class AcmeWorld implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'meshca-acme-'));
  readonly address = lanAddress();
  readonly names: NameServers;
  readonly gateway: Gateway;
  readonly #network: Network;
  /** Token → key authorization, served at every host. */
  readonly #tokens = new Map<string, string>();
  /** The ports of clients that answer http-01 themselves. */
  readonly httpBackends = new Set<number>();
  /** By SNI: the port of the client that answers tls-alpn-01. */
  readonly tlsBackends = new Map<string, number>();
  readonly #servers: net.Server[] = [];
  #ports = { http: 0, https: 0, control: 0 };

  private constructor(network: Network, names: NameServers, gateway: Gateway) {
    this.#network = network;
    this.names = names;
    this.gateway = gateway;
  }

  /** @param debian a folder like `/` with Knot DNS */
  static async open(debian: string): Promise<AcmeWorld> {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await Network.open({ packages: debian, programs: {} }));
    const names = await NameServers.open(network, ['example.org. 60 CAA 0 issue "ca.example.org"']);
    const gateway = await Gateway.open({ address: '127.0.0.1', port: 0, name: 'localhost' });
    const world = new AcmeWorld(network, names, gateway);
    world.#ports = {
      http: await world.#listen(http.createServer(world.#answerHttp), world.address),
      https: await world.#listen(net.createServer(world.#routeTls), world.address),
      control: await world.#listen(http.createServer(world.#control), '127.0.0.1'),
    };
    stack.move();
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
    return `https://localhost:${this.gateway.port}`;
  }

  /** The root above the certificate of the gateway. */
  get caFile(): string {
    return this.gateway.caFile;
  }

  /** These names lead to this machine. */
  host(...names: readonly string[]): Promise<void> {
    return this.names.add(...names.map((name) => `${name}. A ${this.address}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) {
      if (server instanceof http.Server) server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    await this.gateway[Symbol.asyncDispose]();
    await this.#network[Symbol.asyncDispose]();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #listen(server: net.Server, host: string): Promise<number> {
    this.#servers.push(server);
    return new Promise((resolve) =>
      server.listen(0, host, () => resolve((server.address() as AddressInfo).port)),
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
      if (kind === 'http') {
        this.#tokens.set(name, body);
        response.end();
        return;
      }
      this.names.addText(name, body).then(
        () => response.end(),
        (thrown: unknown) => response.writeHead(500).end(String(thrown)),
      );
    });
  };
}
