import { randomBytes } from 'node:crypto';
import { until } from '../../support/until.ts';
import type { Machine, Network } from './network.ts';

/** The key with which clients change TXT records, as they are told of it. */
export interface UpdateKey {
  readonly name: string;
  readonly algorithm: 'hmac-sha256';
  /** Base64. */
  readonly secret: string;
}

const keyOf = (name: string): UpdateKey => ({
  name,
  algorithm: 'hmac-sha256',
  secret: randomBytes(32).toString('base64'),
});

/**
 * Two name servers (Knot DNS) of the zone `example.org`: the first takes changes by RFC 2136, and the
 * second one gets them by NOTIFY and IXFR. Both know `org` too, so that they serve as resolvers.
 */
export class NameServers {
  readonly primary: Machine;
  readonly secondary: Machine;
  /** Changes TXT records only. */
  readonly key = keyOf('acme');
  /** Changes every record. */
  readonly #owner = keyOf('owner');

  private constructor(primary: Machine, secondary: Machine) {
    this.primary = primary;
    this.secondary = secondary;
  }

  static async open(network: Network, records: readonly string[]): Promise<NameServers> {
    const servers = new NameServers(await network.add(), await network.add());
    const [first, second] = [servers.primary.address, servers.secondary.address];
    const zone = [
      'example.org. 60 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 0',
      'example.org. 60 NS ns1.example.org.',
      'example.org. 60 NS ns2.example.org.',
      `ns1.example.org. 60 A ${first}`,
      `ns2.example.org. 60 A ${second}`,
      ...records,
      '',
    ].join('\n');
    const above = 'org. 60 SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 0\n';
    await servers.primary.write('/var/lib/knot/example.org.zone', zone);
    await servers.#start(
      servers.primary,
      [
        ...['acl:', '  - id: owner', `    key: ${servers.#owner.name}`, '    action: update'],
        ...['  - id: acme', `    key: ${servers.key.name}`, '    action: update'],
        ...['    update-type: TXT', '  - id: transfer', `    address: ${second}`],
        ...['    action: transfer', 'remote:', '  - id: secondary', `    address: ${second}`],
        ...['zone:', '  - domain: org', '  - domain: example.org'],
        ...['    notify: secondary', '    acl: [owner, acme, transfer]'],
      ],
      above,
    );
    await servers.#start(
      servers.secondary,
      [
        ...['acl:', '  - id: notified', `    address: ${first}`, '    action: notify'],
        ...['remote:', '  - id: primary', `    address: ${first}`],
        ...['zone:', '  - domain: org', '  - domain: example.org'],
        ...['    master: primary', '    acl: notified'],
      ],
      above,
    );
    await servers.settled();
    return servers;
  }

  get addresses(): readonly string[] {
    return [this.primary.address, this.secondary.address];
  }

  /** The file of the key, as `knsupdate -k` reads it. */
  get keyFile(): string {
    return textOf(this.key);
  }

  /** Adds records to the zone, each as `NAME TYPE DATA`, at both servers. */
  async add(...records: readonly string[]): Promise<void> {
    await this.#change(
      this.#owner,
      records.map((record) => `update add ${record.replace(' ', ' 60 ')}`),
    );
    await this.settled();
  }

  /** Adds a TXT record as the hooks of clients do, at the first server. */
  addText(name: string, text: string): Promise<void> {
    return this.#change(this.key, [`update add ${name}. 60 TXT "${text}"`]);
  }

  async #change(key: UpdateKey, changes: readonly string[]): Promise<void> {
    const lines = [`server ${this.primary.address}`, 'zone example.org.', ...changes, 'send', ''];
    await this.primary.must('printf %s "$LINES" | knsupdate -y "$KEY"', {
      LINES: lines.join('\n'),
      KEY: textOf(key).trim(),
    });
  }

  /** Waits until both have the same version of the zone. */
  async settled(): Promise<void> {
    await until(async () => {
      const [first, second] = await Promise.all([
        this.#serialAt(this.primary),
        this.#serialAt(this.secondary),
      ]);
      return first !== '' && first === second;
    }, 'both name servers have the same zone');
  }

  async #serialAt(machine: Machine): Promise<string> {
    const { output } = await machine.run(
      `kdig +short +timeout=1 @${machine.address} example.org SOA`,
    );
    return output.split(' ')[2] ?? '';
  }

  /** The secondary stands still: it takes no change of the zone until it is let go. */
  async hold(): Promise<void> {
    await this.secondary.must(`knotc -c ${config} -b zone-freeze example.org`);
  }

  async letGo(): Promise<void> {
    await this.secondary.must(`knotc -c ${config} -b zone-thaw example.org`);
    await this.secondary.must(`knotc -c ${config} zone-refresh example.org`);
  }

  /** How many queries for TXT records the secondary has answered. */
  async textQueries(): Promise<number> {
    const { output } = await this.secondary.run(`knotc -c ${config} stats mod-stats.query-type`);
    return Number(/query-type\[TXT\] = (\d+)/.exec(output)?.[1] ?? 0);
  }

  async #start(machine: Machine, lines: readonly string[], above: string): Promise<void> {
    const keys = [this.key, this.#owner].flatMap(({ name, algorithm, secret }) => [
      ...[`  - id: ${name}`, `    algorithm: ${algorithm}`, `    secret: ${secret}`],
    ]);
    const text = [
      ...['server:', '  rundir: /var/lib/knot/run', `  listen: ${machine.address}@53`],
      ...['log:', '  - target: stderr', '    any: info'],
      ...['database:', '  storage: /var/lib/knot/db', 'key:', ...keys],
      ...['mod-stats:', '  - id: types', '    query-type: on'],
      ...['template:', '  - id: default', '    storage: /var/lib/knot'],
      ...['    global-module: mod-stats/types', ...lines, ''],
    ].join('\n');
    await machine.write(config, text);
    await machine.write('/var/lib/knot/org.zone', above);
    await machine.must('mkdir -p /var/lib/knot/run /var/lib/knot/db');
    const knot = machine.start(`exec knotd -c ${config}`);
    await until(async () => {
      if (knot.hasEnded()) throw new Error(`knotd ended: ${knot.output()}`);
      return (await this.#soaOf(machine, 'org')) !== '';
    }, 'a name server answers');
  }

  async #soaOf(machine: Machine, zone: string): Promise<string> {
    const { output } = await machine.run(`kdig +short +timeout=1 @${machine.address} ${zone} SOA`);
    return output.trim();
  }
}

const config = '/var/lib/knot/knot.conf';

const textOf = ({ algorithm, name, secret }: UpdateKey): string =>
  `${algorithm}:${name}:${secret}\n`;
