import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Act, AcmeClient, Binding, Seat } from './client.ts';
import type { AcmeWorld } from './world.ts';

/** What the table needs of the server beside ACME. */
export interface AcmeServer {
  readonly directory: string;
  /** An EAB key for names below `shop.example.org` and the address of this machine. */
  binding(): Promise<Binding>;
  /** One for names below `small.example.org`, whose tenant may have one certificate for each client. */
  smallBinding(): Promise<Binding>;
  isRevoked(serial: string): Promise<boolean>;
  /** As an operator does. */
  revoke(serial: string): Promise<void>;
}

export const operations = [
  'http-01',
  'dns-01, wildcard',
  'tls-alpn-01',
  'IP address',
  'key change',
  'revoke',
  'renew by ARI',
  'bad nonces',
  'quota',
] as const;
export type Operation = (typeof operations)[number];

/** `yes`; `no`, with the reason; `failed` is a fault of the server, or of this test. */
export interface Outcome {
  readonly client: string;
  readonly operation: Operation;
  readonly result: 'yes' | 'no' | 'failed';
  readonly why: string;
  readonly seconds: number;
}

/** Every client by itself, all at the same time; then with bad nonces, then against a quota. */
export async function playTable(
  clients: readonly AcmeClient[],
  world: AcmeWorld,
  { server, say }: { readonly server: AcmeServer; readonly say: (outcome: Outcome) => void },
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  const took = (outcome: Outcome): void => {
    outcomes.push(outcome);
    say(outcome);
  };
  const players = await Promise.all(
    clients.map(async (client, index) => {
      const seat = await seatOf(index, world, server);
      return new Player(client, seat, server, took);
    }),
  );
  await Promise.all(players.map((player) => player.playUsual()));
  world.gateway.badNonces = true;
  await Promise.all(players.map((player) => player.playBadNonces()));
  world.gateway.badNonces = false;
  await Promise.all(players.map((player) => player.takeLastPlace()));
  await Promise.all(players.map((player) => player.playQuota()));
  return outcomes;
}

const firstPort = 24_000;

async function seatOf(index: number, world: AcmeWorld, server: AcmeServer): Promise<Seat> {
  const dir = join(world.dir, `client-${index}`);
  mkdirSync(dir);
  const [port, otherPort] = [firstPort + 2 * index, firstPort + 2 * index + 1];
  const name = `c${index}.shop.example.org`;
  const small = [`c${index}-1.small.example.org`, `c${index}-2.small.example.org`];
  await world.host(name, `n-${name}`, ...small);
  world.httpBackends.add(port);
  world.tlsBackends.set(name, port);
  return {
    ...{ world, dir, name, port, otherPort, directory: server.directory },
    binding: await server.binding(),
  };
}

class Player {
  readonly #client: AcmeClient;
  readonly #seat: Seat;
  readonly #server: AcmeServer;
  readonly #took: (outcome: Outcome) => void;
  #small: Seat | undefined;

  constructor(
    client: AcmeClient,
    seat: Seat,
    server: AcmeServer,
    took: (outcome: Outcome) => void,
  ) {
    this.#client = client;
    this.#seat = seat;
    this.#server = server;
    this.#took = took;
  }

  async playUsual(): Promise<void> {
    const { issue, ip, changeKey } = this.#client;
    const { name, world } = this.#seat;
    await this.#issue('dns-01, wildcard', issue['dns-01'], `*.${name}`);
    await this.#issue('tls-alpn-01', issue['tls-alpn-01'], name);
    await this.#issue('IP address', ip, world.address);
    await this.#issue('http-01', issue['http-01'], name);
    await this.#try('key change', changeKey, (act) => act(this.#seat));
    await this.#revoke();
    await this.#renew();
  }

  playBadNonces(): Promise<void> {
    const { issue, failsOnBadNonces } = this.#client;
    if (failsOnBadNonces !== undefined) return this.#failsOnBadNonces(failsOnBadNonces);
    return this.#issue('bad nonces', issue['http-01'], `n-${this.#seat.name}`);
  }

