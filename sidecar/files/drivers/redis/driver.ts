import { readFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { PkiError, fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { isAway, localAddress } from '../local-address.ts';
import { checkSocket } from '../program-check.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { said } from '../said.ts';
import { RedisConnection, RedisError } from './resp.ts';

const settings = z.strictObject({
  address: localAddress('Where Redis takes commands without TLS'),
  username: z.string().min(1).optional(),
  passwordFile: z
    .string()
    .startsWith('/')
    .optional()
    .describe('A file with the password on one line; the user needs the command CONFIG'),
});

type RedisSettings = z.infer<typeof settings>;

/**
 * CONFIG SET makes one new TLS context from the files of certificate, key and roots, and answers OK
 * only if all of it is good; else the old context stays (Redis 7). So OK says that the roots are
 * loaded as well, provided that tls-ca-cert-file is `ca` of `current`.
 */
export const redis = driverType({
  type: 'redis',
  proofSeconds: 4,
  settings,
  open: (given) => new RedisDriver(given),
});

class RedisDriver extends ReloadingDriver {
  readonly #settings: RedisSettings;

  constructor(given: RedisSettings) {
    super();
    this.#settings = given;
  }

  override async stage(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    const paths = pathsOf(call);
    const configured = await this.#ask(signal, async (connection) => {
      for (const [name, path] of [
        ['tls-cert-file', paths.certificate],
        ['tls-key-file', paths.key],
      ] as const) {
        const found = await parameter(connection, name);
        if (found !== path) throw otherFile(name, found, path);
      }
    });
    return configured.ok ? ok(undefined) : configured;
  }

  protected async reload(
    call: DriverCall,
    served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    if (served === undefined) return unknownTrust('there is no set to go back to');
    const { certificate, key, roots } = pathsOf(call);
    return this.#ask(signal, async (connection) => {
      const ours =
        roots !== undefined && (await parameter(connection, 'tls-ca-cert-file')) === roots;
      const files = ['tls-cert-file', certificate, 'tls-key-file', key];
      await connection.call(
        'CONFIG',
        'SET',
        ...files,
        ...(ours ? ['tls-ca-cert-file', roots] : []),
      );
      return { trust: ours ? 'loaded' : 'unknown', note: 'Redis took the files' };
    });
  }

  /** Without a server there is nothing to ask: `undefined` then stands for what it would answer. */
  async #ask(
    signal: AbortSignal,
    work: (connection: RedisConnection) => Promise<Applied | void>,
  ): Promise<Result<Applied>> {
    const { address, username, passwordFile } = this.#settings;
    try {
      if (passwordFile !== undefined && isAbsolute(address)) checkSocket(address);
      using connection = await RedisConnection.open(address, signal);
      if (passwordFile !== undefined) {
        const password = (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '');
        await connection.call('AUTH', ...(username === undefined ? [] : [username]), password);
      }
      return ok((await work(connection)) ?? { trust: 'unknown', note: '' });
    } catch (thrown) {
      signal.throwIfAborted();
      if (isAway(thrown)) return unknownTrust('Redis does not run');
      if (!(thrown instanceof RedisError)) throw thrown;
      const refused = /^ERR CONFIG SET failed.*TLS/.test(thrown.message);
      return fail(
        refused ? 'DRIVER_REFUSED' : 'DRIVER_FAILED',
        `Redis answered: ${said(thrown.message)}`,
      );
    }
  }
}

interface RedisPaths {
  readonly certificate: string;
  readonly key: string;
  readonly roots: string | undefined;
}

function pathsOf({ directory, files }: DriverCall): RedisPaths {
  const certificate = files['fullchain'] ?? files['cert'];
  const { key, ca } = files;
  if (certificate === undefined || key === undefined)
    throw new PkiError('DRIVER_FAILED', 'the layout of the target has no fullchain or no key', {
      next: 'Name the files fullchain and key in the layout of the target.',
    });
  const current = (name: string): string => join(directory, 'current', name);
  return {
    certificate: current(certificate),
    key: current(key),
    roots: ca === undefined ? undefined : current(ca),
  };
}

async function parameter(connection: RedisConnection, name: string): Promise<string> {
  const reply = await connection.call('CONFIG', 'GET', name);
  const value = Array.isArray(reply) ? (reply as readonly unknown[])[1] : undefined;
  return typeof value === 'string' ? value : '';
}

const otherFile = (name: string, found: string, path: string): PkiError =>
  new PkiError('DRIVER_FAILED', `${name} of Redis is ${JSON.stringify(found)}, not ${path}`, {
    next: `Write "${name} ${path}" in redis.conf: otherwise the next start of Redis has other files.`,
  });
