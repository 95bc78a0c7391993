import { execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, cpSync, existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { freePort } from '../ports.ts';
import { debianProgram, unpackedServers } from './debian-programs.ts';
import { Guide } from './guide.ts';
import {
  serverFolder,
  startServer,
  type DriverSettings,
  type RunningServer,
} from './server-process.ts';
import type { ServedDirectory } from './served-directory.ts';

const nobody = 65_534;
/** The user of the server, to whom keys have to belong; PostgreSQL refuses to run as root. */
export const postgresUser = process.getuid?.() === 0 ? nobody : undefined;

const prefix: readonly string[] =
  postgresUser === undefined
    ? []
    : ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--'];

export interface RunningPostgres extends RunningServer {
  /** For the driver by SQL. */
  readonly sql: DriverSettings;
}

/** PostgreSQL with TLS, which asks clients for a certificate under `ca`. */
export async function startPostgres(target: ServedDirectory): Promise<RunningPostgres> {
  const folder = serverFolder('postgres');
  if (postgresUser !== undefined) chownSync(folder, postgresUser, postgresUser);
  const port = await freePort();
  const { programs, environment } = readableBy(postgresUser, folder);
  const data = join(folder, 'data');
  const initdb = [...prefix, join(programs, 'initdb'), '-D', data, '-U', 'postgres'];
  execFileSync(
    initdb[0] as string,
    [...initdb.slice(1), '-A', 'trust', '-N', '--locale=C', '-E', 'UTF8'],
    { cwd: '/', env: environment, stdio: 'pipe' },
  );
  const guide = new Guide('PostgreSQL');
  appendFileSync(
    join(data, 'postgresql.conf'),
    `listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '${folder}'
fsync = off
jit = off
shared_buffers = 16MB
${guide.config('postgresql', target, {})}`,
  );
  const server = await startServer({
    ...{ name: 'postgresql', port, protocol: 'postgresql', environment, folder, target },
    argv: [...prefix, join(programs, 'postgres'), '-D', data],
    endSignal: 'SIGINT',
    // a StartupMessage without parameters
    greeting: Buffer.from('000000090003000000', 'hex'),
    driver: guide.driver({
      '/var/lib/postgresql/15/main': data,
      '/usr/lib/postgresql/15/bin/postgres': join(programs, 'postgres'),
    }),
  });
  const sql = guide.driver(
    {
      '/usr/lib/postgresql/15/bin/psql': join(dirname(debianProgram('postgres').path), 'psql'),
      '/var/run/postgresql': folder,
      '5432': `${port}`,
      'user: meshca': 'user: postgres',
    },
    1,
  );
  return { ...server, sql };
}

/**
 * The folder with the programs. What is unpacked below the home of root is copied, since the user of
 * the server may not enter there.
 */
function readableBy(
  user: number | undefined,
  folder: string,
): { readonly programs: string; readonly environment: NodeJS.ProcessEnv } {
  const { path, executable } = debianProgram('postgres');
  if (path === executable) return { programs: dirname(path), environment: process.env };
  const programs = dirname(executable);
  const place = user === undefined ? unpackedServers : join(folder, 'programs');
  if (user !== undefined)
    for (const part of ['usr/lib', 'lib', 'usr/share/postgresql'])
      if (existsSync(join(unpackedServers, part)))
        cpSync(join(unpackedServers, part), join(place, part), {
          recursive: true,
          verbatimSymlinks: true,
          filter: (source) => !/\/bitcode$|llvm|perl/i.test(source),
        });
  const libraries = ['usr/lib', 'lib']
    .map((part) => join(place, part))
    .filter(existsSync)
    .flatMap((part) =>
      readdirSync(part)
        .filter((name) => name.endsWith('-linux-gnu'))
        .map((name) => join(part, name)),
    );
  return {
    programs: programs.replace(unpackedServers, place),
    environment: { ...process.env, LD_LIBRARY_PATH: libraries.join(':') },
  };
}
