import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { certificatesToPem } from '../src/common/x509/index.ts';
import { freePorts } from '../test/support/ports.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';
import {
  blockedText,
  fillLog,
  issueLeaf,
  namesAuthorityOf,
  rss,
  seconds,
  type Leaf,
  type NamesAuthority,
  type ShardFill,
} from './long-log.ts';
import type { ServerProcess } from './server-child.ts';
import type { LoopFigures } from './server-messages.ts';
import { createWorld, type World } from './world.ts';

const run = promisify(execFile);
const crlBaseUrl = 'http://ca.drill.test/crl';
/** Limits of the promise, where the machine is quiet. */
const visibleSeconds = 5;
const blockedMs = 20;
const lookEveryMs = 200;
const hurriedLookMs = 20;
/** Certificates of names that are issued one after another, to see how long each takes. */
const issuedInPhase = 20;

/** A long log of revoked leaves, each with its OCSP answer. */
export const ocspScale: Drill = {
  name: 'ocsp-scale',
  promise:
    'with OCSP answers about many leaves a new revocation is answered within 5 s, also while all ' +
    'answers are renewed and after a start, and the server is never blocked for 20 ms meanwhile',
  options: [
    '--leaves N          leaves with an answer (1000000; short 5000)',
    '--revoke N          revocations in each phase (5; short 2)',
    '--renewal-seconds N ends the renewal of all answers after so long (600)',
  ],
  async run({ short, options, say, signal }) {
    const total = Number(options['leaves'] ?? (short ? 5_000 : 1_000_000));
    const count = Number(options['revoke'] ?? (short ? 2 : 5));
    const renewalSeconds = Number(options['renewal-seconds'] ?? 600);
    const breaches = new Breaches();
    const [httpPort = 0] = await freePorts(1);
    const baseUrl = `http://127.0.0.1:${httpPort}/ocsp`;
    await using world = await createWorld({
      issuance: { crlBaseUrl },
      sections: {
        names: { enabled: true, ocsp: { baseUrl } },
        http: { plain: { enabled: true, port: httpPort } },
      },
      signal,
    });
    const play = new Play({ world, baseUrl, breaches, context: { short, options, say, signal } });
    const filled = await play.fill(total, count * phases);
    const quiet = { ...(await play.revoke('quiet', count)), ...(await play.issue('quiet')) };
    const judged = await play.judge();
    const started = await play.startAgain();
    const afterStart = await play.revoke('after a start', count);
    const renewal = await play.renewAll(renewalSeconds, count);
    await play.judge();
    return {
      figures: { leaves: total, ...filled, ...judged, quiet, started, afterStart, renewal },
      broken: breaches.list,
    };
  },
};

const phases = 3;

interface PlayParts {
  readonly world: World;
  readonly baseUrl: string;
  readonly breaches: Breaches;
  readonly context: DrillContext;
}

/** One server with its answers. */
class Play {
  readonly #parts: PlayParts;
  #server!: ServerProcess;
  #authority!: NamesAuthority;
  readonly #leaves: Leaf[] = [];
  #shards: readonly ShardFill[] = [];
  #issuerFile = '';
  #rootFile = '';

  constructor(parts: PlayParts) {
    this.#parts = parts;
  }

