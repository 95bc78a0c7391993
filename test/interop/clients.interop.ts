import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually, rotationOf } from '../support/mesh.ts';
import { freePort } from '../support/ports.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../support/server.ts';
import { AgentProcess } from './agent-process.ts';
import { executableOf, ForeignClient } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';
import type { Language } from './foreign-programs.ts';

/** Lives in which a renewal is soon, and a machine that stands still for seconds expires nothing. */
const lives = {
  issuance: {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: 60,
    maximumTtlSeconds: 90,
    agentTtlSeconds: 90,
    serverTtlSeconds: 90,
    jwtMaximumTtlSeconds: 60,
    jwtDefaultTtlSeconds: 60,
    bundleRefreshHintSeconds: 1,
  },
  rotation: { marginSeconds: 90, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};

const languages: readonly Language[] = ['go', 'python', 'rust', 'java'];
const idOf = (language: Language): string => `spiffe://${testTrustDomain}/${language}`;

// The steps follow each other: each one starts from where the one before has left the mesh.
describe('workloads on go-spiffe, spiffe for Python and Rust, and java-spiffe', () => {
  let server: TestServer;
  let agent: AgentProcess;
  let clients: ForeignClient[] = [];
  const entryIds = new Map<Language, string>();

  async function createEntry(language: Language): Promise<void> {
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: idOf(language),
          parentId: agent.agentId,
          selectors: [
            `unix:uid:${process.getuid?.() ?? 0}`,
            `unix:path:${executableOf(foreignProgram('clients')[language])}`,
          ],
        },
      ],
    });
    entryIds.set(language, results?.[0]?.entry?.id ?? '');
  }

  /**
   * What `from` says of its peer. spiffe-rustls refuses handshakes for the instant between a new
   * X.509 context and its conversion for rustls (PendingRevision), whoever issues: a handshake with
   * it may be tried again.
   */
  async function peerOf(from: ForeignClient, to: ForeignClient): Promise<string> {
    const tries = from.language === 'rust' || to.language === 'rust' ? 5 : 1;
    let peer = '';
    for (let attempt = 0; attempt < tries; attempt += 1) {
      peer = await from.dial(to.port);
      if (!peer.startsWith('error: ')) return peer;
      await sleep(20 * (attempt + 1));
    }
    return peer;
  }

  /** Every pair shakes hands, and each side names the other rightly. */
  async function everyPair(): Promise<void> {
    for (const from of clients)
      for (const to of clients)
        assert.equal(
          await peerOf(from, to),
          idOf(to.language),
          `${from.language} to ${to.language}`,
        );
  }

  /** Runs `change` while every pair shakes hands again and again. */
  async function under(change: () => Promise<void>): Promise<void> {
    let going = true;
    const traffic = (async () => {
      while (going) await everyPair();
    })();
    try {
      await Promise.race([change(), traffic]);
    } finally {
      going = false;
    }
    await traffic;
  }

  /** Waits until each client has a certificate that it had not before. */
  async function renewed(): Promise<void> {
    const serials = clients.map(({ identity }) => identity?.serial);
    for (const [index, client] of clients.entries())
      await client.until(() => client.identity?.serial !== serials[index], 'a renewed certificate');
  }

  before(async () => {
    const port = await freePort();
    server = await startTestServer({ config: { ...lives, listen: { port } } });
    agent = await AgentProcess.join(server, 'node');
    for (const language of languages) await createEntry(language);
    const commands = foreignProgram('clients');
    clients = languages.map(
      (language) => new ForeignClient(language, commands[language], agent.socketPath),
    );
    for (const client of clients) await client.ready();
  });

  after(async () => {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  test('each gets its own identity', () => {
    assert.deepEqual(
      clients.map(({ identity }) => identity?.spiffeId),
      languages.map(idOf),
    );
  });

  test('each shakes hands with each', everyPair);

  test('each fetches a JWT-SVID and has it validated', async () => {
    for (const client of clients) assert.equal(await client.jwt('api'), idOf(client.language));
  });

  test('each takes its renewed certificate, and no handshake fails meanwhile', async () => {
    await under(renewed);
  });

  test('no handshake fails while the intermediate is replaced', async () => {
    await under(() => rotationOf(server).rotate('issuing'));
    await under(renewed);
  });

  test('no handshake fails while the root is replaced, and each holds the new one', async () => {
    const rootsBefore = clients[0]?.identity?.roots ?? [];
    await under(async () => {
      await rotationOf(server).rotate('root');
      for (const client of clients)
        await client.until(
          () => client.identity?.roots.some((root) => !rootsBefore.includes(root)) === true,
          'the new root',
        );
    });
    await under(renewed);
  });

  test('handshakes go on while the agent is killed, and certificates renew once it is back', async () => {
    await agent.kill();
    await everyPair();
    await agent.start();
    await under(renewed);
  });

  test('handshakes go on while the server is away, and certificates renew once it is back', async () => {
    await server.stop();
    await everyPair();
    await server.restart();
    await under(renewed);
  });

  test('a deleted entry gives nothing more; an entry that is added again does', async () => {
    await server.admin('Entries/DeleteEntries', { ids: [...entryIds.values()] });
    const count = (client: ForeignClient) => client.identities.length;
    const counts = clients.map(count);
    await eventually('the JWT-SVIDs to be refused', async () => {
      const subjects = await Promise.all(clients.map((client) => client.jwt('api')));
      return subjects.every((subject) => subject.startsWith('error: '));
    });
    for (const language of languages) await createEntry(language);
    for (const [index, client] of clients.entries())
      await client.until(() => count(client) > (counts[index] ?? 0), 'an identity again');
    await everyPair();
  });
});
