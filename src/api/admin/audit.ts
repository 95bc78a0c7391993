import { given, pageOf } from '../messages/common.ts';
import { auditMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';
import { mapEach } from '../streams.ts';

export const auditOperations: OperationsOf<'meshca.admin.v1.Audit'> = {
  ListAuditRecords: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, request, signal) => {
      const { page, subject, actor, kind, sinceMs, untilMs, newestFirst, sequence } = request;
      const { items, next } = await services.audit.list(
        caller,
        {
          ...given('subject', subject),
          ...given('actor', actor),
          ...given('kind', kind),
          ...(sinceMs === 0 ? {} : { sinceMs }),
          ...(untilMs === 0 ? {} : { untilMs }),
          newestFirst,
          ...(sequence === 0 ? {} : { sequence }),
        },
        pageOf(page, signal),
      );
      return { records: items.map(auditMessage), nextPageToken: next ?? '' };
    },
  },
  ExportAudit: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, _request, signal) =>
      mapEach(await services.audit.export(caller, signal), (data) => ({ data })),
  },
  WatchAudit: {
    admits: 'operators',
    dualControl: 'never',
    open: async ({ services }, caller, { identity, kind, actor }, signal) =>
      mapEach(
        await services.audit.watch(
          caller,
          { ...given('identity', identity), ...given('kind', kind), ...given('actor', actor) },
          signal,
        ),
        (watched) =>
          watched === undefined
            ? {}
            : { record: auditMessage(watched.record), newHolder: watched.newHolder },
      ),
  },
};
