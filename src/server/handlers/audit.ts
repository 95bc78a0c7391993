import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AuditHandlers } from '../../common/wire/generated/meshca/admin/v1/Audit.ts';
import type { Services } from '../../services/contract.ts';
import { given, pageOf } from '../convert/common.ts';
import { auditMessage } from '../convert/views.ts';
import type { Guard } from '../guard.ts';
import { operatorOf, unary } from './unary.ts';

export function auditHandlers(guard: Guard, { audit }: Pick<Services, 'audit'>): AuditHandlers {
  return {
    ListAuditRecords: unary(guard, async (context, { page, subject, actor, kind, sinceMs }) => {
      const found = await audit.list(operatorOf(context), { ...given('subject', subject), ...given('actor', actor), ...given('kind', kind), ...(sinceMs === 0 ? {} : { sinceMs }) }, pageOf(page));
      return { records: found.items.map(auditMessage), nextPageToken: found.next ?? '' };
    }),
    ExportAudit: (call) => serverStream(guard, call, async (signal) => audit.export(operatorOf(guard.contextOf(call)), signal), (data) => ({ data })),
    WatchAudit: (call) => {
      const { identity, kind, actor } = call.request;
      const filter = { ...given('identity', identity), ...given('kind', kind), ...given('actor', actor) };
      serverStream(guard, call, async (signal) => audit.watch(operatorOf(guard.contextOf(call)), filter, signal), (watched) => (watched === undefined ? {} : { record: auditMessage(watched.record), newHolder: watched.newHolder }));
    },
  };
}

/** Writes what `open` yields as fast as the reader takes it; the signal ends with the call. */
function serverStream<Request, Response, Item>(guard: Guard, call: ServerWritableStream<Request, Response>, open: (signal: AbortSignal) => Promise<AsyncIterable<Item>>, convert: (item: Item) => Response): void {
  const over = new AbortController();
  let wake: (() => void) | undefined;
  const end = (): void => {
    over.abort();
    wake?.();
  };
  call.on('cancelled', end);
  call.on('close', end);
  call.on('error', end);
  call.on('drain', () => wake?.());
  const run = async (): Promise<void> => {
    for await (const item of await open(over.signal)) {
      if (over.signal.aborted) return;
      if (!call.write(convert(item)) && !over.signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
    }
    call.end();
  };
  run().catch((thrown: unknown) => guard.failStream(call, thrown));
}
