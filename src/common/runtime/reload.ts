import { unwrap, type Result } from '../errors/index.ts';
import { changedKeys } from './changed-keys.ts';
import { errorFields } from './error-fields.ts';
import { mostVerbose, type LevelledLogger, type LogLevel } from './logger.ts';

/**
 * The requests of a process edge (SIGHUP) to read the configuration again. They are served one
 * after another. Requests that come before `serve` or during a reload are served once, afterwards.
 * Owner of that state: the process edge.
 */
export class ReloadRequests {
  #reload: (() => Promise<void>) | undefined;
  #waiting = false;
  #running: Promise<void> | undefined;

  request(): void {
    this.#waiting = true;
    this.#run();
  }

  /** From now on `reload`, which does not throw, serves the requests. Closing waits for its end. */
  serve(reload: () => Promise<void>): AsyncDisposable {
    this.#reload = reload;
    this.#run();
    return {
      [Symbol.asyncDispose]: async () => {
        this.#reload = undefined;
        await this.#running;
      },
    };
  }

  #run(): void {
    if (!this.#waiting || this.#reload === undefined || this.#running !== undefined) return;
    this.#waiting = false;
    this.#running = this.#reload().finally(() => {
      this.#running = undefined;
      this.#run();
    });
  }
}

interface WithLevel {
  readonly log: { readonly level: LogLevel };
}

export interface ReloadDependencies<Config extends WithLevel> {
  /** The configuration of the start. */
  readonly started: Config;
  readonly load: () => Promise<Result<Config>>;
  /** Keys that count from a reload on. A change of any other key counts after a restart. */
  readonly reloadedKeys: readonly string[];
  /** Uses everything else that was loaded. If it throws, it has changed nothing. */
  readonly apply: () => Promise<void>;
  readonly logger: LevelledLogger;
}

/** Reads the configuration again. A configuration with a fault changes nothing, and is logged. */
export async function reloadConfig<Config extends WithLevel>({
  started,
  load,
  reloadedKeys,
  apply,
  logger,
}: ReloadDependencies<Config>): Promise<void> {
  try {
    const config = unwrap(await load());
    await apply();
    const { level } = config.log;
    const afterRestart = changedKeys(started, config, reloadedKeys);
    logger.setLevel(mostVerbose(logger.level(), level));
    logger.info({ logLevel: level }, 'the configuration was read again');
    if (afterRestart.length > 0)
      logger.warn({ keys: afterRestart }, 'these keys were changed, and count after a restart');
    logger.setLevel(level);
  } catch (thrown) {
    logger.error(
      { ...errorFields(thrown) },
      'the configuration was not taken over: everything stays as it was',
    );
  }
}
