import { PkiError } from '../common/errors/index.ts';
import { hardenProcess } from './harden.ts';
import {
  toWire,
  type AdminCall,
  type AdminResult,
  type FromAdmin,
  type ToAdmin,
} from './protocol.ts';
import { TokenAdminCore } from './token-admin-core.ts';

/**
 * The entry of a token-admin process: a process edge. Sessions in the token exist from `open` to
 * `close`, and end with the parent.
 */

let core: TokenAdminCore | undefined;

function run(call: AdminCall): AdminResult {
  if (call.name === 'open') {
    core = new TokenAdminCore(call.token);
    return undefined;
  }
  if (core === undefined) throw new PkiError('INTERNAL', 'the token is not open');
  switch (call.name) {
    case 'generate-key':
      return { spkiDer: core.generateKey(call.ckaId, call.label, call.keyType) };
    case 'find-key':
      return { key: core.findKey(call.ckaId) };
    case 'list-keys':
      return { keys: core.listKeys() };
    case 'sign':
      return { signature: core.sign(call.key, call.bytes) };
    case 'generate-mac-key':
      return { checkValue: core.generateMacKey(call.ckaId, call.label) };
    case 'find-mac-key':
      return { checkValue: core.findMacKey(call.ckaId) };
    case 'destroy-key':
      core.destroyKey(call.ckaId);
      return undefined;
    case 'close':
      core.close();
      return undefined;
  }
}

const answer = (message: FromAdmin): void => {
  process.send?.(message);
};

process.on('message', ({ id, call }: ToAdmin) => {
  try {
    answer({ id, ok: true, result: run(call) });
  } catch (thrown) {
    answer({ id, ok: false, error: toWire(thrown) });
  }
});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
// The parent finishes or abandons a root operation. A Ctrl-C to the whole group must not end it.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('SIGHUP', () => {});
hardenProcess(process.platform);
