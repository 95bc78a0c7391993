import { X509Certificate } from 'node:crypto';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { splitDer } from '../src/common/x509/index.ts';
import { workloadContract } from '../src/common/wire/index.ts';

// A workload with several identities: keeps what the Workload API gave it last, as every client of
// the standard does, and says so when one of them expires before it was replaced.
//
//   node outage-client.js SOCKET

export interface ClientReport {
  readonly type: 'state';
  /**
   * `notAfterMs`: the last millisecond of the life, since notAfter is inclusive (RFC 5280 section
   * 4.1.2.5) and counts whole seconds.
   */
  readonly held: readonly {
    readonly spiffeId: string;
    readonly serial: string;
    readonly notAfterMs: number;
  }[];
  /** Serials that expired while they were the current ones. */
  readonly expired: readonly {
    readonly spiffeId: string;
    readonly serial: string;
    readonly notAfterMs: number;
  }[];
  readonly updates: number;
  /** The shortest rest of life of a replaced certificate, in ms. */
  readonly closestMs: number;
}

interface Held {
  readonly spiffeId: string;
  readonly serial: string;
  readonly notAfterMs: number;
}

const [, , socketPath] = process.argv as [string, string, string];
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);

const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
  `unix:${socketPath}`,
  credentials.createInsecure(),
  {
    'grpc.initial_reconnect_backoff_ms': 50,
    'grpc.min_reconnect_backoff_ms': 50,
    'grpc.max_reconnect_backoff_ms': 200,
    'grpc.default_authority': 'localhost',
    'grpc.max_receive_message_length': 64 * 1024 * 1024,
  },
) as unknown as Client & {
  fetchX509Svid(request: object, metadata: Metadata): NodeJS.EventEmitter;
};

let held = new Map<string, Held>();
const expired = new Map<string, Held>();
let updates = 0;
let closestMs = Number.MAX_SAFE_INTEGER;

function open(): void {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  const call = client.fetchX509Svid({}, metadata);
  let over = false;
  const again = (): void => {
    if (over) return;
    over = true;
    setTimeout(open, 50 + Math.random() * 50);
  };
  call.on('data', (message: { svids: { spiffeId: string; x509Svid: Buffer }[] }) => {
    updates += 1;
    const next = new Map<string, Held>();
    for (const { spiffeId, x509Svid } of message.svids) {
      const known = held.get(spiffeId);
      const leaf = new X509Certificate(leafOf(x509Svid));
      const serial = leaf.serialNumber.toLowerCase();
      if (known !== undefined && known.serial !== serial)
        closestMs = Math.min(closestMs, known.notAfterMs - Date.now());
      next.set(spiffeId, { spiffeId, serial, notAfterMs: leaf.validToDate.getTime() + 999 });
    }
    held = next;
  });
  call.on('error', again);
  call.on('end', again);
}

function leafOf(chain: Buffer): Buffer {
  const parts = splitDer(chain);
  if (!parts.ok) throw parts.error;
  return parts.value[0] as Buffer;
}

setInterval(() => {
  const nowMs = Date.now();
  for (const each of held.values())
    if (each.notAfterMs < nowMs && !expired.has(each.serial)) expired.set(each.serial, each);
}, 25);
setInterval(() => {
  const report: ClientReport = {
    type: 'state',
    held: [...held.values()],
    expired: [...expired.values()],
    updates,
    closestMs,
  };
  if (process.connected) process.send?.(report);
}, 200);
open();
