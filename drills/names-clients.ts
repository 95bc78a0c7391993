import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { KeyObject } from 'node:crypto';
import { certificatesToPem, sha256Hex } from '../src/common/x509/index.ts';

/** A server with a certificate for one name. */
export interface NamesEndpoint {
  readonly name: string;
  readonly chainDer: readonly Buffer[];
  readonly privateKey: KeyObject;
  readonly issuedAt: number;
  readonly notAfter: number;
}

/** A relying party. It trusts what it read last, and reads once a day, or never again. */
export interface RelyingParty {
  rootsPem: string;
  /** The second of the day at which it reads. Undefined: it does not. */
  readonly readsAt: number | undefined;
}

/** Verifies chains as relying parties do, with OpenSSL at the time of a moved clock. */
export class NamesVerifier {
  readonly #dir: string;
  readonly #verdicts = new Map<string, Promise<string | undefined>>();
  #files = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** How many verifications OpenSSL made. */
  get made(): number {
    return this.#verdicts.size;
  }

  /**
   * Why this party refuses the endpoint; undefined: it connects. Equal questions of the same slot of
   * time are asked once.
   */
  refusal(
    { rootsPem }: RelyingParty,
    endpoint: NamesEndpoint,
    { at, slot }: { readonly at: number; readonly slot: number },
  ): Promise<string | undefined> {
    const chain = certificatesToPem(endpoint.chainDer);
    const key = sha256Hex(Buffer.from(`${rootsPem} ${chain} ${endpoint.name} ${slot}`));
    let verdict = this.#verdicts.get(key);
    if (verdict === undefined)
      this.#verdicts.set(key, (verdict = this.#verify(rootsPem, endpoint, at)));
    return verdict;
  }

  async #verify(
    rootsPem: string,
    { name, chainDer }: NamesEndpoint,
    at: number,
  ): Promise<string | undefined> {
    const [roots, chain, leaf] = await Promise.all([
      this.#file(rootsPem),
      this.#file(certificatesToPem(chainDer.slice(1))),
      this.#file(certificatesToPem(chainDer.slice(0, 1))),
    ]);
    const args = ['verify', '-x509_strict', '-attime', String(at), '-purpose', 'sslserver'];
    args.push('-verify_hostname', name, '-no-CAstore', '-no-CApath', '-CAfile', roots);
    return new Promise((resolve) => {
      execFile('openssl', [...args, '-untrusted', chain, leaf], (error, _out, text) =>
        // without the line that names a file of this run
        resolve(error === null ? undefined : (/^error \d+ .*$/m.exec(text)?.[0] ?? 'refused')),
      );
    });
  }

  async #file(pem: string): Promise<string> {
    const path = join(this.#dir, `${(this.#files += 1)}.pem`);
    await writeFile(path, pem);
    return path;
  }
}

/**
 * A real handshake of each party with this endpoint, at the real time: TLS by Node, which verifies
 * chain and name. Resolves with how many were refused.
 */
export async function refusedHandshakes(
  parties: readonly RelyingParty[],
  { name, chainDer, privateKey }: NamesEndpoint,
): Promise<number> {
  const server = createServer({
    cert: certificatesToPem(chainDer),
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }),
  });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => {});
    socket.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  const connects = ({ rootsPem }: RelyingParty): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port, servername: name, ca: rootsPem });
      socket.once('secureConnect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
  let refused = 0;
  for (const party of parties) if (!(await connects(party))) refused += 1;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return refused;
}
