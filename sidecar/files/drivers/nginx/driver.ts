import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { driverType } from '../driver-type.ts';
import { namedProcess } from '../pid-file.ts';
import { checkConfiguration } from '../program-check.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { runProgram, type ProgramEnd } from '../run-program.ts';
import { said } from '../said.ts';
import { stapleKey } from '../staple.ts';
import { reloadWorkers } from '../workers.ts';

const settings = z.strictObject({
  program: z.string().startsWith('/').default('/usr/sbin/nginx'),
  executable: z
    .string()
    .startsWith('/')
    .optional()
    .describe('What runs as the master, if program only starts it; another gets no signal'),
  pidFile: z.string().startsWith('/').default('/run/nginx.pid'),
  configFile: z.string().startsWith('/').default('/etc/nginx/nginx.conf'),
  staple: stapleKey,
});

type NginxSettings = z.infer<typeof settings>;

/** The configuration is printed whole, with all that it includes. */
const maximumConfig = 8 * 1024 * 1024;

/**
 * nginx says nothing to SIGHUP. So `nginx -T` judges the configuration with the new set first, and
 * the reload counts when the master has new workers and all old ones are shutting down: a reload that
 * the master refuses starts none. A reload loads certificate, key and roots together; so the roots
 * are loaded as well, provided that the configuration names `ca` of `current`.
 */
export const nginx = driverType({
  type: 'nginx',
  proofSeconds: 4,
  // nginx reads ssl_stapling_file at its reload
  staple: 'before',
  settings,
  open: (given, { clock }) => new NginxDriver(given, clock),
});

class NginxDriver extends ReloadingDriver {
  readonly #settings: NginxSettings;
  readonly #clock: Clock;

  constructor(given: NginxSettings, clock: Clock) {
    super();
    this.#settings = given;
    this.#clock = clock;
  }

  protected async reload(
    call: DriverCall,
    _served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    const { pidFile, program, executable = program } = this.#settings;
    using master = namedProcess({ path: pidFile, executable }, this.#clock);
    if (master === undefined) return unknownTrust('nginx does not run');
    const test = await this.#test(signal);
    if (test.exitCode !== 0)
      return fail('DRIVER_REFUSED', `nginx -T refused the files: ${said(test.stderr)}`);
    const reload = { signalName: 'SIGHUP', isLeaving: isShuttingDown } as const;
    const came = await reloadWorkers(master, reload, this.#clock, signal);
    if (came === 'ended') return unknownTrust('nginx has ended');
    if (came === 'untold')
      return unknownTrust('SIGHUP was sent; this kernel does not tell the workers of nginx');
    return ok({
      trust: namesRoots(test.stdout, call) ? 'loaded' : 'unknown',
      note: 'nginx has new workers',
    });
  }

  #test(signal: AbortSignal): Promise<ProgramEnd> {
    const { program, configFile } = this.#settings;
    checkConfiguration(configFile);
    return runProgram(
      {
        argv: [program, '-T', '-q', '-c', configFile],
        input: '',
        environment: {},
        maximumOutput: maximumConfig,
      },
      this.#clock,
      signal,
    );
  }
}

/** A worker that serves its open connections only says so in its title. */
function isShuttingDown(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('is shutting down');
  } catch {
    return true;
  }
}

function namesRoots(config: string, { directory, files }: DriverCall): boolean {
  const { ca } = files;
  if (ca === undefined) return false;
  const path = join(directory, 'current', ca);
  const directive =
    /^\s*(?:ssl_client|ssl_trusted|proxy_ssl_trusted)_certificate\s+["']?([^"';]+)["']?;/gm;
  return [...config.matchAll(directive)].some((match) => match[1] === path);
}
