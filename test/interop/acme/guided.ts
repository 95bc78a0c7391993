import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { until } from '../../support/until.ts';
import type { Lab } from './lab.ts';
import type { Machine, RunningProgram } from './network.ts';
import { PageSection, type Places } from './page.ts';

/** Who follows the guide of one client, on a machine of its own. */
export class Guided {
  readonly lab: Lab;
  readonly machine: Machine;
  /** In the place of `www.shop.example.org`. */
  readonly name: string;
  readonly section: PageSection;
  readonly #places: Places;
  readonly #roots: string;

  private constructor(
    parts: Pick<Guided, 'lab' | 'machine' | 'name' | 'section'>,
    places: Places,
    roots: string,
  ) {
    this.lab = parts.lab;
    this.machine = parts.machine;
    this.name = parts.name;
    this.section = parts.section;
    this.#places = places;
    this.#roots = roots;
  }

  static async open(lab: Lab, title: string): Promise<Guided> {
    const label = title.toLowerCase().replaceAll(/[^a-z]/g, '');
    const name = `${label}.shop.example.org`;
    const machine = await lab.machine(name, `other.${name}`);
    const { kid, hmac } = await lab.bind();
    const places = {
      'www.shop.example.org': name,
      '*.shop.example.org': `*.${name}`,
      '10.1.2.53': lab.names.primary.address,
      KID: kid,
      HMAC: hmac,
      SECRET: lab.names.key.secret,
      // a timer is to wait for up to eight minutes, a test is not
      '--days 10': '--days 10 --no-random-sleep',
    };
    const answer = await fetch(`http://127.0.0.1:${lab.gateway.upstream}/names/roots.pem`);
    const roots = await answer.text();
    await machine.write('/etc/meshca/names.pem', roots);
    const section = new PageSection(title, places);
    await section.writeFiles(machine);
    return new Guided({ lab, machine, name, section }, places, roots);
  }

  /** Another section of the page, for the same machine. */
  async also(title: string): Promise<void> {
    await new PageSection(title, this.#places).writeFiles(this.machine);
  }

  /** Runs the block of commands with this number. */
  async follow(index: number): Promise<string> {
    return this.machine.must(this.section.commands(index));
  }

  /** The certificate in a file: of a chain to the roots of names, for this name. */
  async certificateAt(file: string, name: string = this.name): Promise<X509Certificate> {
    const text = await this.machine.must(`cat '${file}'`);
    await this.machine.must(
      `openssl verify -CAfile /etc/meshca/names.pem -untrusted '${file}' '${file}'`,
    );
    const certificate = new X509Certificate(text);
    if (certificate.subjectAltName !== `DNS:${name}`)
      throw new Error(`${file} is for ${certificate.subjectAltName}, not for ${name}`);
    return certificate;
  }

  /** Waits until a server of this machine shows a certificate that is good for this name. */
  async serves(name: string, server: RunningProgram): Promise<string> {
    let serial: string | undefined;
    let why: unknown;
    const { address } = this.machine;
    await until(async () => {
      if (server.hasEnded()) throw new Error(`it ended: ${server.output()}`);
      const shown = shownAt(address, name, this.#roots);
      serial = await shown.catch((thrown: unknown) => void (why = thrown));
      return serial !== undefined;
    }, `${name} is served`).catch((thrown: unknown) => {
      throw new Error(`${String(thrown)}: ${String(why)}\n${server.output().slice(-4000)}`);
    });
    return serial ?? '';
  }
}

const shownAt = (host: string, servername: string, ca: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port: 443, servername, ca }, () => {
      const serial = socket.getPeerX509Certificate()?.serialNumber ?? '';
      socket.destroy();
      resolve(serial);
    });
    socket.once('error', reject);
  });
