import { rename, rm, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { until } from '../test/support/until.ts';
import { createAcmeServer, type AcmeServerWorld } from './acme/acme-server.ts';
import { AcmeClient, AcmeProblem } from './acme/client.ts';
import { OrderRecord } from './acme/order-record.ts';
import { again, obtainPatiently } from './acme/patient-client.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';
import type { ServerProcess } from './server-child.ts';

/** Steps of issuing between whose commits a server may die. */
const issuingSteps = ['prepared', 'intents-durable', 'signed', 'recorded'] as const;
/** An order takes fewer commits than this, those of the log included. */
const mostCommits = 40;

/** Kills the server at every arrow of an order, takes the token away, and fills the disk. */
export const acmeCrash: Drill = {
  name: 'acme-crash',
  promise:
    'an ACME order ends right, and is issued once, whenever the server dies, the token is away or the disk is full',
  options: ['--rounds N    over all arrows (default 5, 1 with --short)'],
  async run(context) {
    const breaches = new Breaches();
    const started = performance.now();
    await using played = await createPlay(context, breaches);
    const rounds = Number(context.options['rounds'] ?? (context.short ? 1 : 5));
    const kills: Record<string, number> = {};
    for (let turn = 0; turn < rounds; turn += 1) {
      for (let after = 1; after <= mostCommits; after += 1) {
        const reached = await played.kill('commit-durable', after);
        if (reached === undefined) break;
        kills[reached] = (kills[reached] ?? 0) + 1;
      }
      for (const step of issuingSteps) {
        const reached = await played.kill(step, 1);
        breaches.expect(reached !== undefined, `the server never reached ${step}`);
        if (reached !== undefined) kills[`${step}: ${reached}`] = 1;
      }
      context.say(`kills: ${JSON.stringify(kills)}`);
    }
    await played.withoutToken();
    await played.withFullDisk();
    return {
      figures: {
        seconds: round((performance.now() - started) / 1000, 1),
        kills,
        ...played.figures(),
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

async function createPlay(context: DrillContext, breaches: Breaches): Promise<Play> {
  const acme = await createAcmeServer({ signal: context.signal });
  const play = new Play(acme, context, breaches);
  await play.begin();
  return play;
}

/** Owner of the server process, and of what its client received. */
class Play implements AsyncDisposable {
  readonly #acme: AcmeServerWorld;
  readonly #context: DrillContext;
  readonly #breaches: Breaches;
  readonly #record: OrderRecord;
  readonly #received = new Set<string>();
  readonly #client: AcmeClient;
  #server!: ServerProcess;
  #issued = 0;

  constructor(acme: AcmeServerWorld, context: DrillContext, breaches: Breaches) {
    this.#acme = acme;
    this.#context = context;
    this.#breaches = breaches;
    this.#record = new OrderRecord(acme.world.databasePath);
    this.#client = new AcmeClient(acme.transport);
    const { dataDir } = acme.world;
    // of its own, so that it can be filled
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m,mode=700', 'tmpfs', dataDir]);
  }

  async begin(): Promise<void> {
    this.#server = await this.#acme.start();
    await this.#acme.createTenant('shop');
    await this.#client.createAccount(await this.#acme.createEabKey('shop'));
  }

  figures(): Readonly<Record<string, unknown>> {
    return { issued: this.#issued, received: this.#received.size };
  }

  /**
   * Kills the server when it has reached the step for the nth time during an order. Returns how far
   * the order was; undefined: it ended before.
   */
  async kill(step: string, nth: number): Promise<string | undefined> {
    this.#context.signal.throwIfAborted();
    const server = this.#server;
    server.arm({ step, after: nth, victim: 'server' });
    const obtained = this.#obtain();
    const killed = await Promise.race([server.exited.then(() => true), obtained.then(() => false)]);
    let reached: string | undefined;
    if (killed) {
      this.#breaches.expect(await server.childrenGone(), 'a signer outlived its server');
      reached = this.#record.reached();
      this.#server = await this.#acme.start();
    } else {
      // what is armed would end the next order
      await server.kill();
      this.#server = await this.#acme.start();
    }
    await obtained;
    await this.#settled();
    return reached;
  }

  /** An order that is finalized while the token is away waits, and is issued when it is back. */
  async withoutToken(): Promise<void> {
    const { tokenDir } = this.#acme.world.tokens;
    await rename(tokenDir, `${tokenDir}.away`);
    const obtained = this.#obtain();
    try {
      await until(() => this.#record.finalizing() === 1, 'an order waits for the token');
    } finally {
      await rename(`${tokenDir}.away`, tokenDir);
    }
    await obtained;
    await this.#settled();
  }

  /** An order that can not be written is not made, and its client is told to come again. */
  async withFullDisk(): Promise<void> {
    const { transport, world, address } = this.#acme;
    const probe = new AcmeClient(transport);
    await probe.createAccount(await this.#acme.createEabKey('shop'));
    const before = this.#record.orders();
    const filler = join(world.dataDir, 'filler');
    // more than there is room for
    await writeFile(filler, Buffer.alloc(256 * 1024 * 1024)).catch(() => {});
    const obtained = this.#obtain();
    try {
      const answer = await probe.createOrder([address]).then(
        ({ url }) => `the order ${url}`,
        (thrown: unknown) => thrown,
      );
      this.#breaches.expect(
        answer instanceof AcmeProblem && answer.status >= 500,
        `a client was answered ${String(answer)} while the disk was full`,
      );
      this.#breaches.expect(
        this.#record.orders() === before,
        'an order was made while the disk was full',
      );
    } finally {
      await rm(filler, { force: true });
    }
    await obtained;
    await this.#settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.kill();
    execFileSync('umount', ['-l', this.#acme.world.dataDir]);
    await this.#acme[Symbol.asyncDispose]();
  }

  async #obtain(): Promise<string> {
    const { responder, address } = this.#acme;
    const serial = await obtainPatiently(this.#client, { identifiers: [address], responder });
    this.#breaches.expect(!this.#received.has(serial), 'two orders led to one certificate');
    this.#received.add(serial);
    return serial;
  }

  /** Every order that was under way has ended, also those whose client has gone. */
  async #settled(): Promise<void> {
    await until(() => this.#record.finalizing() === 0, 'no order is under way');
    await again(() => this.#acme.transport.directory());
    this.#issued = this.#record.check(this.#received, this.#breaches);
  }
}
