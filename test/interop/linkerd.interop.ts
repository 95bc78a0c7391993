import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import {
  nameOf,
  servingName,
  startLinkerdMesh,
  web,
  type LinkerdMesh,
} from '../support/linkerd-mesh.ts';
import { quickLives } from '../support/mesh.ts';
import { until } from '../support/until.ts';
import { foreignProgram } from './foreign-programs.ts';

/** A line of the program in test/interop/linkerd. */
interface Line {
  readonly event: 'certified' | 'refused' | 'failed';
  readonly serial?: string;
  readonly names?: readonly string[];
  readonly chain?: readonly string[];
  readonly status?: string;
  readonly code?: string;
  readonly error?: string;
}

const name = nameOf('shop', 'web');

/** The program. Owner of its process. */
class Proxy implements AsyncDisposable {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  #stderr = '';

  constructor(args: readonly string[]) {
    const [program = ''] = foreignProgram('linkerd');
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr?.on('data', (bytes: Buffer) => (this.#stderr += bytes.toString()));
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (text) =>
      this.lines.push(JSON.parse(text) as Line),
    );
  }

  get certified(): readonly Line[] {
    return this.lines.filter(({ event }) => event === 'certified');
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    await until(() => {
      if (this.#child.exitCode !== null && !condition())
        throw new Error(`the proxy ended: ${JSON.stringify(this.lines)} ${this.#stderr}`);
      return condition();
    }, what);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end();
    await until(() => this.#child.exitCode !== null, 'the proxy ends');
  }
}

describe('a client with the shape of Linkerd’s proxy', () => {
  let mesh: LinkerdMesh;
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-linkerd-'));
    mesh = await startLinkerdMesh({
      ...quickLives,
      issuance: { ...quickLives.issuance, maximumTtlSeconds: 15 },
    });
    await writeFile(join(dir, 'anchors.pem'), certificatesToPem(mesh.server.rootsDer));
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  async function proxy(token: string, ...args: readonly string[]): Promise<Proxy> {
    const tokenFile = join(dir, `token-${crypto.randomUUID()}`);
    await writeFile(tokenFile, token);
    return proxyOf(tokenFile, args);
  }

  const proxyOf = (tokenFile: string, args: readonly string[]): Proxy =>
    new Proxy([
      ...['-address', `127.0.0.1:${mesh.server.server.port}`, '-server-name', servingName],
      ...['-anchors', join(dir, 'anchors.pem'), '-identity', name, '-token-file', tokenFile],
      ...args,
    ]);

  /** The status and code of its one call. */
  async function refused(token: string, ...args: readonly string[]): Promise<string> {
    await using asking = await proxy(token, '-once', ...args);
    await asking.until(() => asking.lines.length > 0, 'the proxy says something');
    const { event, status: number, code, error } = asking.lines[0] as Line;
    return event === 'refused' ? `${status[Number(number)]} ${code}` : `${event}: ${error}`;
  }

  test('obtains a certificate, verifies it, and renews it with its key; rustls-webpki accepts it', async () => {
    const tokenFile = join(dir, 'token');
    await writeFile(tokenFile, await mesh.token(web));
    await using asking = proxyOf(tokenFile, ['-min-refresh', '1s']);
    await asking.until(() => asking.certified.length >= 1, 'it has a certificate');
    // the kubelet replaces tokens; the same one would get the recorded certificate for a minute
    await writeFile(tokenFile, await mesh.token(web));
    await asking.until(() => asking.certified.length >= 2, 'it has renewed');
    const [first, second] = asking.certified as [Line, Line];
    assert.notEqual(first.serial, second.serial);
    assert.deepEqual(second.names, [name]);
    const root = mesh.server.rootsDer[0]?.toString('base64');
    const [judge = '', ...args] = foreignProgram('judges').rust;
    const cases = [
      { name, purpose: 'server', dnsName: name, accepted: true },
      { name, purpose: 'client', dnsName: name, accepted: true },
      { name, purpose: 'server', dnsName: nameOf('bank', 'web'), accepted: false },
    ];
    const { stdout } = spawnSync(judge, args, {
      input: cases.map((each) => JSON.stringify({ ...each, chain: second.chain, root })).join('\n'),
      encoding: 'utf8',
    });
    assert.deepEqual(
      stdout
        .trim()
        .split('\n')
        .map((text) => (JSON.parse(text) as { readonly accepted: boolean }).accepted),
      cases.map(({ accepted }) => accepted),
      stdout,
    );
  });

  test('is refused with the status that a proxy of Linkerd expects', async () => {
    const token = await mesh.token(web);
    const past = Math.floor(Date.now() / 1000) - 1000;
    const foreign = await mesh.token({ ...web, namespace: 'bank' });
    const wanted = await mesh.token(web, { aud: ['istio-ca'] });
    const expired = await mesh.token(web, { iat: past - 60, exp: past });
    const seen = {
      foreignNamespace: await refused(foreign),
      otherIdentity: await refused(token, '-ask', nameOf('bank', 'web')),
      secondSan: await refused(token, '-dns-names', `${name},second.test`),
      uri: await refused(token, '-uri', 'spiffe://mesh.test/web'),
      audience: await refused(wanted),
      expired: await refused(expired),
      noToken: await refused('no token'),
    };
    assert.deepEqual(seen, {
      foreignNamespace: 'FAILED_PRECONDITION TOKEN_IDENTITY_MISMATCH',
      otherIdentity: 'FAILED_PRECONDITION TOKEN_IDENTITY_MISMATCH',
      secondSan: 'FAILED_PRECONDITION CSR_IDENTITY_MISMATCH',
      uri: 'FAILED_PRECONDITION CSR_IDENTITY_MISMATCH',
      audience: 'FAILED_PRECONDITION TOKEN_AUDIENCE_WRONG',
      expired: 'FAILED_PRECONDITION TOKEN_EXPIRED',
      noToken: 'FAILED_PRECONDITION TOKEN_MALFORMED',
    });
  });
});
