import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  certificatesToPem,
  parseCrl,
  pemEncode,
  type ParsedCrl,
} from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import { freePorts } from '../test/support/ports.ts';
import { patienceMs, until } from '../test/support/until.ts';
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
const baseUrl = 'http://ca.drill.test/crl';
/** Limits of the promise, where the machine is quiet. */
const visibleSeconds = 5;
const blockedMs = 20;
const lookEveryMs = 50;
const mebibyte = 1024 * 1024;

/** A long log of revoked leaves, and what one more revocation then takes. */
export const crlScale: Drill = {
  name: 'crl-scale',
  promise:
    'with a million revoked certificates a new revocation is on its CRL within 5 s, the server ' +
    'is never blocked for 20 ms meanwhile, and it starts again from a snapshot',
  options: [
    '--revoked N   revoked certificates (1000000; short 20000)',
    '--revoke N    further ones, one after another (10; short 3)',
  ],
  async run({ short, options, say, signal }) {
    const total = Number(options['revoked'] ?? (short ? 20_000 : 1_000_000));
    const count = Number(options['revoke'] ?? (short ? 3 : 10));
    const breaches = new Breaches();
    const [httpPort = 0] = await freePorts(1);
    await using world = await createWorld({
      issuance: { crlBaseUrl: baseUrl },
      sections: {
        names: { enabled: true },
        http: { plain: { enabled: true, port: httpPort } },
        log: { level: 'debug', format: 'json' },
      },
      signal,
    });
    const play = new Play({ world, httpPort, breaches, context: { short, options, say, signal } });
    const filled = await play.fill(total, count);
    const shards = await play.shards();
    const started = await play.startAgain();
    const revoked = await play.revoke();
    await play.judge();
    return {
      figures: { revoked: total, ...filled, ...shards, ...started, ...revoked },
      broken: breaches.list,
    };
  },
};

interface PlayParts {
  readonly world: World;
  readonly httpPort: number;
  readonly breaches: Breaches;
  readonly context: DrillContext;
}

/** One server with its long log. */
class Play {
  readonly #parts: PlayParts;
  #server!: ServerProcess;
  #authority!: NamesAuthority;
  #leaves: Leaf[] = [];
  #shards: readonly ShardFill[] = [];
  /** Bytes of the server's log that were read. */
  #logRead = 0;

  constructor(parts: PlayParts) {
    this.#parts = parts;
  }

