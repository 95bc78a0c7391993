import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { controlId, delegate } from '../support/control-plane.ts';
import { rotationOf } from '../support/mesh.ts';
import { freePort } from '../support/ports.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { AgentProcess } from './agent-process.ts';
import { executableOf } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';

const lives = {
  issuance: {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: 45,
    maximumTtlSeconds: 60,
    agentTtlSeconds: 60,
    serverTtlSeconds: 60,
    jwtMaximumTtlSeconds: 60,
    jwtDefaultTtlSeconds: 30,
    bundleRefreshHintSeconds: 1,
  },
  rotation: { marginSeconds: 60, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};
const languages = ['go', 'python'] as const;
type Language = (typeof languages)[number];

interface Line {
  readonly event: 'bundle' | 'signed' | 'refused' | 'failed' | 'watch-ended';
  readonly roots?: number;
  readonly spiffeId?: string;
  readonly serial?: string;
  readonly code?: string;
  readonly error?: string;
  readonly refusalId?: string;
}

/** One example of clients/. Owner of its process. */
class ControlPlane {
  readonly lines: Line[] = [];
  readonly child: ChildProcess;
  readonly #language: Language;
  #stderr = '';

  constructor(
    language: Language,
    socketPath: string,
    { port, trustDomainName }: { readonly port: number; readonly trustDomainName: string },
  ) {
    this.#language = language;
    const [program = '', ...args] = foreignProgram('controlPlanes')[language];
    this.child = spawn(
      program,
      [
        ...args,
        ...['--server', `127.0.0.1:${port}`],
        ...['--trust-domain', trustDomainName, '--instance', `${language}-0`],
      ],
      {
        env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${socketPath}` },
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    );
    this.child.stderr?.on('data', (bytes: Buffer) => (this.#stderr += bytes.toString()));
    this.child.stdin?.on('error', () => {});
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on('line', (text) =>
      this.lines.push(JSON.parse(text)),
    );
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    await until(
      () => {
        if (this.child.exitCode !== null)
          throw new Error(`${this.#language} ended (${this.child.exitCode}): ${this.#stderr}`);
        return condition();
      },
      `${this.#language}: ${what}; ${JSON.stringify(this.lines.slice(-5))} ${this.#stderr.slice(-2_000)}`,
    );
  }

  /** What it says of one request. */
  async ask(spiffeId: string): Promise<Line> {
    const answers = (): readonly Line[] =>
      this.lines.filter(({ event }) => event !== 'bundle' && event !== 'watch-ended');
    const before = answers().length;
    this.child.stdin?.write(`${spiffeId}\n`);
    await this.until(() => answers().length > before, `an answer for ${spiffeId}`);
    return answers().at(-1) as Line;
  }

  get roots(): number | undefined {
    return this.lines.findLast(({ event }) => event === 'bundle')?.roots;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }
}

// The steps follow each other: each one starts from where the one before has left the mesh.
describe('control planes on our clients for Go and Python', () => {
  let server: TestServer;
  let agent: AgentProcess;
  const planes = new Map<Language, ControlPlane>();
  const connect = (language: Language, trustDomainName: string): ControlPlane =>
    new ControlPlane(language, agent.socketPath, { port: server.server.port, trustDomainName });
  const planeOf = (language: Language): ControlPlane => planes.get(language) as ControlPlane;

  before(async () => {
    server = await startTestServer({ config: { ...lives, listen: { port: await freePort() } } });
    agent = await AgentProcess.join(server, 'node');
    for (const language of languages) {
      await server.admin('Entries/CreateEntries', {
        entries: [
          {
            spiffeId: controlId(language),
            parentId: agent.agentId,
            selectors: [
              `unix:uid:${process.getuid?.() ?? 0}`,
              `unix:path:${executableOf(foreignProgram('controlPlanes')[language])}`,
            ],
          },
        ],
      });
      await delegate(server, language);
      planes.set(language, connect(language, testTrustDomain));
    }
    for (const plane of planes.values())
      await plane.until(() => plane.roots === 1, 'the first bundle');
  });

  after(async () => {
    for (const plane of planes.values()) await plane.end();
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test('each has certificates signed, and gets refusals with code and ID', async () => {
    for (const language of languages) {
      const good = await planeOf(language).ask(`spiffe://${testTrustDomain}/ns/${language}/sa/a`);
      assert.equal(good.event, 'signed', JSON.stringify(good));
      assert.equal(good.roots, 1);
      const bad = await planeOf(language).ask(`spiffe://${testTrustDomain}/elsewhere`);
      assert.deepEqual([bad.event, bad.code], ['refused', 'OUTSIDE_DELEGATION']);
      assert.notEqual(bad.refusalId, '');
    }
  });

  test('a server with another ID than the expected one is told nothing', async () => {
    for (const language of languages) {
      const deceived = connect(language, 'other.test');
      try {
        await deceived.until(
          () => deceived.lines.some(({ event }) => event === 'watch-ended'),
          'the end of its watch',
        );
        const { error = '' } = deceived.lines[0]!;
        assert.ok(error.includes('not spiffe://other.test/meshca/server'), error);
      } finally {
        await deceived.end();
      }
    }
  });

  test('a root rotation waits for one that stands still, by name, and goes on when it confirms', async () => {
    const { activeId, inState } = rotationOf(server);
    const before = await activeId('root');
    planeOf('go').child.kill('SIGSTOP');
    await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
    const laggards = async (): Promise<readonly string[]> =>
      ((await inState('root', 'published'))?.confirmation?.laggards ?? [])
        .filter(({ kind }) => kind === 'control-plane')
        .map(({ spiffeId }) => spiffeId);
    await until(
      async () => (await laggards()).join() === controlId('go'),
      'the other one has confirmed',
    );
    assert.equal(await activeId('root'), before);
    planeOf('go').child.kill('SIGCONT');
    await until(async () => (await activeId('root')) !== before, 'the new root is active');
  });

  test('each goes on under the new root and with a renewed certificate of its own', async () => {
    const serialsOf = async (language: Language): Promise<number> =>
      (
        await server.admin('Certificates/ListCertificates', {
          filter: { spiffeId: controlId(language) },
        })
      ).certificates.length;
    for (const language of languages) {
      const count = await serialsOf(language);
      await until(async () => (await serialsOf(language)) > count, `${language} is renewed`);
      const plane = planeOf(language);
      const signed = await plane.ask(`spiffe://${testTrustDomain}/ns/${language}/sa/b`);
      assert.equal(signed.event, 'signed', JSON.stringify(signed));
      await plane.until(() => (plane.roots ?? 0) >= 1, 'a bundle');
    }
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'control-plane.watched',
      page: { size: 100 },
    });
    for (const language of languages)
      assert.ok(
        records.filter(({ subject }) => subject === controlId(language)).length > 1,
        `${language} watches with its renewed certificate`,
      );
  });
});
