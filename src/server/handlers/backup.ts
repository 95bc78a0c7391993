import type { ServerHandlers } from '../../common/wire/generated/meshca/admin/v1/Server.ts';
import type { RestoreDifference } from '../../common/wire/generated/meshca/admin/v1/RestoreDifference.ts';
import type { RestoreView, Services } from '../../services/contract.ts';
import type { Guard } from '../guard.ts';
import { serverStream } from './server-stream.ts';
import { operatorOf, unary } from './unary.ts';

export function backupHandlers(
  guard: Guard,
  { backup, restore }: Pick<Services, 'backup' | 'restore'>,
): Pick<ServerHandlers, 'Backup' | 'ShowRestore' | 'AcceptRestore'> {
  return {
    Backup: (call) =>
      serverStream(
        guard,
        call,
        async (signal) => backup.read(operatorOf(guard.contextOf(call)), signal),
        (data) => ({ data }),
      ),
    ShowRestore: unary(guard, async (context) =>
      differenceMessage(await restore.show(operatorOf(context))),
    ),
    AcceptRestore: unary(guard, async (context, { size }) =>
      differenceMessage(await restore.accept(operatorOf(context), size)),
    ),
  };
}

const differenceMessage = (view: RestoreView): RestoreDifference => ({
  ...view,
  lost: [...view.lost],
  comingBack: [...view.comingBack],
});
