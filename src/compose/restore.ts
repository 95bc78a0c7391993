import { PkiError, unwrap } from '../common/errors/index.ts';
import { silentLogger, systemClock } from '../common/runtime/index.ts';
import { databasePath, loadServerConfig } from '../config/index.ts';
import { openLedger } from '../ledger/index.ts';
import { openSqliteStore, readReplaced, replaceDatabase, type LostRecord } from '../store/index.ts';
import { checkLog } from './log.ts';

interface Where {
  readonly configPath: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const configOf = async ({ configPath, env }: Where) =>
  unwrap(await loadServerConfig({ path: configPath ?? env['MESHCA_SERVER_CONFIG'], env }));

/**
 * Puts a backup in the place of the database, with the server stopped. The next start notices if
 * the backup is older than what was signed.
 */
export async function restoreDatabase(
  options: Where & { readonly from: string; readonly pid: number },
): Promise<{ readonly path: string; readonly replaced: string | undefined }> {
  const path = databasePath(await configOf(options));
  return {
    path,
    ...replaceDatabase({ path, from: options.from, pid: options.pid, now: systemClock.now() }),
  };
}

/**
 * The difference that an operator must review: the number of lost records, and their acts, as far
 * as the replaced database still tells.
 */
export async function lostWith(options: Where): Promise<{
  readonly stale: boolean;
  readonly size: number;
  readonly expected: number;
  readonly proven: boolean;
  readonly lost: readonly LostRecord[];
}> {
  const config = await configOf(options);
  const path = databasePath(config);
  const [clock, logger] = [systemClock, silentLogger];
  const store = await openLedger({
    engine: (memory) => openSqliteStore({ path, clock, logger, pid: 0, memory }),
    clock,
    logger,
  });
  try {
    const checked = await checkLog(config, store);
    if (checked === undefined) throw new PkiError('NOT_FOUND', 'the database has no log');
    const { size, newer } = checked;
    if (newer === undefined) return { stale: false, size, expected: size, proven: false, lost: [] };
    const replaced = readReplaced(`${path}.replaced`, path, newer);
    return {
      stale: true,
      size,
      expected: newer.size,
      proven: replaced?.proven ?? false,
      lost: replaced?.lost ?? [],
    };
  } finally {
    await store.close();
  }
}
