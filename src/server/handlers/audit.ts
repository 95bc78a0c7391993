import type { AuditHandlers } from '../../common/wire/generated/meshca/admin/v1/Audit.ts';
import type { Services } from '../../services/contract.ts';
import { given, pageOf } from '../convert/common.ts';
import { auditMessage } from '../convert/views.ts';
import type { Guard } from '../guard.ts';
import { serverStream } from './server-stream.ts';
import { operatorOf, unary } from './unary.ts';

export function auditHandlers(guard: Guard, { audit }: Pick<Services, 'audit'>): AuditHandlers {
  return {
    ListAuditRecords: unary(
      guard,
      async (context, { page, subject, actor, kind, sinceMs, untilMs, newestFirst }) => {
        const times = {
          ...(sinceMs === 0 ? {} : { sinceMs }),
          ...(untilMs === 0 ? {} : { untilMs }),
        };
        const found = await audit.list(
          operatorOf(context),
          {
            ...given('subject', subject),
            ...given('actor', actor),
            ...given('kind', kind),
            ...times,
            newestFirst,
          },
          pageOf(page),
        );
        return { records: found.items.map(auditMessage), nextPageToken: found.next ?? '' };
      },
    ),
    ExportAudit: (call) =>
      serverStream(
        guard,
        call,
        async (signal) => audit.export(operatorOf(guard.contextOf(call)), signal),
        (data) => ({ data }),
      ),
    WatchAudit: (call) => {
      const { identity, kind, actor } = call.request;
      const filter = {
        ...given('identity', identity),
        ...given('kind', kind),
        ...given('actor', actor),
      };
      serverStream(
        guard,
        call,
        async (signal) => audit.watch(operatorOf(guard.contextOf(call)), filter, signal),
        (watched) =>
          watched === undefined
            ? {}
            : { record: auditMessage(watched.record), newHolder: watched.newHolder },
      );
    },
  };
}