  /** With the others it uses all of the quota of a tenant. */
  async takeLastPlace(): Promise<void> {
    const issue = this.#client.issue['http-01'];
    if (typeof issue === 'string') return;
    const dir = join(this.#seat.dir, 'small');
    mkdirSync(dir);
    this.#small = { ...this.#seat, dir, binding: await this.#server.smallBinding() };
    await issue(this.#small, `${this.#label}-1.small.example.org`);
  }

  playQuota(): Promise<void> {
    return this.#try('quota', this.#client.issue['http-01'], async (issue) => {
      const refused = await issue(
        this.#small ?? this.#seat,
        `${this.#label}-2.small.example.org`,
      ).then(
        () => 'it got one certificate more',
        (thrown: unknown) => String(thrown),
      );
      if (!/rate ?limited|quota|429/i.test(refused)) throw new Error(refused);
    });
  }

  get #label(): string {
    return this.#seat.name.replace(/\..*$/, '');
  }

  #issue(operation: Operation, act: Act<[string]>, identifier: string): Promise<void> {
    return this.#try(operation, act, async (issue) => {
      await issue(this.#seat, identifier);
      const names = this.#certificate(identifier).subjectAltName ?? '';
      if (!names.split(', ').some((each) => each.replace(/^[^:]*:/, '') === identifier))
        throw new Error(`the certificate has ${names} instead of ${identifier}`);
    });
  }

  #revoke(): Promise<void> {
    const { name } = this.#seat;
    return this.#try('revoke', this.#client.revoke, async (revoke) => {
      // some move the file away
      const { serialNumber } = this.#certificate(name);
      await revoke(this.#seat);
      if (!(await this.#server.isRevoked(serialNumber.toLowerCase())))
        throw new Error('the certificate is not revoked');
    });
  }

  /** A certificate that was revoked is to be renewed at once. */
  #renew(): Promise<void> {
    const { name } = this.#seat;
    return this.#try('renew by ARI', this.#client.renewByAri, async (renew) => {
      const { serialNumber } = this.#certificate(name);
      const serial = serialNumber.toLowerCase();
      if (!(await this.#server.isRevoked(serial))) await this.#server.revoke(serial);
      await renew(this.#seat);
      if (this.#certificate(name).serialNumber === serialNumber)
        throw new Error('it has the certificate of before');
    });
  }

  async #failsOnBadNonces(why: string): Promise<void> {
    const issue = this.#client.issue['http-01'];
    if (typeof issue === 'string') throw new Error(issue);
    const failed = await issue(this.#seat, `n-${this.#seat.name}`).then(
      () => false,
      () => true,
    );
    this.#took({
      ...{ client: this.#client.name, operation: 'bad nonces', seconds: 0 },
      ...(failed
        ? { result: 'no', why }
        : { result: 'failed', why: 'it was expected to fail, and did not' }),
    });
  }

  #certificate(identifier: string): X509Certificate {
    const file = this.#client.certificate(this.#seat, identifier);
    if (!existsSync(file)) throw new Error(`${file} is not there`);
    return new X509Certificate(readFileSync(file));
  }

  async #try<T extends readonly unknown[]>(
    operation: Operation,
    act: Act<T>,
    play: (act: Exclude<Act<T>, string>) => Promise<void>,
  ): Promise<void> {
    const { name: client } = this.#client;
    const began = performance.now();
    const end = (result: Outcome['result'], why: string): void => {
      const seconds = Math.round((performance.now() - began) / 100) / 10;
      this.#took({ client, operation, result, why, seconds });
    };
    if (typeof act === 'string') {
      end('no', act);
      return;
    }
    await play(act).then(
      () => end('yes', ''),
      (thrown: unknown) => end('failed', thrown instanceof Error ? thrown.message : String(thrown)),
    );
  }
}

/** The table of docs/acme-clients.md, and below it why not. */
export function tableText(outcomes: readonly Outcome[]): string {
  const clients = [...new Set(outcomes.map(({ client }) => client))].sort();
  const reasons: string[] = [];
  const cell = (client: string, operation: Operation): string => {
    const outcome = outcomes.find((each) => each.client === client && each.operation === operation);
    if (outcome === undefined) return 'not played';
    if (outcome.result !== 'no') return outcome.result;
    if (!reasons.includes(outcome.why)) reasons.push(outcome.why);
    return `no (${reasons.indexOf(outcome.why) + 1})`;
  };
  const rows = [
    ['client', ...operations],
    ['---', ...operations.map(() => '---')],
    ...clients.map((client) => [client, ...operations.map((operation) => cell(client, operation))]),
  ];
  return [
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
    ...reasons.map((reason, index) => `${index + 1}. ${reason}`),
    '',
  ].join('\n');
}
