import { Witness, type AuditLog } from '../audit/index.ts';
import { unwrap } from '../common/errors/index.ts';
import { parseVerifierKey } from '../common/tlog/index.ts';
import type { StoredCheckpoint } from '../store/ports/index.ts';
import type { Ledger } from '../ledger/index.ts';
import type { ServerContext } from './context.ts';
import type { SigningGate } from './signing-gate.ts';

/**
 * Starts to submit checkpoints to the configured witnesses. The newest one is submitted at once,
 * unless the gate is closed: then it may not be the newest.
 */
export function startWitnesses(
  { config, clock, logger }: Pick<ServerContext, 'config' | 'clock' | 'logger'>,
  store: Pick<Ledger, 'log'>,
  log: Pick<AuditLog, 'latest' | 'onCheckpoint' | 'sinceStart'>,
  gate: Pick<SigningGate, 'isOpen'>,
): readonly Witness[] {
  const witnesses = config.audit.witnesses.map(({ url, key: keyText }) => {
    const key = unwrap(parseVerifierKey(keyText));
    return new Witness({
      url: url.replace(/\/+$/, ''),
      key,
      log: store.log,
      shown: (records) => log.sinceStart.shown(key.name, records),
      fetch,
      clock,
      logger: logger.child({ part: 'witness' }),
    });
  });
  const submit = (checkpoint: StoredCheckpoint): void => {
    for (const witness of witnesses) witness.submit(checkpoint);
  };
  if (log.latest !== undefined && gate.isOpen) submit(log.latest);
  if (witnesses.length > 0) log.onCheckpoint(submit);
  return witnesses;
}
