import type { ServerHandlers } from '../../common/wire/generated/meshca/admin/v1/Server.ts';
import type { Services } from '../../services/contract.ts';
import type { Guard } from '../guard.ts';
import { serverStream } from './server-stream.ts';
import { operatorOf } from './unary.ts';

export function backupHandlers(guard: Guard, { backup }: Pick<Services, 'backup'>): Pick<ServerHandlers, 'Backup'> {
  return {
    Backup: (call) => serverStream(guard, call, async (signal) => backup.read(operatorOf(guard.contextOf(call)), signal), (data) => ({ data })),
  };
}