  /** All leaves of a long log get their answer: nobody waited for these before. */
  async fill(total: number, revoked: number): Promise<object> {
    const { world, context, breaches } = this.#parts;
    const server = (this.#server = world.start({ synchronous: 'OFF' }));
    await server.ready;
    const authority = (this.#authority = await namesAuthorityOf(world));
    this.#issuerFile = await this.#file('issuer.pem', [authority.der]);
    this.#rootFile = await this.#file('root.pem', [authority.rootDer]);
    for (let index = 0; index <= revoked; index += 1)
      this.#leaves.push(await issueLeaf(world, index));
    const leaves = this.#leaves;
    const begunMs = performance.now();
    const { fillSeconds, shards } = await fillLog(
      { server, authority, baseUrl: crlBaseUrl, leaves, total },
      context,
    );
    this.#shards = shards;
    const wanted = total + leaves.length;
    for (let answers = 0; answers < wanted; await sleep(lookEveryMs)) {
      context.signal.throwIfAborted();
      answers = this.#rows('SELECT count(*) AS n FROM ocsp_answers');
    }
    const answeredSeconds = seconds(begunMs);
    const during = await server.loop();
    context.say(`${wanted} answers after ${answeredSeconds} s`);
    const [unrevoked] = leaves;
    breaches.expect((await this.#asked(unrevoked as Leaf)) === 'good', 'a new leaf is not good');
    return { fillSeconds, answeredSeconds, filledRssMiB: rss(during) };
  }

  /** How long a certificate takes now for which somebody waits, with its key and CSR. */
  async issue(phase: string): Promise<object> {
    const { world, context } = this.#parts;
    const times: number[] = [];
    for (let index = 0; index < issuedInPhase; index += 1) {
      const begunMs = performance.now();
      await issueLeaf(world, index);
      times.push(performance.now() - begunMs);
    }
    times.sort((one, other) => one - other);
    const issuedMs = round(times[issuedInPhase / 2] as number);
    const longestIssuedMs = round(times.at(-1) as number);
    context.say(`${phase}: a certificate takes ${issuedMs} ms, the longest ${longestIssuedMs} ms`);
    return { issuedMs, longestIssuedMs };
  }

  /** OpenSSL asks about one leaf of each shard: each is revoked. */
  async judge(): Promise<object> {
    const { breaches } = this.#parts;
    for (const { shard } of this.#shards) {
      const serial = this.#revokedSerial(shard);
      const { stdout, stderr } = await this.#ask('-serial', `0x${serial}`);
      const status = stderr.includes('Response verify OK')
        ? /^0x\w+: (\w+)/m.exec(stdout)?.[1]
        : undefined;
      breaches.expect(
        status === 'revoked',
        `OpenSSL has no answer about a leaf of shard ${shard}: ${status} ${stderr}`,
      );
    }
    return { judgedShards: this.#shards.length };
  }

  async startAgain(): Promise<object> {
    const { world, context } = this.#parts;
    await this.#server.stop();
    const begunMs = performance.now();
    this.#server = world.start();
    await this.#server.ready;
    const startSeconds = seconds(begunMs);
    const during = await this.#server.loop();
    context.say(`started again in ${startSeconds} s, blocked for ${blockedText(during)}`);
    return { startSeconds, blockedMs: round(during.longestMs), rssMiB: rss(during) };
  }

  /** One after another: how long until OpenSSL is told so. */
  async revoke(phase: string, count: number): Promise<object> {
    const { world, context } = this.#parts;
    const visible: number[] = [];
    const blocked: LoopFigures[] = [];
    await this.#server.loop();
    for (let left = count; left > 0; left -= 1) {
      const leaf = this.#leaves.pop() as Leaf;
      const begunMs = performance.now();
      await world.calls.admin('Certificates/RevokeCertificate', { serial: leaf.serial });
      for (
        const endMs = begunMs + patienceMs;
        performance.now() < endMs;
        await sleep(hurriedLookMs)
      )
        if ((await this.#asked(leaf)) === 'revoked') break;
      visible.push(seconds(begunMs));
      const during = await this.#server.loop();
      blocked.push(during);
      context.say(
        `${phase}: answered after ${visible.at(-1)} s, blocked for ${blockedText(during)}`,
      );
    }
    return this.#judged(phase, { visible, blocked });
  }

  /** Every answer is due, as after a long outage of the token. Revocations come first. */
  async renewAll(limitSeconds: number, count: number): Promise<object> {
    const { world, context } = this.#parts;
    await this.#server.stop();
    using database = new DatabaseSync(world.databasePath);
    database.exec('UPDATE ocsp_answers SET due_at = 1');
    database.close();
    this.#server = world.start();
    await this.#server.ready;
    const begunMs = performance.now();
    const left = (): number =>
      this.#rows('SELECT count(*) AS n FROM ocsp_answers WHERE due_at = 1');
    const all = left();
    const revoked = await this.revoke('during the renewal', count);
    const during = { ...revoked, ...(await this.issue('during the renewal')) };
    const leftMeanwhile = left();
    await this.#server.loop();
    let rest = all;
    while (rest > 0 && seconds(begunMs) < limitSeconds) {
      context.signal.throwIfAborted();
      await sleep(lookEveryMs);
      rest = left();
    }
    const renewalSeconds = seconds(begunMs);
    const loop = await this.#server.loop();
    context.say(
      `${all - rest} answers renewed in ${renewalSeconds} s, blocked for ${blockedText(loop)}`,
    );
    return {
      ...during,
      ...{ renewed: all - rest, left: rest, leftMeanwhile, renewalSeconds },
      perSecond: Math.round((all - rest) / renewalSeconds),
      renewalBlockedMs: round(loop.longestMs),
      renewalBlockedWorkMs: round(loop.longestWorkMs),
      rssMiB: rss(loop),
    };
  }

  #judged(
    phase: string,
    {
      visible,
      blocked,
    }: { readonly visible: readonly number[]; readonly blocked: readonly LoopFigures[] },
  ): object {
    const { context, breaches } = this.#parts;
    const slowest = Math.max(...visible);
    const longest = Math.max(...blocked.map(({ longestMs }) => longestMs));
    const work = Math.max(...blocked.map(({ longestWorkMs }) => longestWorkMs));
    if (!context.short) {
      breaches.expect(slowest < visibleSeconds, `${phase}: answered after ${slowest} s`);
      breaches.expect(longest < blockedMs, `${phase}: blocked for ${round(longest)} ms`);
    }
    const rssMiB = Math.max(...blocked.map(rss));
    return {
      visibleSeconds: slowest,
      blockedMs: round(longest),
      blockedWorkMs: round(work),
      rssMiB,
    };
  }

  /** What OpenSSL says of a leaf: it verifies the answer and its signer. */
  async #asked({ der }: Leaf): Promise<string> {
    const { stdout, stderr } = await this.#ask('-cert', await this.#file('leaf.pem', [der]));
    if (!stderr.includes('Response verify OK')) return 'no answer';
    return /leaf\.pem: (\w+)/.exec(stdout)?.[1] ?? 'unknown';
  }

  #ask(...of: readonly string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
    return run('openssl', [
      ...['ocsp', '-issuer', this.#issuerFile, ...of, '-CAfile', this.#rootFile],
      ...['-no_nonce', '-url', `${this.#parts.baseUrl}/${this.#authority.id}`],
    ]).catch((error: { readonly stdout: string; readonly stderr: string }) => error);
  }

  /** One that the fixture has revoked. */
  #revokedSerial(shard: number): string {
    using database = new DatabaseSync(this.#parts.world.databasePath, { readOnly: true });
    const row = database
      .prepare('SELECT lower(hex(serial)) AS serial FROM revocations WHERE shard = ? LIMIT 1')
      .get(shard);
    return String(row?.['serial']);
  }

  #rows(query: string): number {
    using database = new DatabaseSync(this.#parts.world.databasePath, { readOnly: true });
    return Number(database.prepare(query).get()?.['n']);
  }

  async #file(name: string, certificates: readonly Buffer[]): Promise<string> {
    const path = join(this.#parts.world.dir, name);
    await writeFile(path, certificatesToPem(certificates));
    return path;
  }
}
