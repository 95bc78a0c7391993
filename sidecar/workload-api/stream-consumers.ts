import type { ConsumerHandle } from '../ports/consumers.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { Identity } from '../ports/entries.ts';
import type { StreamParts } from './streams.ts';
import type { Session } from './session.ts';

/** What the reader of one stream holds, per identity, as the consumer registry is told. */
export interface StreamConsumers {
  sent(identities: readonly Identity[], setDigest: Buffer, svids: readonly HeldX509Svid[]): void;
  /** Proven as read. A client that confirms loading is counted only when it has said so. */
  read(setDigest: Buffer): void;
  /** The client says what it has in force. */
  loaded(setDigest: Buffer): void;
  /** The client says that it refused the last update. */
  refused(reason: string): void;
  capable(capabilities: readonly string[]): void;
  lineOf(spiffeId: string): string | undefined;
  stalled(reason: string): void;
  remove(): void;
}

interface Line {
  readonly handle: ConsumerHandle;
  pending: string;
  confirmed: string;
}

/** `confirmsLoading`: reading alone proves nothing yet of this client. */
export function createStreamConsumers(
  parts: StreamParts,
  session: Session,
  takes: 'roots' | 'jwt',
  confirmsLoading: boolean,
): StreamConsumers {
  const { pid, uid, peer } = session.connection;
  const holder = `${pid} ${peer?.image.startTime ?? ''}`;
  const lines = new Map<string, Line>();
  let capabilities: readonly string[] = [];
  let loadedText = '';

  const drop = (id: string, line: Line): void => {
    line.handle.remove();
    lines.delete(id);
  };
  const confirm = (digest: Buffer): void => {
    const text = digest.toString('hex');
    for (const line of lines.values()) {
      if (line.confirmed === text || line.pending !== text) continue;
      line.confirmed = text;
      line.handle.confirmed(digest);
    }
  };
  const lineFor = (id: string): Line => {
    const known = lines.get(id);
    if (known !== undefined) return known;
    const path = peer?.image.path?.text;
    const handle = parts.options.consumers.register({
      kind: 'workload-stream',
      spiffeId: id,
      takes,
      holder,
      description: `${session.rpc} pid ${pid} uid ${uid}${path === undefined ? '' : ` ${path}`}`,
    });
    handle.capable(capabilities);
    const line = { handle, pending: '', confirmed: '' };
    lines.set(id, line);
    return line;
  };

  return {
    sent(identities, digest, svids) {
      const ids = new Set(identities.map((each) => each.spiffeId.toString()));
      for (const [id, line] of lines) if (!ids.has(id)) drop(id, line);
      const text = digest.toString('hex');
      for (const id of ids) {
        const line = lineFor(id);
        if (line.pending === text) continue;
        line.pending = text;
        line.handle.pending(digest);
      }
      for (const svid of svids)
        lines.get(svid.identity.spiffeId.toString())?.handle.given(svid.notAfter);
    },
    read(digest) {
      if (!confirmsLoading || loadedText === digest.toString('hex')) confirm(digest);
    },
    loaded(digest) {
      loadedText = digest.toString('hex');
      confirm(digest);
    },
    refused(reason) {
      for (const line of lines.values())
        if (line.pending !== line.confirmed && line.pending !== '')
          line.handle.refused(Buffer.from(line.pending, 'hex'), reason);
    },
    capable(stated) {
      capabilities = stated;
      for (const { handle } of lines.values()) handle.capable(stated);
    },
    lineOf: (spiffeId) => lines.get(spiffeId)?.handle.id,
    stalled(reason) {
      for (const { handle } of lines.values()) handle.stalled(reason);
    },
    remove() {
      for (const [id, line] of lines) drop(id, line);
    },
  };
}
