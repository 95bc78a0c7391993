import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AcmeWorld } from './world.ts';

/** A key for external account binding. */
export interface Binding {
  readonly kid: string;
  /** Base64url. */
  readonly hmac: string;
}

export type Challenge = 'http-01' | 'dns-01' | 'tls-alpn-01';

/** The place of one client: its files, its names, and what it knows of the server. */
export interface Seat {
  readonly world: AcmeWorld;
  readonly directory: string;
  readonly binding: Binding;
  readonly dir: string;
  /** A name of its own, which leads to this machine. */
  readonly name: string;
  /** A port of 127.0.0.1 where it answers challenges. */
  readonly port: number;
  /** And one more. */
  readonly otherPort: number;
}

/** Absent: the client has no such function; the text says so. */
export type Act<T extends readonly unknown[] = []> =
  | ((seat: Seat, ...more: T) => Promise<void>)
  | string;

/** A client of ACME that others wrote, by what people do with it. */
export interface AcmeClient {
  readonly name: string;
  /** Where its newest certificate for this identifier (PEM, leaf first) lies. */
  certificate(seat: Seat, identifier: string): string;
  /** Issues a certificate for one identifier; the account is made at the first time. */
  readonly issue: Readonly<Record<Challenge, Act<[identifier: string]>>>;
  /** A certificate for an IP address by http-01. */
  readonly ip: Act<[address: string]>;
  /** Why it fails where one of three nonces is refused. Absent: it repeats the request. */
  readonly failsOnBadNonces?: string;
  /** Renews as it does by its timer: because ARI says so. */
  readonly renewByAri: Act;
  readonly revoke: Act;
  readonly changeKey: Act;
}

export class ClientFailed extends Error {
  override readonly name = 'ClientFailed';
}

/** Runs a program to its end; its output is in the failure. */
export function runClient(
  argv: readonly string[],
  seat: Seat,
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  mkdirSync(seat.dir, { recursive: true });
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      {
        cwd: seat.dir,
        timeout: 110_000,
        env: {
          PATH: process.env['PATH'] ?? '/usr/bin:/bin',
          HOME: seat.dir,
          LANG: 'C.UTF-8',
          ACME_CONTROL: seat.world.control,
          ACME_DIRECTORY: seat.directory,
          ACME_CA: seat.world.caFile,
          ACME_KID: seat.binding.kid,
          ACME_HMAC: seat.binding.hmac,
          ACME_TLS_LISTEN: `127.0.0.1:${seat.port}`,
          ...environment,
        },
      },
      (error, stdout, stderr) => {
        const output = `${stdout}${stderr}`;
        if (error === null) resolve(output);
        else reject(new ClientFailed(`${argv.join(' ')}\n${output.slice(-3000)}`));
      },
    );
  });
}

export const inSeat = (seat: Seat, ...path: readonly string[]): string => join(seat.dir, ...path);