  /** Issues the leaves that are revoked later, and fills their shard and the others. */
  async fill(total: number, count: number): Promise<object> {
    const { world, context } = this.#parts;
    this.#server = world.start({ synchronous: 'OFF' });
    await this.#server.ready;
    const server = this.#server;
    const authority = (this.#authority = await namesAuthorityOf(world));
    for (let index = 0; index <= count; index += 1)
      this.#leaves.push(await issueLeaf(world, index));
    const leaves = this.#leaves;
    const filled = await fillLog({ server, authority, baseUrl, leaves, total }, context);
    this.#shards = filled.shards;
    return { shards: filled.shards.length, fillSeconds: filled.fillSeconds };
  }

  /** Each CRL names all who were revoked. What was said of its last signature is its time. */
  async shards(): Promise<object> {
    const { breaches, context } = this.#parts;
    const begunMs = performance.now();
    const bytes: number[] = [];
    for (const { shard, leaves } of this.#shards) {
      const crl = await this.#until(shard, ({ revoked }) => revoked.size === leaves);
      bytes.push(crl.raw.length);
      breaches.expect(
        crl.distributionPoint === `${baseUrl}/${this.#authority.id}/${shard}.crl`,
        'a CRL of a shard states another URL than its leaves',
      );
    }
    const signed = await this.#signed();
    for (const [index, { shard, leaves }] of this.#shards.entries()) {
      const ms = signed.get(shard)?.at(-1) ?? Number.NaN;
      context.say(`shard ${shard}: ${leaves} entries, ${bytes[index]} bytes, ${round(ms)} ms`);
    }
    const times = this.#shards.map(({ shard }) => signed.get(shard)?.at(-1) ?? Number.NaN);
    return {
      catchUpSeconds: seconds(begunMs),
      largestBytes: Math.max(...bytes),
      slowestMs: round(Math.max(...times)),
      totalMiB: round(bytes.reduce((sum, each) => sum + each, 0) / mebibyte),
      filledRssMiB: rss(await this.#server.loop()),
    };
  }

  async startAgain(): Promise<object> {
    const { world, context, breaches } = this.#parts;
    await this.#server.stop();
    const begunMs = performance.now();
    this.#server = world.start();
    await this.#server.ready;
    const readySeconds = seconds(begunMs);
    const during = await this.#server.loop();
    context.say(`started again in ${readySeconds} s, blocked for ${blockedText(during)}`);
    const text = await readFile(join(world.dir, 'server.log'), 'utf8');
    breaches.expect(
      !text.slice(this.#logRead).includes('a snapshot of the audit log is not used'),
      'the start did not use the snapshot',
    );
    return {
      startSeconds: readySeconds,
      startBlockedMs: round(during.longestMs),
      startWorkMs: round(during.longestWorkMs),
      startRssMiB: rss(during),
    };
  }

  /** One after another, each in a full shard, with its issuer's other work going on. */
  async revoke(): Promise<object> {
    const { world, context, breaches } = this.#parts;
    const visible: number[] = [];
    const blocked: LoopFigures[] = [];
    const [first] = this.#shards as [ShardFill];
    await this.#signed();
    await this.#server.loop();
    for (const { serial } of this.#leaves.slice(1)) {
      const begunMs = performance.now();
      await world.calls.admin('Certificates/RevokeCertificate', { serial });
      await this.#isListed(first.shard, serial);
      visible.push(seconds(begunMs));
      const during = await this.#server.loop();
      blocked.push(during);
      context.say(`visible after ${visible.at(-1)} s, blocked for ${blockedText(during)}`);
    }
    const signed = (await this.#signed()).get(first.shard) ?? [];
    const slowest = Math.max(...visible);
    const longest = Math.max(...blocked.map(({ longestMs }) => longestMs));
    const work = Math.max(...blocked.map(({ longestWorkMs }) => longestWorkMs));
    if (!context.short) {
      breaches.expect(slowest < visibleSeconds, `a revocation was visible after ${slowest} s`);
      breaches.expect(longest < blockedMs, `the server was blocked for ${round(longest)} ms`);
    }
    return {
      visibleSeconds: slowest,
      blockedMs: round(longest),
      blockedWorkMs: round(work),
      signedMs: round(Math.max(...signed)),
      rssMiB: rss(await this.#server.loop()),
    };
  }

  /** OpenSSL verifies each CRL, and takes a leaf for revoked if, and only if, it is. */
  async judge(): Promise<void> {
    const { world, breaches } = this.#parts;
    const file = async (name: string, content: string): Promise<string> => {
      const path = join(world.dir, name);
      await writeFile(path, content);
      return path;
    };
    const { der, rootDer } = this.#authority;
    const cas = await file('cas.pem', certificatesToPem([rootDer, der]));
    for (const { shard } of this.#shards) {
      const crl = await file('shard.pem', pemEncode('X509 CRL', (await this.#crl(shard)).raw));
      const { stderr } = await run('openssl', [
        ...['crl', '-verify', '-noout', '-CAfile', cas, '-in', crl],
      ]);
      breaches.expect(stderr.includes('verify OK'), `OpenSSL does not take the CRL of ${shard}`);
    }
    const [{ shard }] = this.#shards as [ShardFill];
    const crl = await file('shard.pem', pemEncode('X509 CRL', (await this.#crl(shard)).raw));
    for (const [index, leaf] of this.#leaves.entries()) {
      const path = await file('leaf.pem', certificatesToPem([leaf.der]));
      const outcome = await run('openssl', [
        ...['verify', '-crl_check', '-extended_crl', '-CRLfile', crl, '-CAfile', cas, path],
      ]).then(
        () => 'OK',
        (error: { stderr: string }) => /error (\d+) /.exec(error.stderr)?.[1] ?? error.stderr,
      );
      const expected = index === 0 ? 'OK' : '23';
      breaches.expect(outcome === expected, `OpenSSL says ${outcome} in place of ${expected}`);
    }
  }

  async #crl(shard: number): Promise<ParsedCrl> {
    const path = `/crl/${this.#authority.id}/${shard}.crl`;
    const answer = await fetch(`http://127.0.0.1:${this.#parts.httpPort}${path}`);
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status}`);
    const der = Buffer.from(await answer.arrayBuffer());
    return unwrap(parseCrl(der, { ofShards: true }));
  }

  async #until(shard: number, holds: (crl: ParsedCrl) => boolean): Promise<ParsedCrl> {
    let crl: ParsedCrl | undefined;
    await until(async () => {
      crl = await this.#crl(shard).catch(() => undefined);
      return crl !== undefined && holds(crl);
    }, `the CRL of shard ${shard}`);
    return crl as ParsedCrl;
  }

  /** Looks at the bytes alone, and not often: both would take time of the server. */
  async #isListed(shard: number, serial: string): Promise<void> {
    const path = `/crl/${this.#authority.id}/${shard}.crl`;
    for (const endMs = performance.now() + patienceMs; performance.now() < endMs; ) {
      const answer = await fetch(`http://127.0.0.1:${this.#parts.httpPort}${path}`);
      if (Buffer.from(await answer.arrayBuffer()).includes(Buffer.from(serial, 'hex'))) return;
      await sleep(lookEveryMs);
    }
    throw new Error(`${serial} is on no CRL`);
  }

  /** How long each signature took that the server told of since the last time, by shard. */
  async #signed(): Promise<ReadonlyMap<number, readonly number[]>> {
    const text = await readFile(join(this.#parts.world.dir, 'server.log'), 'utf8');
    const times = new Map<number, number[]>();
    for (const line of text.slice(this.#logRead).split('\n')) {
      if (!line.includes('"signed a CRL"')) continue;
      const { shard, ms } = JSON.parse(line) as { readonly shard: number; readonly ms: number };
      times.set(shard, [...(times.get(shard) ?? []), ms]);
    }
    this.#logRead = text.length;
    return times;
  }
}
