import type { RestoreDifference } from '../../common/wire/generated/meshca/admin/v1/RestoreDifference.ts';
import type { RestoreView } from '../../services/services.ts';
import type { OperationsOf } from '../operation.ts';
import { mapEach } from '../streams.ts';

export const serverOperations: OperationsOf<'meshca.admin.v1.Server'> = {
  GetStatus: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller) => {
      const { trustDomainName, position, reasons, ocsp, ...status } =
        await services.status.get(caller);
      return {
        ...status,
        trustDomain: trustDomainName,
        reasons: [...reasons],
        epoch: position.epoch,
        revision: position.revision,
        ocsp: ocsp ?? null,
      };
    },
  },
  Backup: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, _request, signal) =>
      mapEach(await services.backup.read(caller, signal), (data) => ({ data })),
  },
  ShowRestore: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller) => differenceMessage(await services.restore.show(caller)),
  },
  AcceptRestore: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { size }) =>
      differenceMessage(await services.restore.accept(caller, size)),
  },
};

const differenceMessage = (view: RestoreView): RestoreDifference => ({
  ...view,
  lost: [...view.lost],
  comingBack: [...view.comingBack],
});
