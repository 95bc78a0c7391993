import { join } from 'node:path';
import { z } from 'zod';
import { fail, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { saidBy } from '../program-end.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { runProgram } from '../run-program.ts';
import { executableKey, signalNamed } from '../signal/driver.ts';

const settings = z.union([
  z.strictObject({
    dataDirectory: z
      .string()
      .startsWith('/')
      .describe('The data directory, which holds postmaster.pid'),
    executable: executableKey,
  }),
  z.strictObject({
    psql: z.string().startsWith('/').describe('The program psql itself, not a script before it'),
    socketDirectory: z.string().startsWith('/').default('/var/run/postgresql'),
    port: z.number().int().min(1).max(65_535).default(5432),
    user: z.string().min(1).max(63),
    database: z.string().min(1).max(63).default('postgres'),
  }),
]);

type PostgresSettings = z.infer<typeof settings>;

/** The only SQL that is sent. */
const reloadSql = 'SELECT pg_catalog.pg_reload_conf()';
/** Of psql: there is no connection. */
const noConnection = 2;

/**
 * PostgreSQL reads its configuration and files at SIGHUP and tells nobody what came of it: it answers
 * t to pg_reload_conf() also when it keeps the old files. So nothing is known of its trust here, and
 * only handshakes prove its certificate; with ssl_ca_file it names its roots in them.
 */
export const postgresql = driverType({
  type: 'postgresql',
  proofSeconds: 4,
  settings,
  open: (given, { clock }) => new PostgresDriver(given, clock),
});

class PostgresDriver extends ReloadingDriver {
  readonly #settings: PostgresSettings;
  readonly #clock: Clock;

  constructor(given: PostgresSettings, clock: Clock) {
    super();
    this.#settings = given;
    this.#clock = clock;
  }

  protected async reload(
    _call: DriverCall,
    _served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const given = this.#settings;
    if ('dataDirectory' in given) {
      const path = join(given.dataDirectory, 'postmaster.pid');
      return unknownTrust(
        signalNamed({ path, executable: given.executable }, 'SIGHUP', this.#clock),
      );
    }
    const { psql, socketDirectory, port, user, database } = given;
    const end = await runProgram(
      {
        argv: [
          ...[psql, '--no-psqlrc', '--no-password', '--quiet', '--no-align', '--tuples-only'],
          ...[`--host=${socketDirectory}`, `--port=${port}`, `--username=${user}`],
          ...[`--dbname=${database}`, `--command=${reloadSql}`],
        ],
        input: '',
        environment: {},
      },
      this.#clock,
      signal,
    );
    if (end.exitCode === 0 && end.stdout.trim() === 't')
      return unknownTrust('pg_reload_conf() was called');
    if (end.exitCode === noConnection && /No such file|Connection refused/.test(end.stderr))
      return unknownTrust('PostgreSQL does not run');
    return fail('DRIVER_FAILED', `psql could not call pg_reload_conf(): ${saidBy(end)}`, {
      next: 'Let the user of the agent connect over the Unix socket (pg_hba.conf: peer), and grant it EXECUTE on pg_reload_conf().',
    });
  }
}
